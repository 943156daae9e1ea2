"""The fit: coefficients that explain the samples and stay near what known devices have (maximum a posteriori).

With residuals r = log(measured / predicted), prior mean m and covariance S, and weights w of the samples, it
minimises sum w r^2 / sigma^2 + (theta - m)' S^-1 (theta - m) by Gauss-Newton. The noise sigma is estimated along
(a scaled inverse chi-squared prior keeps it from collapsing on few samples), so samples that contradict each other
widen the result instead of bending it. Samples far from what all the others say are found by leaving each
out in turn, lose their weight and are reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hasten.calibration.model import Floats, Predictor, inverse
from hasten.calibration.prior import Prior
from hasten.calibration.sample import Sample
from hasten.latency.calibration import FACTORS, NAMES

ROUNDS = 8
"""Gauss-Newton steps at most."""

NOISE, NOISE_WEIGHT = 0.03, 3.0
"""Noise of a step time that is expected before any was seen, and the samples that this counts as."""

FAR = 5.0
"""Standard deviations, of what the others predict, beyond which a sample is an outlier."""

LEAST_FAR = 0.10
"""Smallest deviation that is called an outlier, as a log ratio."""

_BOUND = np.log(30.0)

_UNSEEN = 1e-9


@dataclass(frozen=True, eq=False)
class Fit:
    """Coefficients as a vector, their covariance, the noise, and each sample's residual when left out.

    Residuals are log(measured / predicted); ``outliers`` are places of samples without weight;
    ``seen`` marks the coefficients that any sample depends on, the others are neutral.
    """

    theta: Floats
    covariance: Floats
    noise: float
    left_out: Floats
    seen: npt.NDArray[np.bool_]
    outliers: tuple[int, ...] = ()


@dataclass(eq=False)
class _Linear:
    """The model linearised at one place: target = jacobian theta + noise, with the prior."""

    jacobian: Floats
    target: Floats
    prior: Prior

    def solve(self, weight: Floats) -> tuple[Floats, Floats, float]:
        """(theta, covariance, noise), the noise settled by iteration."""
        noise = 2.0 * NOISE
        precision, pull = self.prior.precision, self.prior.precision @ self.prior.mean
        for _ in range(30):
            scaled = self.jacobian.T * (weight / noise**2)
            covariance = inverse(scaled @ self.jacobian + precision)
            theta = covariance @ (scaled @ self.target + pull)
            left = self.target - self.jacobian @ theta
            taken = float(np.trace(covariance @ scaled @ self.jacobian))  # samples' worth of freedom spent
            spare = max(float(weight.sum()) - taken, 0.0)
            squares = float((weight * left**2).sum())
            new = np.sqrt((NOISE_WEIGHT * NOISE**2 + squares) / (NOISE_WEIGHT + spare))
            if abs(new - noise) < 1e-4 * noise:
                noise = float(new)
                break
            noise = float(new)
        return theta, covariance, noise

    def left_out(self, weight: Floats, i: int) -> tuple[float, float]:
        """(residual, standard deviation) of sample ``i`` as the others predict it."""
        others = weight.copy()
        others[i] = 0.0
        theta, covariance, noise = self.solve(others)
        row = self.jacobian[i]
        return float(self.target[i] - row @ theta), float(np.sqrt(noise**2 + row @ covariance @ row))


def fit(samples: Sequence[Sample], predictor: Predictor, prior: Prior) -> Fit:
    """Fit the coefficients of ``predictor`` to at least one sample."""
    times = np.log(np.array([each.seconds for each in samples]))
    shortest = float(np.exp(times.min()))
    base = np.ones(len(samples))
    weight = base.copy()
    low, high = bounds(predictor, samples)
    theta = np.clip(prior.mean, low, high)
    outliers: tuple[int, ...] = ()
    linear = _Linear(np.zeros((len(samples), len(NAMES))), times, prior)
    previous = theta
    for turn in range(ROUNDS):
        at = np.log(predictor.seconds(samples, theta))
        linear.jacobian = predictor.derivatives(samples, theta, at, shortest)
        linear.target = times - at + linear.jacobian @ theta
        if turn:  # the first linearisation is too far away to judge a sample
            outliers = _outliers(linear, base)
            weight = base.copy()
            weight[list(outliers)] = 0.0
        previous = theta
        theta = np.clip(linear.solve(weight)[0], low, high)
        change = linear.jacobian @ (theta - previous)
        if turn > 1 and float(np.abs(change).max()) < 1e-4:
            break
    _, covariance, noise = linear.solve(weight)
    at = np.log(predictor.seconds(samples, theta))
    linear.target = times - at + linear.jacobian @ theta
    left = np.array([linear.left_out(weight, i)[0] for i in range(len(samples))])
    seen = _seen(linear, prior)
    theta[~seen] = 0.0
    return Fit(theta, covariance, noise, left, seen, outliers)


def _seen(linear: _Linear, prior: Prior) -> npt.NDArray[np.bool_]:
    """Which coefficients any sample depends on, as far as they can be expected to move it."""
    moved = np.abs(linear.jacobian).max(axis=0) * np.sqrt(np.diag(prior.covariance))
    return np.asarray(moved > _UNSEEN)


def _outliers(linear: _Linear, base: Floats) -> tuple[int, ...]:
    """Samples that the others don't expect, the worst first; at most a fifth of them, none among fewer than four."""
    weight, found = base.copy(), []
    for _ in range(len(base) // 5 if len(base) >= 5 else int(len(base) == 4)):
        scores = []
        for i in np.flatnonzero(weight):
            residual, deviation = linear.left_out(weight, int(i))
            far = abs(residual) / deviation
            scores.append((far if abs(residual) > LEAST_FAR else 0.0, int(i)))
        worst, place = max(scores)
        if worst < FAR:
            break
        weight[place] = 0.0
        found.append(place)
    return tuple(found)


def bounds(predictor: Predictor, samples: Sequence[Sample]) -> tuple[Floats, Floats]:
    """Lowest and highest coefficients: nothing faster than the data sheet, no step that takes no time."""
    device = predictor.deployment.device
    low, high = np.full(len(NAMES), -np.inf), np.full(len(NAMES), np.inf)
    for i, name in enumerate(NAMES):
        if name in FACTORS:
            low[i], high[i] = -_BOUND, _BOUND
    if predictor.deployment.latency.base == "analytical":
        reached = max([device.compute_efficiency, *device.compute_by_dtype.values()])
        low[NAMES.index("memory")] = np.log(device.memory_efficiency)
        low[NAMES.index("compute")] = np.log(reached)
    shortest = float(predictor.seconds(samples).min())
    most = float(max(each.seconds for each in samples))
    for name in ("step_seconds", "mixed_seconds"):
        low[NAMES.index(name)], high[NAMES.index(name)] = -0.5 * shortest, most
    widest = max((step.decodes + len(step.prefills) for each in samples for step, _ in each.steps), default=1)
    low[NAMES.index("sequence_seconds")] = -0.3 * shortest / max(widest, 1)
    profile = predictor.deployment.profile
    low[NAMES.index("front_end_seconds")] = -profile.front_end_seconds
    low[NAMES.index("front_end_token_seconds")] = -profile.front_end_seconds_per_prompt_token
    return low, high
