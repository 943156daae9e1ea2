"""Short ones first by one bit, long ones by their predicted length."""

from dataclasses import dataclass
from typing import ClassVar

from hasten.core.policy import FOREVER, SchedulingPolicy
from hasten.core.request import Request
from hasten.core.view import SchedulerView
from hasten.errors import InputError

_SHORT = -1e15  # puts every arrival time below every predicted length


@dataclass
class SkipPredict(SchedulingPolicy):
    """Admit requests predicted to be short first, in order of arrival; then the long ones, shortest prediction first.

    Paper: "SkipPredict: When to Invest in Predictions for Scheduling", NeurIPS 2024, arXiv:2402.03564.
    Differs: requests that run are not interrupted for shorter ones, since that costs their KV; when KV runs out, the
        request with the most predicted tokens to come loses its own.
    Needs: a length predictor; `length=skip_predict` predicts as the paper does, cheaply for all, dearly for the long.
    Use when: queues are long, lengths vary widely, and a good prediction costs more than a rough one.
    Avoid when: the queue is short, or predictions cost nothing (then sjf is as good or better); long requests wait
        while short ones keep coming.
    """

    rank_changes: ClassVar[bool] = False

    threshold: float = 200.0  # tokens; a shorter prediction makes a request short

    def __post_init__(self) -> None:
        if not self.threshold >= 0.0:
            raise InputError(f"threshold is {self.threshold}: it must be 0 tokens or more")

    @property
    def may_starve(self) -> bool:
        """A long request waits as long as short ones arrive fast enough."""
        return True

    def rank(self, request: Request, view: SchedulerView) -> float:
        """Short: the arrival, before everything else; long: the prediction. Raises InputError without one."""
        if request.predicted_output <= 0.0:
            raise InputError(
                f"schedule policy skip_predict: request {request.id} has no predicted output: choose a length "
                "predictor, e.g. length=skip_predict"
            )
        if request.predicted_output < self.threshold:
            return _SHORT + request.arrival
        return request.predicted_output

    def victim(self, view: SchedulerView) -> Request | None:
        """Who has the most predicted tokens to come; of equals the latest."""
        return max(
            view.running,
            key=lambda request: (request.predicted_output - view.generated(request), request.order),
            default=None,
        )

    def horizon(self, view: SchedulerView) -> int:
        """Predictions are made once: a refusal lasts until something arrives or finishes."""
        return FOREVER
