"""Short prompts to the least loaded replica, long ones to their program's."""

from dataclasses import dataclass, field
from typing import ClassVar

from hasten.core.policy import RoutePolicy
from hasten.core.request import Request
from hasten.core.view import ClusterView
from hasten.errors import InputError


@dataclass
class Autellix(RoutePolicy):
    """Send calls with long prompts to the replica that serves their program, all others to the least loaded one.

    A program stays where its first long prompt went; that is the least loaded replica at that time.

    Paper: "Autellix: An Efficient Serving Engine for LLM Agents as General Programs", 2025, arXiv:2502.13965 (NSDI 2026
        as Agentix), section 4.3.
    Differs: load is a count of requests that have not ended; programs without a call for longer than the last 100,000
        programs are forgotten.
    Needs: session numbers, which say what belongs to one program; without them it is least_outstanding.
    Use when: replicas are several, and programs' contexts are long beside a prompt that all share.
    Avoid when: a program's load outgrows one replica; or exact cache contents are known (then prefix_affinity).
    """

    reads_progress: ClassVar[bool] = False

    boundary: int = 2048  # tokens; a longer prompt stays with its program's replica
    _homes: dict[int, int] = field(
        default_factory=dict, init=False, repr=False
    )  # session -> replica, by last use

    def __post_init__(self) -> None:
        if self.boundary < 0:
            raise InputError(f"boundary is {self.boundary}: it must be 0 tokens or more")

    def choose(self, request: Request, view: ClusterView) -> int:
        """The program's replica if the prompt is long; else the first of the least loaded."""
        least = min(view.replicas, key=lambda replica: replica.outstanding).index
        if request.prompt_tokens <= self.boundary or request.session < 0:
            return least
        home = self._homes.pop(request.session, least)
        self._homes[request.session] = home
        if len(self._homes) > _MOST:
            del self._homes[next(iter(self._homes))]
        return home


_MOST = 100_000  # programs that are remembered
