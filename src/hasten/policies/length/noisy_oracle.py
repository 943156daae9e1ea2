"""The truth with an error."""

import math
from dataclasses import dataclass

from hasten.core.policy import LengthPredictor
from hasten.core.request import Request
from hasten.core.view import LengthView
from hasten.errors import InputError


@dataclass
class NoisyOracle(LengthPredictor):
    """Predict the true number of output tokens times a lognormal error with median 1.

    Paper: none; the usual way to ask how good a predictor must be.
    Differs: nothing.
    Needs: the true output length, which only a simulation knows.
    Use when: it is asked how good a predictor has to be.
    Avoid when: a figure is to be reached in production: no real predictor knows the truth.
    """

    sigma: float = 0.5  # standard deviation of the error's logarithm

    def __post_init__(self) -> None:
        if not 0.0 <= self.sigma < math.inf:
            raise InputError(f"sigma is {self.sigma}: it must be a number from 0 on")

    def predict(self, request: Request, view: LengthView) -> float:
        """The true length, in tokens, times the error, within 1 and the client's cap."""
        noisy = view.truth(request) * math.exp(view.random.gauss(0.0, self.sigma))
        return max(1.0, min(noisy, float(request.max_tokens)))
