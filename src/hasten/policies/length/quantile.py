"""What most of the others stayed below."""

import bisect
import math
from collections import deque
from dataclasses import dataclass, field

from hasten.core.policy import LengthPredictor
from hasten.core.request import Request
from hasten.core.view import LengthView
from hasten.errors import InputError


@dataclass
class Quantile(LengthPredictor):
    """Predict the q-quantile of the output lengths of the last requests that ended.

    Paper: none.
    Differs: nothing.
    Needs: nothing.
    Use when: predictions should rather be too long than too short, such as for reservations.
    Avoid when: requests are to be told apart: all are predicted alike.
    """

    q: float = 0.9  # share of answers that end within the prediction
    window: int = 1000  # answers remembered
    prior: float = 256.0  # tokens, until the first answer has ended
    _recent: deque[int] = field(default_factory=deque, init=False, repr=False)
    _sorted: list[int] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0.0 <= self.q <= 1.0:
            raise InputError(f"q is {self.q}: it must lie between 0 and 1")
        if self.window < 1:
            raise InputError(f"window is {self.window}: it must be at least 1 answer")
        if not self.prior > 0.0:
            raise InputError(f"prior is {self.prior}: it must be more than 0 tokens")

    def predict(self, request: Request, view: LengthView) -> float:
        """The smallest remembered length that a share q does not exceed, in tokens, cut to the client's cap."""
        known = self._sorted
        value = known[max(0, math.ceil(self.q * len(known)) - 1)] if known else self.prior
        return min(float(value), float(request.max_tokens))

    def on_finish(self, request: Request, output_tokens: int) -> None:
        """One more answer is known; the oldest is forgotten."""
        self._recent.append(output_tokens)
        bisect.insort(self._sorted, output_tokens)
        if len(self._recent) > self.window:
            oldest = self._recent.popleft()
            del self._sorted[bisect.bisect_left(self._sorted, oldest)]
