"""Closed-loop points calibrated with ten of their own: four physical coefficients, fitted through the simulator.

Of a group (one checkpoint on one device under one engine) ten points are drawn; from their mean TTFT and TPOT follow
a factor on decodes, a factor on what prefills add, seconds of every step and seconds of every step with a prefill. All
other points of the group are then simulated with them and scored. The response of TTFT to a step time is not linear
near saturation: so the fit simulates every point anew around the last estimate (Gauss-Newton in logs, with a ridge
towards no correction and weights that keep single odd points from deciding).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hasten.accuracy.closed_loop import Point, Simulated, simulate_point
from hasten.errors import InputError
from hasten.latency.scaled import adjusted

Floats = npt.NDArray[np.float64]

SAMPLES = 10
PRIOR = np.array([0.25, 0.3, 1e-3, 30e-3])
"""Spreads of the coefficients before any sample: two factors in logs, seconds per step and per mixed step."""

NUDGES = np.array([0.05, 0.05, 0.2e-3, 5e-3])
NOISE = np.array([0.1, 0.04])
"""Spread in logs of a measured TTFT and TPOT around what the coefficients can explain."""

ROUNDS = 3
TRUSTED = 2.0
"""Residuals, in units of NOISE, beyond which a point loses weight."""


@dataclass(frozen=True)
class Coefficients:
    """Factors on decodes and on what prefills add, and seconds of every step and of every mixed step."""

    decode: float = 1.0
    prefill: float = 1.0
    every: float = 0.0
    mixed: float = 0.0

    @classmethod
    def of(cls, theta: Floats) -> Coefficients:
        """From (log factors, seconds)."""
        return cls(math.exp(theta[0]), math.exp(theta[1]), float(theta[2]), float(theta[3]))

    def simulate(self, point: Point) -> Simulated:
        """The point with these corrections."""
        return simulate_point(
            point,
            lambda deployment: adjusted(
                deployment.cost, self.decode, self.prefill, every=self.every, mixed=self.mixed
            ),
        )


def fit_points(points: Sequence[Point]) -> Coefficients:
    """Coefficients of a few points of one deployment. Raises InputError with fewer than there are coefficients."""
    if len(points) < len(PRIOR):
        raise InputError(f"{len(points)} points for {len(PRIOR)} coefficients: give more points")
    theta = np.zeros(len(PRIOR))
    for _ in range(ROUNDS):
        base = _errors(points, theta)
        slopes = np.stack(
            [(_errors(points, theta + nudge) - base) / nudge.sum() for nudge in np.diag(NUDGES)], axis=-1
        )
        noise = np.tile(NOISE, len(points))
        weight = 1.0 / (noise * np.sqrt(np.maximum(1.0, np.abs(base) / (TRUSTED * noise))))
        rows = np.concatenate([slopes * weight[:, None], np.diag(1.0 / PRIOR)])
        target = np.concatenate([-base * weight, -theta / PRIOR])
        theta = theta + np.linalg.lstsq(rows, target, rcond=None)[0]
    return Coefficients.of(theta)


def _errors(points: Sequence[Point], theta: Floats) -> Floats:
    """log(predicted / measured) of TTFT and TPOT of every point, one after the other."""
    chosen = Coefficients.of(theta)
    return np.array([-each for point in points for each in chosen.simulate(point).log_errors])


def held_out(points: Sequence[Point], draw: int, samples: int = SAMPLES) -> list[Simulated]:
    """Points of a group other than ``samples`` drawn ones, simulated with what was fitted to those."""
    order = np.random.default_rng(draw).permutation(len(points))
    chosen = fit_points([points[i] for i in order[:samples]])
    return [chosen.simulate(points[i]) for i in order[samples:]]
