"""Errors of closed-loop points by deployment: mean absolute relative errors, biases, and what was left out and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from hasten.accuracy.closed_loop import Point, Simulated, is_doubtful, simulate_point
from hasten.errors import InputError

MOST_USERS = 256
"""Points with more users are left out: they take long to simulate, and most wait for limits that aren't recorded."""


@dataclass(frozen=True)
class Judged:
    """Simulated points, and how many could not be, by reason."""

    simulated: tuple[Simulated, ...]
    left_out: dict[str, int] = field(default_factory=dict)

    def mape(self, kind: str) -> float:
        """Mean of |predicted / measured - 1| of ``ttft`` or ``tpot``; NaN where it isn't predicted."""
        return float(np.mean(np.abs(self._errors(kind)))) if self.simulated else float("nan")

    def bias(self, kind: str) -> float:
        """Median of predicted / measured - 1."""
        return float(np.median(self._errors(kind))) if self.simulated else float("nan")

    def _errors(self, kind: str) -> list[float]:
        return [getattr(each, f"{kind}_error") for each in self.simulated]


def judge(
    points: Iterable[Point],
    simulate: Callable[[Point], Simulated] = simulate_point,
    progress: Callable[[], None] = lambda: None,
) -> Judged:
    """Simulate the points that can be; the others are counted by why not."""
    found: list[Simulated] = []
    reasons: Counter[str] = Counter()
    for each in points:
        reason = why_not(each)
        if reason is None:
            found.append(simulate(each))
        else:
            reasons[reason] += 1
        progress()
    return Judged(tuple(found), dict(reasons))


def why_not(point: Point) -> str | None:
    """Why a point isn't scored, in a few words; None: it is."""
    if point.concurrency > MOST_USERS:
        return f"more than {MOST_USERS} users"
    if point.shortest_share == 1.0 and not point.is_split:
        return "load generator unknown"
    if point.is_split and not (point.prefill_workers and point.decode_workers):
        return "number of workers not recorded"
    try:
        doubt = is_doubtful(point)
        if point.is_split:
            point.pools()
    except InputError:
        return "does not fit, or device unknown"
    return None if doubt is None else "contradicts itself"


def joined(parts: Sequence[Judged]) -> Judged:
    """Several judgements as one."""
    reasons: Counter[str] = Counter()
    for each in parts:
        reasons.update(each.left_out)
    return Judged(tuple(one for each in parts for one in each.simulated), dict(reasons))
