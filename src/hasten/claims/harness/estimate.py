"""A figure over seeds: its mean and a 95 % interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

# Two-sided 95 % quantiles of Student's t by degrees of freedom 1 to 30; beyond, those of the normal distribution.
_T95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_NORMAL = 1.960


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its 95 % interval over `seeds` runs, all in the unit of the value.

    A figure without chance (a closed form) has an interval of no width and `seeds` 1.
    """

    value: float
    low: float
    high: float
    seeds: int = 1

    @classmethod
    def exact(cls, value: float) -> Estimate:
        """A figure that is computed, not sampled."""
        return cls(value, value, value)

    @classmethod
    def over(cls, values: Iterable[float]) -> Estimate:
        """The mean of one value per seed, and Student's interval of it. Ratios: give one ratio per seed.

        Raises ValueError without values. With one value the interval is unknown: NaN at both ends.
        """
        found = list(values)
        if not found:
            raise ValueError("an estimate needs at least one value")
        mean = math.fsum(found) / len(found)
        if len(found) == 1:
            return cls(mean, math.nan, math.nan)
        degrees = len(found) - 1
        quantile = _T95[degrees - 1] if degrees <= len(_T95) else _NORMAL
        half = quantile * statistics.stdev(found) / math.sqrt(len(found))
        return cls(mean, mean - half, mean + half, len(found))

    def is_above(self, bound: float) -> bool:
        """Whether the whole interval lies above `bound`."""
        return self.low > bound

    def is_below(self, bound: float) -> bool:
        """Whether the whole interval lies below `bound`."""
        return self.high < bound
