"""The shortest queue."""

from dataclasses import dataclass
from typing import ClassVar

from hasten.core.policy import RoutePolicy
from hasten.core.request import Request
from hasten.core.view import ClusterView


@dataclass
class LeastOutstanding(RoutePolicy):
    """Send each request to the replica with the fewest requests that have not ended; ties go to the first.

    Paper: "Optimality of the Shortest Line Discipline", J. Applied Probability 14(1), 1977.
    Differs: the router's counts are exact and current, where real ones lag by a refresh interval.
    Needs: nothing.
    Use when: requests differ little in size, or nothing but counts is known.
    Avoid when: prompts share long prefixes (prefix_affinity) or sizes differ widely.
    """

    reads_progress: ClassVar[bool] = False

    def choose(self, request: Request, view: ClusterView) -> int:
        """The first of the least loaded."""
        return min(view.replicas, key=lambda replica: replica.outstanding).index
