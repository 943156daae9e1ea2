"""Scales from values to places, and the few values worth a label on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

_NORMAL = NormalDist()


@dataclass(frozen=True)
class Scale:
    """Values from `low` to `high` on places 0 to `size` - 1, evenly after `bend`."""

    low: float
    high: float
    size: int
    bend: Callable[[float], float] = float

    def __call__(self, value: float) -> float:
        """The place of a value; outside of the ends it lies outside of the places."""
        first, last = self.bend(self.low), self.bend(self.high)
        return (self.bend(value) - first) / ((last - first) or 1.0) * (self.size - 1)


def logarithmic(low: float, high: float, size: int) -> Scale:
    """Equal factors are equally far apart; both ends lie above 0."""
    return Scale(low, high, size, math.log)


def of_percentiles(low: float, high: float, size: int) -> Scale:
    """Percentiles as on probability paper: p99.9 lies as far from p99 as that does from p90 or so, and the median in
    between; times that are lognormal make a straight line over a logarithmic scale."""
    return Scale(low, high, size, lambda q: _NORMAL.inv_cdf(min(max(q / 100.0, 1e-6), 1.0 - 1e-6)))


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round values between two ends, about so many: 1, 2 or 5 times a power of ten apart."""
    if not high > low:
        return [low]
    rough = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [each * step for each in range(first, last + 1)]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Round values between two ends above 0, at most so many: 1, 2 and 5 times powers of ten, or powers alone; evenly
    spaced ones where the ends are less than a factor of 8 apart."""
    if high < 8.0 * low:
        return ticks(low, high, max(2, most - 1))
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    wanted: Sequence[tuple[int, ...]] = ((1, 2, 5), (1, 3), (1,))
    for factors in wanted:
        found = [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]
        if len(found) <= most:
            break
    else:
        found = found[:: math.ceil(len(found) / most)]
    return found or [math.sqrt(low * high)]
