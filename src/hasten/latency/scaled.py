"""Step costs times factors: a slow replica, what if the model is that far off, and what a few measurements correct."""

from __future__ import annotations

from hasten.core.batch import Chunk
from hasten.latency.compiled import Line, LockstepCost, StepCost

SHORTEST_STEP = 1e-6
"""Seconds below which no correction takes a step."""


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


class AdjustedCost(StepCost):
    """Step costs with decodes and prefills corrected apart.

    A decode-only step lasts ``decode`` times as long plus ``every`` seconds. What prefill chunks add to a step lasts
    ``prefill`` times as long, and such a step takes ``mixed`` seconds more besides.
    """

    def __init__(
        self, cost: StepCost, decode: float, prefill: float, *, every: float = 0.0, mixed: float = 0.0
    ) -> None:
        self.cost = cost
        self.factors = (decode, prefill)
        self.every = every
        self.mixed_seconds = mixed

    def decode_line(self, n: int, context_sum: int) -> Line:
        a, b, limit = self.cost.decode_line(n, context_sum)
        return (a * self.factors[0] + self.every, b * self.factors[0], limit)

    def mixed(self, prefills: list[Chunk], n: int, context_sum: int) -> float:
        decodes = 0.0
        if n:
            a, b, _ = self.cost.decode_line(n, context_sum)
            decodes = a + b * context_sum
        return self._joined(decodes, self.cost.mixed(prefills, n, context_sum))

    def _joined(self, decodes: float, whole: float) -> float:
        """Seconds of a mixed step that would last ``whole``, of which its decodes alone ``decodes``."""
        decode, prefill = self.factors
        corrected = decode * decodes + prefill * (whole - decodes)
        return max(corrected + self.every + self.mixed_seconds, SHORTEST_STEP)


class AdjustedLockstep(AdjustedCost, LockstepCost):
    """The same for ranks that step together."""

    cost: LockstepCost

    def lockstep_decode_line(self, ranks: list[tuple[int, int]]) -> tuple[float, float, float, int, int]:
        a, b, limit, leader, steps = self.cost.lockstep_decode_line(ranks)
        return (a * self.factors[0] + self.every, b * self.factors[0], limit, leader, steps)

    def lockstep_mixed(self, ranks: list[tuple[list[Chunk], int, int]]) -> float:
        decodes = 0.0
        running = [(n, context_sum) for _, n, context_sum in ranks]
        if any(n for n, _ in running):
            a, b, _, leader, _ = self.cost.lockstep_decode_line(running)
            decodes = a + b * running[leader][1]
        return self._joined(decodes, self.cost.lockstep_mixed(ranks))


def adjusted(
    cost: StepCost, decode: float, prefill: float, *, every: float = 0.0, mixed: float = 0.0
) -> StepCost:
    """``cost`` with decodes and prefills corrected apart (see AdjustedCost), in lock-step where ``cost`` is."""
    kind = AdjustedLockstep if isinstance(cost, LockstepCost) else AdjustedCost
    return kind(cost, decode, prefill, every=every, mixed=mixed)
