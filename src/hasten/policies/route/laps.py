"""Some replicas for short prompts, the others for long ones."""

from dataclasses import dataclass, field
from typing import ClassVar

from hasten.core.policy import RoutePolicy
from hasten.core.request import Request
from hasten.core.view import ClusterView, ReplicaView
from hasten.errors import InputError


@dataclass
class Laps(RoutePolicy):
    """Send short prompts to one group of replicas and long ones to the other, each time to the least loaded.

    At most once in `period` one replica changes sides, when the other side's queue of tokens per replica is longer by
    more than `margin`.

    Paper: "LAPS" (also circulated as PLA-Serve), length-aware prefill serving, MLSys 2026.
    Differs: pressure is the mean queue in tokens, not a mix of backlog, missed limits and use at the 90th percentile.
    Needs: at least two replicas; with one there is nothing to choose.
    Use when: several instances compute prompts, most prompts are short and some are long.
    Avoid when: replicas are few, so that one side idles; or prefixes decide (then prefix_affinity).
    """

    reads_progress: ClassVar[bool] = True

    boundary: int = 256  # tokens to compute; up to here a prompt is short
    period: float = 1.0  # s between two changes of side
    margin: float = 0.5  # share by which the other queue must be longer
    _num_short: int = field(default=0, init=False, repr=False)  # replicas for short prompts: the first ones
    _moved: float = field(default=0.0, init=False, repr=False)  # when one changed sides

    def __post_init__(self) -> None:
        if self.boundary < 1:
            raise InputError(f"boundary is {self.boundary}: it must be at least 1")
        if not self.period >= 0.0 or not self.margin >= 0.0:
            raise InputError(f"period is {self.period} and margin {self.margin}: both must be 0 or more")

    def choose(self, request: Request, view: ClusterView) -> int:
        """The least loaded replica of the request's side."""
        replicas = view.replicas
        if len(replicas) == 1:
            return 0
        self._num_short = min(max(self._num_short, 1), len(replicas) - 1)
        self._balance(view)
        short, long = replicas[: self._num_short], replicas[self._num_short :]
        is_short = (
            request.prompt_tokens - max(each.cached_tokens(request) for each in replicas) <= self.boundary
        )
        side = short if is_short else long
        return min(side, key=lambda each: (each.queued_tokens, each.outstanding, each.index)).index

    def _balance(self, view: ClusterView) -> None:
        if view.now < self._moved + self.period:
            return
        short = _queue(view.replicas[: self._num_short])
        long = _queue(view.replicas[self._num_short :])
        if short > (1 + self.margin) * long and self._num_short < len(view.replicas) - 1:
            self._num_short += 1
            self._moved = view.now
        elif long > (1 + self.margin) * short and self._num_short > 1:
            self._num_short -= 1
            self._moved = view.now


def _queue(replicas: list[ReplicaView]) -> float:
    """Mean queue in tokens."""
    return sum(each.queued_tokens for each in replicas) / len(replicas)
