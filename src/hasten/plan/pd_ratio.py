"""How many instances compute prompts and how many answers, per group of like requests, and when to move one.

Source: "P/D-Serve: Serving Disaggregated Large Language Model at Scale", 2024, arXiv:2408.08147, after its abstract and
notes of others: throughput per group is min(n_p b_p / T_p, n_d b_d / T_d), best where both are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hasten.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Requests of one scenario: their `share` of all, and what one instance does of each phase (requests/s).

    `prefill_rate` is b_p / T_p, `decode_rate` is b_d / T_d with T_d = output tokens x seconds per token among b_d.
    """

    share: float
    prefill_rate: float
    decode_rate: float

    def __post_init__(self) -> None:
        for name in ("share", "prefill_rate", "decode_rate"):
            if not getattr(self, name) > 0.0:
                raise InputError(f"{name} is {getattr(self, name)}: it must be above 0")

    def carries(self, num_prefill: int, num_decode: int) -> float:
        """Total rate of all groups (requests/s) that this one's instances keep up with."""
        return min(num_prefill * self.prefill_rate, num_decode * self.decode_rate) / self.share


def allot(instances: int, groups: Sequence[Group]) -> list[tuple[int, int]]:
    """Prefill and decode instances of each group that carry the highest total rate.

    One after another goes to the phase that limits the total, which is optimal for a maximum of a minimum. Raises
    InputError when there are fewer than two instances per group.
    """
    if not groups or instances < 2 * len(groups):
        raise InputError(f"{instances} instances for {len(groups)} groups: give two for each")
    rates = [rate / each.share for each in groups for rate in (each.prefill_rate, each.decode_rate)]
    counts = [1] * len(rates)
    for _ in range(instances - len(rates)):
        tightest = min(range(len(rates)), key=lambda phase: counts[phase] * rates[phase])
        counts[tightest] += 1
    return list(zip(counts[::2], counts[1::2], strict=True))


def adjusted(
    num_prefill: int, num_decode: int, prefill_busy: float, decode_busy: float, *, margin: float = 0.05
) -> tuple[int, int]:
    """The numbers after a period whose mean busy shares are given: one instance moves where that helps.

    It moves if the higher of both shares, as it would become for the same work, falls by more than `margin` of itself.
    Each phase keeps one.
    """
    for name, value in (("prefill_busy", prefill_busy), ("decode_busy", decode_busy)):
        if not 0.0 <= value <= 1.0:
            raise InputError(f"{name} is {value}: it must be a share from 0 to 1")
    work = num_prefill * prefill_busy, num_decode * decode_busy
    best, least = (num_prefill, num_decode), (1.0 - margin) * max(prefill_busy, decode_busy)
    for move in (1, -1):
        first, second = num_prefill + move, num_decode - move
        if first >= 1 and second >= 1 and max(work[0] / first, work[1] / second) < least:
            best, least = (first, second), max(work[0] / first, work[1] / second)
    return best
