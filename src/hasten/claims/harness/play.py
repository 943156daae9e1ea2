"""What claims that simulate have in common: paired runs over seeds, and the highest rate that holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from hasten.claims.harness.estimate import Estimate
from hasten.deployment import Deployment
from hasten.report.report import Report

TOLERANCE = 0.02


def ratio_over_seeds(
    seeds: Sequence[int], new: Callable[[int], float], old: Callable[[int], float]
) -> Estimate:
    """new(seed) / old(seed), one ratio per seed: both sides have to draw the same workload from it."""
    return Estimate.over(new(seed) / old(seed) for seed in seeds)


def highest_rate(
    holds: Callable[[float], bool], *, low: float, high: float, tolerance: float = TOLERANCE
) -> float:
    """The highest rate (requests/s) in [low, high] at which `holds(rate)`, by bisection on logarithms.

    `holds` has to be true below some rate and false above. 0 when it is false at `low`, else the middle of two rates
    that are `tolerance` (a share) apart. The same seeds at every rate, please. Raises ValueError when it is true at
    `high`: a factor of two such rates would say nothing.
    """
    if not 0 < low < high:
        raise ValueError(f"rates [{low}, {high}] are no range")
    least, most = low, high
    while high > low * (1 + tolerance):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    if low == least and not holds(low):  # the ends, asked only if nothing between them told
        return 0.0
    if high == most and holds(high):
        raise ValueError(f"nothing fails at {high:g} requests/s: look higher, or at a longer workload")
    return math.sqrt(low * high)


def normalised_latency(report: Report) -> float:
    """Arrival to last token divided by output tokens, s per token: the median over requests, as Orca takes it."""
    served = report.records.select(report.records.is_ok)
    return float(np.median((served.finish - served.arrival) / served.output_tokens))


def origin_of(deployment: Deployment, report: Report) -> str:
    """Where simulated figures come from, for `Findings.origin`."""
    return f"simulated; step times {report.origin}, error {report.error}; {deployment.profile.name}"
