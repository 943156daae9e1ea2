"""Arrival processes: when requests come, in seconds from 0."""

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from hasten.errors import InputError
from hasten.workload.columns import MAX_REQUESTS, Floats

_CHUNK = 4096  # times drawn at once when a duration, not a number, is asked


class Arrivals(Protocol):
    """Anything that gives sorted arrival times."""

    def times(self, rng: np.random.Generator, num: int) -> Floats:
        """The first `num` arrival times, s [num]."""

    def times_until(self, rng: np.random.Generator, duration: float) -> Floats:
        """All arrival times before `duration` seconds."""


class _Renewal:
    """Independent, equally distributed gaps: a subclass says how to draw them."""

    def gaps(self, rng: np.random.Generator, num: int) -> Floats:
        """`num` gaps, s [num]."""
        raise NotImplementedError

    def times(self, rng: np.random.Generator, num: int) -> Floats:
        """The first `num` arrival times, s [num]; the first comes after one gap."""
        return np.cumsum(self.gaps(rng, num))

    def times_until(self, rng: np.random.Generator, duration: float) -> Floats:
        """All arrival times before `duration` seconds; a longer duration begins with the same times."""
        parts: list[Floats] = []
        start = 0.0
        while start < duration:
            if len(parts) * _CHUNK > MAX_REQUESTS:
                raise _too_many(duration)
            parts.append(start + np.cumsum(self.gaps(rng, _CHUNK)))
            start = float(parts[-1][-1])
        times = np.concatenate(parts) if parts else np.empty(0)
        return times[times < duration]


@dataclass(frozen=True, slots=True)
class Poisson(_Renewal):
    """Memoryless arrivals at `rate` requests/s."""

    rate: float

    def __post_init__(self) -> None:
        _check_rate("rate", self.rate)

    def gaps(self, rng: np.random.Generator, num: int) -> Floats:
        """Exponential gaps, s."""
        return rng.exponential(1.0 / self.rate, num)


@dataclass(frozen=True, slots=True)
class Gamma(_Renewal):
    """Gamma gaps at `rate` requests/s with coefficient of variation `cv`: 1 is Poisson, above 1 burstier.

    vLLM's `--burstiness` is 1 / cv^2.
    """

    rate: float
    cv: float = 1.0

    def __post_init__(self) -> None:
        _check_rate("rate", self.rate)
        if not 0 < self.cv <= 100:
            raise InputError(f"cv = {self.cv} must be above 0 and at most 100; for equal gaps use constant")

    def gaps(self, rng: np.random.Generator, num: int) -> Floats:
        """Gamma gaps of shape 1 / cv^2, s."""
        shape = 1.0 / self.cv**2
        return rng.gamma(shape, 1.0 / (self.rate * shape), num)


@dataclass(frozen=True, slots=True)
class Constant:
    """One request every 1 / `rate` seconds, the first at 0."""

    rate: float

    def __post_init__(self) -> None:
        _check_rate("rate", self.rate)

    def times(self, rng: np.random.Generator, num: int) -> Floats:
        """Multiples of the gap, s [num]."""
        return np.arange(num) / self.rate

    def times_until(self, rng: np.random.Generator, duration: float) -> Floats:
        """Multiples of the gap before `duration` seconds."""
        if duration * self.rate > MAX_REQUESTS:
            raise _too_many(duration)
        times = np.arange(math.ceil(duration * self.rate) + 1) / self.rate
        return times[times < duration]


@dataclass(frozen=True, slots=True)
class Ramp:
    """Poisson arrivals whose rate goes from `start` to `end` requests/s over the workload, by `shape`.

    linear: rate(t) = start + (end - start) t / T. exponential: rate(t) = start (end / start)^(t / T).
    Given a number of requests instead of a duration, T is that number over the mean rate.
    """

    start: float
    end: float
    shape: str = field(default="linear", kw_only=True)

    def __post_init__(self) -> None:
        _check_rate("start", self.start)
        _check_rate("end", self.end)
        if self.shape not in ("linear", "exponential"):
            raise InputError(f"shape = {self.shape!r} is unknown: use linear or exponential")

    @property
    def mean_rate(self) -> float:
        """Requests per second over the whole ramp."""
        if self.shape == "linear" or self.start == self.end:
            return (self.start + self.end) / 2
        return (self.end - self.start) / math.log(self.end / self.start)

    def times(self, rng: np.random.Generator, num: int) -> Floats:
        """`num` arrival times over a ramp of num / mean rate seconds."""
        return self._placed(np.sort(rng.random(num)), num / self.mean_rate)

    def times_until(self, rng: np.random.Generator, duration: float) -> Floats:
        """A Poisson number of arrival times over a ramp of `duration` seconds."""
        if self.mean_rate * duration > MAX_REQUESTS:
            raise _too_many(duration)
        num = int(rng.poisson(self.mean_rate * duration))
        return self._placed(np.sort(rng.random(num)), duration)

    def _placed(self, share: Floats, duration: float) -> Floats:
        """The times at which the ramp has sent each share of its requests (inverse of the summed rate)."""
        start, end = self.start, self.end
        if start == end:
            return share * duration
        if self.shape == "exponential":
            growth = end / start
            return duration * np.log1p(share * (growth - 1)) / math.log(growth)
        # start x + (end - start) x^2 / 2 = share (start + end) / 2, in the form that doesn't cancel
        return duration * share * (start + end) / (start + np.sqrt(start**2 + share * (end**2 - start**2)))


@dataclass(frozen=True, slots=True)
class Burst:
    """All requests at once, at time 0 (an infinite rate)."""

    def times(self, rng: np.random.Generator, num: int) -> Floats:
        """Zeros."""
        return np.zeros(num)

    def times_until(self, rng: np.random.Generator, duration: float) -> Floats:
        """Raises InputError: a burst has no duration."""
        raise InputError("a burst has no duration: give the number of requests")


def _too_many(duration: float) -> InputError:
    return InputError(f"more than {MAX_REQUESTS:,} requests come in {duration:g} s: give a shorter duration")


def _check_rate(name: str, rate: float) -> None:
    if not 0 < rate < math.inf:
        raise InputError(f"{name} = {rate} must be finite and above 0 requests/s; for all at once use burst")
