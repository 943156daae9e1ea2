"""Replicas in turn."""

from dataclasses import dataclass, field
from typing import ClassVar

from hasten.core.policy import RoutePolicy
from hasten.core.request import Request
from hasten.core.view import ClusterView


@dataclass
class RoundRobin(RoutePolicy):
    """Send each request to the next replica in turn, whatever their load.

    Paper: none; the default of most load balancers.
    Differs: nothing.
    Needs: nothing.
    Use when: requests are alike, or a baseline is needed.
    Avoid when: requests differ in size: some replicas queue while others idle.
    """

    reads_progress: ClassVar[bool] = False
    reads_load: ClassVar[bool] = False
    _next: int = field(default=0, init=False, repr=False)

    def choose(self, request: Request, view: ClusterView) -> int:
        """The one after the last."""
        chosen = self._next % len(view.replicas)
        self._next = chosen + 1
        return chosen
