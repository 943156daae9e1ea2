"""The highest rate that holds: bisection under common random numbers, the same requests closer and closer together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hasten.deployment import Deployment
from hasten.plan.probe import Outcome, Setting, run, stretched
from hasten.workload import Workload

TOLERANCE = 0.04
"""Bisection stops when the rate that fails is within this share of the one that holds."""

_DEEPEST = 64.0
_WIDEST = 8.0
_LEAST_PART = 400
"""A run is cut short after a quarter of at least this many requests, if they settle it."""


@dataclass(frozen=True, slots=True)
class CapacityEstimate:
    """Highest rate (requests/s) found to hold, the lowest found to fail, and the runs at both.

    `holds` is 0 when no rate tried holds: then `failing` is the run at the lowest.
    """

    holds: float
    fails: float
    holding: Outcome | None = None
    failing: Outcome | None = None
    runs: int = 0


def find_capacity(
    setting: Setting, deployment: Deployment, stream: Workload, unit_rate: float, *, ceiling: float
) -> CapacityEstimate:
    """Bisect the rate of `stream`, whose requests come at `unit_rate` as they are, from half of `ceiling` on."""
    low, high = 0.0, math.inf
    holding: Outcome | None = None
    failing: Outcome | None = None
    rate, runs = ceiling / 2, 0
    while True:
        outcome = verdict(setting, deployment, stream, unit_rate=unit_rate, rate=rate)
        runs += 1
        if outcome.holds:
            low, holding = rate, outcome
        else:
            high, failing = rate, outcome
        if low == 0.0:
            if high < ceiling / _DEEPEST:
                break
            rate = high / 2
        elif math.isinf(high):
            if low > ceiling * _WIDEST:
                break
            rate = low * 1.4
        elif high <= low * (1 + TOLERANCE):
            break
        else:
            rate = math.sqrt(low * high)
    return CapacityEstimate(low, high, holding, failing, runs)


def verdict(
    setting: Setting, deployment: Deployment, stream: Workload, *, unit_rate: float, rate: float
) -> Outcome:
    """The outcome of `stream` at `rate`; of its first quarter alone when that has missed too often already."""
    work = stretched(stream, unit_rate / rate)
    part = len(work) // 4
    if part >= _LEAST_PART:
        early = run(setting, deployment, work.head(part), rate=rate)
        if early.misses > setting.constraints.budget(len(work)):
            return early
    return run(setting, deployment, work, rate=rate)


@dataclass(frozen=True, slots=True)
class Capacity:
    """Highest rate (requests/s) a deployment holds: mean over samples of the trace, and its 95 % interval."""

    rate: float
    low: float
    high: float
    samples: tuple[float, ...] = ()
    binding: str = ""


_T95 = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}
"""Two-sided 95 % quantiles of Student's t for so many samples."""


def interval_of(estimates: list[CapacityEstimate]) -> Capacity:
    """Mean and 95 % interval (Student's t) of the capacities found on different samples."""
    rates = np.array([each.holds for each in estimates])
    failing = next((each.failing for each in estimates if each.failing is not None), None)
    spread = _T95[len(rates)] * float(rates.std(ddof=1)) / math.sqrt(len(rates))
    mean = float(rates.mean())
    return Capacity(
        mean,
        max(0.0, mean - spread),
        mean + spread,
        samples=tuple(float(rate) for rate in rates),
        binding="" if failing is None else failing.binding,
    )
