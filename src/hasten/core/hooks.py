"""What a scheduling policy changes, found out once: methods that it left as they are need not be asked."""

from __future__ import annotations

from hasten.core.policy import SchedulingPolicy


class Hooks:
    """Which decisions `policy` takes itself."""

    def __init__(self, policy: SchedulingPolicy) -> None:
        kind = type(policy)
        self.mixes_steps = kind.mixes_steps
        self.ranks = kind.rank is not SchedulingPolicy.rank
        self.resorts = self.ranks and kind.rank_changes
        self.gates = kind.admits is not SchedulingPolicy.admits
        self.chunks = kind.chunk is not SchedulingPolicy.chunk
        self.holds_batch = policy.holds_batch
        self.hears_arrivals = kind.on_arrival is not SchedulingPolicy.on_arrival
        self.hears_finishes = kind.on_finish is not SchedulingPolicy.on_finish
