"""Earliest deadline first."""

import math
from dataclasses import dataclass
from typing import ClassVar

from hasten.core.policy import FOREVER, SchedulingPolicy
from hasten.core.request import Request
from hasten.core.view import SchedulerView


@dataclass
class Edf(SchedulingPolicy):
    """Admit the request whose first token is due first: arrival plus its TTFT limit; those without a limit go last.

    Paper: "Scheduling Algorithms for Multiprogramming in a Hard-Real-Time Environment", J. ACM 20(1), 1973.
    Differs: deadlines order the admission only; who runs is not interrupted, and a missed deadline is still served.
    Needs: TTFT limits (an SLO) on requests; without them it is first come, first served.
    Use when: requests have different TTFT limits, and load is below capacity.
    Avoid when: load exceeds capacity: it spends time on those that are late already; or no limits are set.
    """

    rank_changes: ClassVar[bool] = False

    def rank(self, request: Request, view: SchedulerView) -> float:
        """When the first token is due (s)."""
        slo = request.slo
        return math.inf if slo is None or slo.ttft is None else request.arrival + slo.ttft

    def horizon(self, view: SchedulerView) -> int:
        """Deadlines don't move: a refusal lasts until something arrives or finishes."""
        return FOREVER
