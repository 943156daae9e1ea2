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

COARSE = 0.15
"""The same where a rate is given and either end asks for the same number of replicas."""

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
    setting: Setting,
    deployment: Deployment,
    stream: Workload,
    *,
    ceiling: float,
    wanted: float | None = None,
    tolerance: float = TOLERANCE,
) -> CapacityEstimate:
    """Bisect the rate of `stream` from about half of `ceiling` (requests/s) on, until the ends are `tolerance` apart.

    With a `wanted` rate it stops earlier, at COARSE, once it is clear how many such deployments carry that rate.
    """
    low, high = 0.0, math.inf
    holding: Outcome | None = None
    failing: Outcome | None = None
    # A rate at which the last of several replicas is neither idle nor missing settles their number soonest.
    rate = ceiling / 2 if wanted is None else wanted / math.ceil(wanted / (0.6 * ceiling))
    runs = 0
    while True:
        outcome = verdict(setting, deployment, stream, rate, may_stop=low == 0.0)
        runs += 1
        if outcome.holds:
            low, holding = rate, outcome
        else:
            high, failing = rate, outcome
        if high < ceiling / _DEEPEST or low > ceiling * _WIDEST:
            break
        if low > 0.0 and high <= low * (1 + tolerance):
            break
        if (
            wanted is not None
            and low > 0.0
            and high <= low * (1 + COARSE)
            and _same_number(wanted, low, high)
        ):
            break
        rate = _next_rate(holding, failing)
    return CapacityEstimate(low, high, holding, failing, runs)


def _next_rate(holding: Outcome | None, failing: Outcome | None) -> float:
    """Where the strain should cross 1, on logarithmic scales, well inside what is still open."""
    if holding is None or failing is None:
        known = failing if holding is None else holding
        if known is None:
            raise RuntimeError("no run to go on from")
        strain = min(max(known.strain, 1e-3), 1e3)
        return known.rate * min(max(strain**-0.5, 0.5), 2.0) * (0.9 if holding is None else 1.1)
    below, above = math.log(max(holding.strain, 1e-3)), math.log(min(failing.strain, 1e3))
    share = -below / (above - below) if above > below else 0.5
    return float(holding.rate * (failing.rate / holding.rate) ** min(max(share, 0.2), 0.8))


def _same_number(wanted: float, low: float, high: float) -> bool:
    """Whether deployments with a capacity anywhere between `low` and `high` carry `wanted` in the same number."""
    return math.ceil(wanted / low) == math.floor(wanted / high) + 1


def verdict(
    setting: Setting, deployment: Deployment, stream: Workload, rate: float, *, may_stop: bool = False
) -> Outcome:
    """The outcome of `stream` at `rate`.

    With `may_stop` its first quarter runs alone first, and is the answer if it missed too often to make up for.
    """
    work = stretched(stream, stream.rate / rate)
    part = len(work) // 4
    if may_stop and part >= _LEAST_PART:
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
