"""The better of two random replicas."""

from dataclasses import dataclass
from typing import ClassVar

from hasten.core.policy import RoutePolicy
from hasten.core.request import Request
from hasten.core.view import ClusterView


@dataclass
class PowerOfTwo(RoutePolicy):
    """Draw two different replicas at random and take the one with fewer requests that have not ended.

    Paper: "The Power of Two Choices in Randomized Load Balancing", IEEE TPDS 12(10), 2001.
    Differs: drawn without replacement; ties go to the first drawn.
    Needs: nothing.
    Use when: there are many replicas or several routers, whose knowledge may be old.
    Avoid when: there are few replicas and one router: least_outstanding is as simple and better.
    """

    reads_progress: ClassVar[bool] = False

    def choose(self, request: Request, view: ClusterView) -> int:
        """The less loaded of two."""
        replicas = view.replicas
        if len(replicas) == 1:
            return 0
        first = int(view.random.random() * len(replicas))
        second = int(view.random.random() * (len(replicas) - 1))
        second += second >= first
        return first if replicas[first].outstanding <= replicas[second].outstanding else second
