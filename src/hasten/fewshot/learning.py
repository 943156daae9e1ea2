"""A new device's step times from a few timed steps: the pool's prior, brought in line with what was timed.

With weights w, prior N(m, S) and a step's log seconds f(w), the fit minimises sum (log t - f(w))^2 / noise
+ (w - m)' S^-1 (w - m) by Gauss-Newton in the space of the samples. How far the new device may be from the pool, how
far from smooth, and the noise are not known: all of a small grid are tried, and weighted by their evidence
(Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, equation 2.30, at the last linearisation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product as combinations

import numpy as np

from hasten.errors import InputError
from hasten.fewshot.parts import Floats, Parts
from hasten.fewshot.pool import Pool

#: The grid: share of the pool's covariance, variance of every bump alone, variance of a log step time.
SHARED, SHAPE, NOISE = (0.3, 1.0, 3.0), (0.003, 0.01, 0.03), (1e-4, 4e-4, 2e-3)

ROUNDS = 4
OFFSET = (1e-3, 3e-3)
"""Spreads in seconds of what is added to every step, and besides to every step with a prefill; at most this
share of the shortest step:"""
OFFSET_SHARE = 0.2


@dataclass(frozen=True)
class TimedStep:
    """One step of an engine and how long it took, in seconds.

    ``prefills`` are chunks as (tokens, cached tokens before them), ``decode_context`` the tokens in KV of all decoding
    sequences together. ``where`` names the place it was read from.
    """

    seconds: float
    prefills: tuple[tuple[int, int], ...] = ()
    decodes: int = 0
    decode_context: int = 0
    where: str = "sample"

    def __post_init__(self) -> None:
        if not 0.0 < self.seconds < 3600.0:
            raise InputError(f"{self.where}: step of {self.seconds!r} s: give seconds above 0 and below 3600")
        if not self.prefills and self.decodes < 1:
            raise InputError(f"{self.where}: the step is empty: give prefills or decodes")


@dataclass(frozen=True)
class Observed:
    """A step as the fit needs it: its kernels, whether a prefill is in it, and the host's seconds to launch it."""

    parts: Sequence[Parts]
    has_prefill: bool
    floor: float = 0.0
    _cache: dict[int, tuple[Floats, Floats]] = field(default_factory=dict, compare=False, repr=False)

    def design(self, pool: Pool) -> tuple[Floats, Floats]:
        """Basis values of every kernel, [kernels, weights], and their data sheet seconds."""
        key = id(pool)
        if key not in self._cache:
            rows = np.zeros((len(self.parts), pool.size))
            for i, part in enumerate(self.parts):
                where, values = pool.basis(part)
                rows[i, where] = values.reshape(-1)
            self._cache[key] = rows, np.array([float(part.seconds.reshape(-1)[0]) for part in self.parts])
        return self._cache[key]


@dataclass(frozen=True)
class Learned:
    """Weights of a device and seconds added to every step and every step with a prefill.

    ``state`` is the weights followed by the two offsets, ``covariance`` theirs, ``noise`` the variance of the log of
    a step time around what they say.
    """

    pool: Pool
    state: Floats
    covariance: Floats
    noise: float

    @property
    def weights(self) -> Floats:
        """Weights of the pool's basis."""
        return self.state[:-2]

    @property
    def offsets(self) -> tuple[float, float]:
        """Seconds added to every step, and besides to every step with a prefill."""
        return float(self.state[-2]), float(self.state[-1])

    def predict(self, steps: Sequence[Observed]) -> tuple[Floats, Floats]:
        """Seconds of steps, and the standard deviations of their logs (a new timing's noise included)."""
        logs, slopes = _linear(self.pool, steps, self.state)
        variance = np.einsum("ij,jk,ik->i", slopes, self.covariance, slopes) + self.noise
        return np.exp(logs), np.sqrt(np.maximum(variance, 0.0))


def _linear(pool: Pool, steps: Sequence[Observed], state: Floats) -> tuple[Floats, Floats]:
    """Log seconds of steps and their derivatives by the state."""
    logs, slopes = np.zeros(len(steps)), np.zeros((len(steps), len(state)))
    weights, (every, mixed) = state[:-2], state[-2:]
    for i, step in enumerate(steps):
        rows, seconds = step.design(pool)
        each = seconds * np.exp(np.clip(rows @ weights, -5.0, 5.0))
        busy = float(each.sum())
        offset = float(every + mixed * step.has_prefill)
        total = max(max(busy, step.floor) + offset, 0.05 * busy)
        logs[i] = np.log(total)
        if busy >= step.floor:
            slopes[i, :-2] = each @ rows / total
        slopes[i, -2], slopes[i, -1] = 1.0 / total, step.has_prefill / total
    return logs, slopes


def _prior(
    pool: Pool, shortest: float, setting: tuple[float, float], *, has_offsets: bool
) -> tuple[Floats, Floats]:
    mean = np.concatenate([pool.mean, np.zeros(2)])
    covariance = np.zeros((len(mean), len(mean)))
    covariance[:-2, :-2] = pool.covariance(*setting)
    if has_offsets:
        limits = [min(each, OFFSET_SHARE * shortest) for each in OFFSET]
        covariance[-2:, -2:] = np.diag(np.square(limits))
    return mean, covariance


def learn(pool: Pool, steps: Sequence[Observed], seconds: Floats, *, has_offsets: bool = True) -> Learned:
    """Fit a device to timed steps. Without samples, the pool's prior itself.

    ``has_offsets`` is False where the seconds are those of kernels alone, without a host.
    Raises InputError unless there is one time, finite and above zero, per step.
    """
    if len(seconds) != len(steps) or not np.all(np.isfinite(seconds)) or np.any(seconds <= 0.0):
        raise InputError(f"{len(seconds)} times for {len(steps)} steps: give one time above 0 s for each")
    shortest = float(np.min(seconds, initial=1.0))
    fits = []
    for shared, shape, noise in combinations(SHARED, SHAPE, NOISE):
        mean, covariance = _prior(pool, shortest, (shared, shape), has_offsets=has_offsets)
        fits.append(_fit(pool, (steps, np.log(seconds)), (mean, covariance), noise))
    evidence = np.array([each[0] for each in fits])
    share = np.exp(evidence - evidence.max())
    share /= share.sum()
    state = np.sum([w * each[1] for w, each in zip(share, fits, strict=True)], axis=0)
    spread = np.zeros((len(state), len(state)))
    for w, (_, one, covariance, _) in zip(share, fits, strict=True):
        spread += w * (covariance + np.outer(one - state, one - state))
    return Learned(pool, state, spread, float(sum(w * each[3] for w, each in zip(share, fits, strict=True))))


def _fit(
    pool: Pool, data: tuple[Sequence[Observed], Floats], prior: tuple[Floats, Floats], noise: float
) -> tuple[float, Floats, Floats, float]:
    """Log evidence, state, covariance and noise under one setting."""
    steps, target = data
    mean, covariance = prior
    state, value, kept = mean, 0.0, covariance
    if not steps:
        return value, state, kept, noise
    for _ in range(ROUNDS):
        logs, slopes = _linear(pool, steps, state)
        # Linearised at the state, the data say: target - logs + slopes (state - mean) = slopes (w - mean) + noise.
        left = target - logs + slopes @ (state - mean)
        between = slopes @ covariance
        scatter = between @ slopes.T + noise * np.eye(len(target))
        gain = np.linalg.solve(scatter, between).T
        state = mean + gain @ left
        value = -0.5 * float(left @ np.linalg.solve(scatter, left)) - 0.5 * float(
            np.linalg.slogdet(scatter)[1]
        )
        kept = covariance - gain @ between
    return value, state, kept, noise


def most_telling(pool: Pool, steps: Sequence[Observed], count: int) -> list[int]:
    """Places of the ``count`` steps whose timing tells most about all of them, one after the other.

    Greedy: each next step is the one that most lowers the summed variance of all log step times under the prior.
    """
    mean, covariance = _prior(pool, 1.0, (1.0, 0.01), has_offsets=False)
    _, slopes = _linear(pool, steps, mean)
    left = slopes @ covariance @ slopes.T
    chosen: list[int] = []
    for _ in range(min(count, len(steps))):
        gain = (left**2).sum(axis=0) / (np.diag(left) + 1e-3)
        gain[chosen] = -1.0
        best = int(np.argmax(gain))
        chosen.append(best)
        left = left - np.outer(left[:, best], left[best]) / (left[best, best] + 1e-3)
    return chosen
