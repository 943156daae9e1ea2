"""A cheap bit for everyone, a prediction for the long."""

import math
from dataclasses import dataclass, field

from hasten.core.policy import LengthPredictor
from hasten.core.request import Request
from hasten.core.view import LengthView
from hasten.errors import InputError


@dataclass
class SkipPredict(LengthPredictor):
    """Ask cheaply whether the answer will be short; only if not, ask dearly how long it will be.

    Short answers are predicted as 1 token, so that any threshold keeps them short.

    Paper: "SkipPredict: When to Invest in Predictions for Scheduling", NeurIPS 2024, arXiv:2402.03564.
    Differs: both predictors are the truth times a lognormal error, as a stand-in for trained ones; asking takes no time
        (what it costs is counted in `asked`, the number of dear predictions).
    Needs: the true output length, which only a simulation knows.
    """

    threshold: float = 200.0  # tokens; answers below are short
    cheap_sigma: float = 0.0  # standard deviation of the cheap predictor's log error
    sigma: float = 0.0  # the same of the dear one
    asked: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for name in ("threshold", "cheap_sigma", "sigma"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)}: it must be a number from 0 on")

    def predict(self, request: Request, view: LengthView) -> float:
        """1 for the short; else the predicted number of tokens, at least the threshold, at most the client's cap."""
        truth = view.truth(request)
        if truth * math.exp(view.random.gauss(0.0, self.cheap_sigma)) < self.threshold:
            return 1.0
        self.asked += 1
        noisy = truth * math.exp(view.random.gauss(0.0, self.sigma))
        return max(1.0, min(max(noisy, self.threshold), float(request.max_tokens)))
