"""Step costs times a factor: a slow replica, or what if the model is that far off."""

from __future__ import annotations

from hasten.core.batch import Chunk
from hasten.latency.compiled import Line, LockstepCost, StepCost


class ScaledCost(StepCost):
    """Step costs multiplied by one factor."""

    def __init__(self, cost: StepCost, factor: float) -> None:
        self.cost = cost
        self.factor = factor

    def decode_line(self, n: int, context_sum: int) -> Line:
        a, b, limit = self.cost.decode_line(n, context_sum)
        return (a * self.factor, b * self.factor, limit)

    def mixed(self, prefills: list[Chunk], n: int, context_sum: int) -> float:
        return self.cost.mixed(prefills, n, context_sum) * self.factor


class ScaledLockstep(ScaledCost, LockstepCost):
    """The same for ranks that step together. Only asks ``cost``: it has no tables of its own."""

    cost: LockstepCost

    def lockstep_decode_line(self, ranks: list[tuple[int, int]]) -> tuple[float, float, float, int, int]:
        a, b, limit, leader, steps = self.cost.lockstep_decode_line(ranks)
        return (a * self.factor, b * self.factor, limit, leader, steps)

    def lockstep_mixed(self, ranks: list[tuple[list[Chunk], int, int]]) -> float:
        return self.cost.lockstep_mixed(ranks) * self.factor


def scaled(cost: StepCost, factor: float) -> StepCost:
    """``cost`` times ``factor``, for ranks that step together where ``cost`` is."""
    return ScaledLockstep(cost, factor) if isinstance(cost, LockstepCost) else ScaledCost(cost, factor)
