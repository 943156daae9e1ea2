"""What the others had on average."""

from dataclasses import dataclass, field

from hasten.core.policy import LengthPredictor
from hasten.core.request import Request
from hasten.core.view import LengthView
from hasten.errors import InputError


@dataclass
class Mean(LengthPredictor):
    """Predict the mean output length of the requests that have ended so far.

    Paper: none.
    Differs: nothing.
    Needs: nothing.
    Use when: any estimate is better than none, for a policy that needs one.
    Avoid when: lengths differ widely: all requests are predicted alike.
    """

    prior: float = 256.0  # tokens, until the first answer has ended
    _count: int = field(default=0, init=False, repr=False)
    _total: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.prior > 0.0:
            raise InputError(f"prior is {self.prior}: it must be more than 0 tokens")

    def predict(self, request: Request, view: LengthView) -> float:
        """The running mean, in tokens, cut to the client's cap."""
        mean = self._total / self._count if self._count else self.prior
        return min(mean, float(request.max_tokens))

    def on_finish(self, request: Request, output_tokens: int) -> None:
        """One more answer is known."""
        self._count += 1
        self._total += output_tokens
