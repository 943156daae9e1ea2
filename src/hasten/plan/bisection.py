"""The highest rate that holds: bisection under common random numbers, the same requests closer and closer together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from hasten.deployment import Deployment
from hasten.plan.probe import Outcome, Setting, run, stretched
from hasten.workload import Workload

TOLERANCE = 0.04
"""Bisection stops when the rate that fails is within this share of the one that holds."""

COARSE = 0.15
"""The same where a rate is given and either end asks for the same number of replicas."""

_DEEPEST = 64.0
_FIRST = 0.4
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

    @property
    def likely(self) -> float:
        """Where between both rates the limit should be reached, in requests/s."""
        if self.holding is None or self.failing is None:
            return self.holds
        share = _crossing(self.holding, self.failing)
        return self.holds * math.pow(self.fails / self.holds, share)


def find_capacity(
    setting: Setting,
    deployment: Deployment,
    stream: Workload,
    *,
    ceiling: float,
    start: float | None = None,
    wanted: float | None = None,
) -> CapacityEstimate:
    """Bisect the rate of `stream` below `ceiling` (requests/s), until its ends are TOLERANCE apart.

    A short stream may hold above what can go on for ever: that is why no rate above the ceiling is tried. `start` is
    a guess at the result. With a `wanted` rate the search stops earlier, at COARSE, once it is clear how many such
    deployments carry that rate.
    """
    low, high = 0.0, math.inf
    holding: Outcome | None = None
    failing: Outcome | None = None
    rate = _FIRST * ceiling
    if start is not None:
        rate = min(start, ceiling)
    elif wanted is not None:
        # A rate at which the last of several replicas is neither idle nor missing settles their number soonest.
        rate = wanted / math.ceil(wanted / rate)
    runs = 0
    while True:
        outcome = verdict(setting, deployment, stream, rate, may_stop=low == 0.0)
        runs += 1
        if outcome.holds:
            low, holding = rate, outcome
        else:
            high, failing = rate, outcome
        if low >= ceiling or high < ceiling / _DEEPEST or (low > 0.0 and high <= low * (1 + TOLERANCE)):
            break
        if wanted is not None and low > 0.0 and _is_settled(wanted, low, high):
            break
        rate = min(_next_rate(holding, failing), ceiling)
    return CapacityEstimate(low, high, holding, failing, runs)


def _is_settled(wanted: float, low: float, high: float) -> bool:
    """Whether deployments with a capacity anywhere between close `low` and `high` carry `wanted` in the same number."""
    return high <= low * (1 + COARSE) and math.ceil(wanted / low) == math.floor(wanted / high) + 1


def _next_rate(holding: Outcome | None, failing: Outcome | None) -> float:
    """Where the strain should cross 1, on logarithmic scales, well inside what is still open."""
    if holding is None or failing is None:
        known = failing if holding is None else holding
        if known is None:
            raise RuntimeError("no run to go on from")
        strain = min(max(known.strain, 1e-3), 1e3)
        return known.rate * min(max(1.0 / math.sqrt(strain), 0.5), 2.0) * (0.9 if holding is None else 1.1)
    share = min(max(_crossing(holding, failing), 0.2), 0.8)
    return holding.rate * math.pow(failing.rate / holding.rate, share)


def _crossing(holding: Outcome, failing: Outcome) -> float:
    """Share of the way from one run to the other, in log rate, at which the log strain passes 0."""
    below, above = math.log(max(holding.strain, 1e-3)), math.log(min(failing.strain, 1e3))
    return -below / (above - below) if above > below else 0.5


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
    """Highest rate (requests/s) a deployment holds on the whole workload, with a 95 % interval.

    The interval is `rate` plus and minus the spread of the capacities on resamples of the trace; NaN where requests
    depend on each other, so that the trace can't be resampled.
    """

    rate: float
    low: float = math.nan
    high: float = math.nan
    samples: tuple[float, ...] = ()
    binding: str = ""


_T95 = {6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Two-sided 95 % quantiles of Student's t for so many resamples."""


def with_interval(found: CapacityEstimate, resampled: Sequence[CapacityEstimate]) -> Capacity:
    """A capacity with the interval that its resamples give: their relative standard deviation times Student's t."""
    binding = "" if found.failing is None else found.failing.binding
    rates = tuple(each.likely for each in resampled)
    mean = sum(rates) / len(rates) if rates else 0.0
    if mean == 0.0 or found.likely == 0.0:
        return Capacity(found.likely, samples=rates, binding=binding)
    spread = _T95[len(rates)] * statistics.stdev(rates) / mean
    low, high = found.likely * max(0.0, 1.0 - spread), found.likely * (1.0 + spread)
    return Capacity(found.likely, low, high, samples=rates, binding=binding)
