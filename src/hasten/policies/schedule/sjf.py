"""Shortest predicted answer first."""

from dataclasses import dataclass
from typing import ClassVar

from hasten.core.policy import FOREVER, SchedulingPolicy
from hasten.core.request import Request
from hasten.core.view import SchedulerView
from hasten.errors import InputError


@dataclass
class Sjf(SchedulingPolicy):
    """Admit the request with the shortest predicted answer first; who runs is not interrupted for a shorter one.

    Paper: "Efficient LLM Scheduling by Learning to Rank", NeurIPS 2024, arXiv:2408.15792.
    Differs: any length predictor instead of their ranking model; no boost against starvation.
    Needs: a length predictor.
    Use when: a queue forms, answers differ in length and their length can be predicted.
    Avoid when: predictions are poor, or long answers must not wait behind all short ones.
    """

    rank_changes: ClassVar[bool] = False

    def rank(self, request: Request, view: SchedulerView) -> float:
        """Predicted output tokens. Raises InputError when nobody predicted them."""
        if request.predicted_output <= 0.0:
            raise InputError(
                f"schedule policy sjf: request {request.id} has no predicted output: choose a length predictor, "
                "e.g. length=mean or length=oracle"
            )
        return request.predicted_output

    def horizon(self, view: SchedulerView) -> int:
        """A prediction is made once: a refusal lasts until something arrives or finishes."""
        return FOREVER
