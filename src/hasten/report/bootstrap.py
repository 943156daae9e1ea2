"""Confidence intervals by resampling blocks of consecutive requests, so that busy periods stay together.

Requests queue behind each other: their latencies are correlated, and resampling them one by one would promise too
narrow an interval. (Circular block bootstrap: Politis and Romano, "A circular block-resampling procedure for
stationary data", 1992.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hasten.errors import InputError
from hasten.report.records import Floats

RESAMPLES = 400


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval in the unit of its value; NaN at both ends when it can't be estimated."""

    low: float
    high: float
    confidence: float = 0.95

    def holds(self, value: float) -> bool:
        """Whether `value` lies within the interval."""
        return self.low <= value <= self.high


def block_length(size: int) -> int:
    """Requests resampled together: the square root of their number, enough for busy periods up to that long."""
    return max(1, math.isqrt(size))


def draw_blocks(size: int, rng: np.random.Generator, *, block: int | None = None) -> npt.NDArray[np.int64]:
    """One resample of `size` consecutive requests: indices in blocks that wrap around at the end."""
    length = block_length(size) if block is None else block
    starts = rng.integers(0, size, math.ceil(size / length))
    indices: npt.NDArray[np.int64] = (starts[:, None] + np.arange(length)[None, :]).ravel()[:size] % size
    return indices


def percentile_interval(
    values: Floats,
    percentile: float,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    block: int | None = None,
    seed: int = 0,
) -> Interval:
    """Confidence interval of a percentile (0 to 100) of `values`, in their unit; values in order of arrival."""
    return interval(
        values,
        lambda sample: float(np.percentile(sample, percentile)),
        confidence=confidence,
        resamples=resamples,
        block=block,
        seed=seed,
    )


def interval(
    values: Floats,
    statistic: Callable[[Floats], float],
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    block: int | None = None,
    seed: int = 0,
) -> Interval:
    """Confidence interval of `statistic(values)`, values in order of arrival; same seed, same interval.

    Raises InputError for a confidence outside (0, 1) or fewer than 2 resamples.
    """
    check(confidence, resamples)
    if values.size < 2:
        return Interval(math.nan, math.nan, confidence)
    rng = np.random.default_rng(seed)
    samples = [statistic(values[draw_blocks(values.size, rng, block=block)]) for _ in range(resamples)]
    return from_samples(samples, confidence)


def from_samples(samples: list[float], confidence: float) -> Interval:
    """The middle `confidence` of resampled statistics; NaN resamples (of nothing) are left out."""
    defined = [sample for sample in samples if not math.isnan(sample)]
    if len(defined) < 2:
        return Interval(math.nan, math.nan, confidence)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(defined, [tail, 100 - tail])
    return Interval(float(low), float(high), confidence)


def check(confidence: float, resamples: int) -> None:
    """Raise InputError for settings no interval can be computed with."""
    if not 0 < confidence < 1:
        raise InputError(f"confidence = {confidence:g} must lie between 0 and 1, for example 0.95")
    if resamples < 2:
        raise InputError(f"resamples = {resamples} is below 2: use some hundreds")
