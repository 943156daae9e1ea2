"""By the priority that the client gave."""

from dataclasses import dataclass
from typing import ClassVar

from hasten.core.policy import FOREVER, SchedulingPolicy
from hasten.core.request import Request
from hasten.core.view import SchedulerView


@dataclass
class Priority(SchedulingPolicy):
    """Admit by (priority, arrival), smallest first; when KV runs out the largest (priority, arrival) loses its own.

    Paper: none; the `priority` scheduling policy of vLLM 0.19.
    Differs: nothing. A waiting request never interrupts a running one of lesser priority, as there.
    Needs: priorities in the workload; without them it is first come, first served.
    Use when: requests carry priorities, such as paying users before batch jobs.
    Avoid when: all have the same priority (then fcfs), or the low ones must not starve.
    """

    rank_changes: ClassVar[bool] = False

    def rank(self, request: Request, view: SchedulerView) -> float:
        """The client's number: smaller goes first, ties by arrival."""
        return request.priority

    def victim(self, view: SchedulerView) -> Request | None:
        """The least important, of those the newest."""
        return max(view.running, key=_importance, default=None)

    def horizon(self, view: SchedulerView) -> int:
        """Priorities don't change: a refusal lasts until something arrives or finishes."""
        return FOREVER


def _importance(request: Request) -> tuple[int, float, int]:
    """Smaller is more important. Ids part those that arrived together, so that they don't evict each other in turn."""
    return request.priority, request.arrival, request.id
