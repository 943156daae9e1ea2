"""The truth."""

from dataclasses import dataclass

from hasten.core.policy import LengthPredictor
from hasten.core.request import Request
from hasten.core.view import LengthView


@dataclass
class Oracle(LengthPredictor):
    """Predict the exact number of output tokens: the bound that no real predictor reaches.

    Paper: none.
    Differs: nothing.
    Needs: the true output length, which only a simulation knows.
    Use when: the bound is asked that no predictor can pass.
    Avoid when: a figure is to be reached in production: no real predictor knows the truth.
    """

    def predict(self, request: Request, view: LengthView) -> float:
        """The true length, in tokens, cut to the client's cap."""
        return float(min(view.truth(request), request.max_tokens))
