"""Forward on rejection: an instance without a free slot refuses, and the gateway keeps the request."""

from dataclasses import dataclass
from typing import ClassVar

from hasten.core.policy import HOLD, REFUSED, RoutePolicy
from hasten.core.request import Request
from hasten.core.view import ClusterView
from hasten.errors import InputError


@dataclass
class PdServe(RoutePolicy):
    """Offer each request to the instance with the fewest open connections; it takes it only with a slot free. Else the
    gateway keeps the request and tries again after a short wait, until its TTFT limit has passed: then it is refused.

    Paper: "P/D-Serve: Serving Disaggregated Large Language Model at Scale", 2024, arXiv:2408.08147.
    Differs: the gateway's count of connections is exact, so the first instance asked is the last; who is asked again
        first among the waiting is left to chance, as with retries.
    Needs: at least two replicas; prefill pools, whose slots are their running batch. TTFT limits end the retries.
    Use when: load reports are late or coarse, so that a queue forms at one instance while another idles.
    Avoid when: queue lengths and their work are known exactly, or replicas batch deeply (a slot is then hard to name).
    """

    reads_progress: ClassVar[bool] = False

    slots: int = 4  # requests that an instance holds before it refuses
    wait: float = 0.002  # s between two tries

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise InputError(f"slots is {self.slots}: it must be at least 1")
        if not 1e-4 <= self.wait <= 60.0:
            raise InputError(f"wait is {self.wait}: it must be from 0.0001 to 60 s")

    @property
    def retry(self) -> float:
        """Seconds between two tries."""
        return self.wait

    def choose(self, request: Request, view: ClusterView) -> int:
        """The one with the fewest requests if it has a slot, else HOLD; REFUSED once the TTFT limit has passed."""
        limit = None if request.slo is None else request.slo.ttft
        if limit is not None and view.now > request.arrival + limit:
            return REFUSED
        best = min(view.replicas, key=lambda replica: replica.outstanding)
        return best.index if best.outstanding < self.slots else HOLD
