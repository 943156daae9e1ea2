"""The simpler ways to predict a new device from a few samples, which anything cleverer has to beat.

Plain arrays: ``known`` [items, devices] are seconds on known devices, ``places`` the items measured on the new one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hasten.fewshot.learning import Observed
from hasten.fewshot.parts import COMPUTE_SHARE, DECODE, MEMORY_SHARE, Floats

RIDGE = 0.05
NOISE = 0.05  # of a log step time, against the spreads below
ROUNDS = 20

#: Spreads in logs of the factors on fixed time, arithmetic, memory of products and memory of decode attention.
SPREADS = (1.0, 0.3, 0.3, 0.5)


def nearest_device(known: Floats, places: Sequence[int], seconds: Floats) -> Floats:
    """Seconds of all items: those of the device most nearly in proportion, times the median ratio."""
    ratios = np.log(seconds)[:, None] - np.log(known[np.asarray(places)])
    middle = np.median(ratios, axis=0)
    best = int(np.argmin(np.abs(ratios - middle).mean(axis=0)))
    found: Floats = known[:, best] * np.exp(middle[best])
    return found


def ridge_over_devices(known: Floats, places: Sequence[int], seconds: Floats) -> Floats:
    """Seconds of all items: log seconds as a weighted sum of those of the known devices, near their mean."""
    logs = np.log(known)
    centre, level = logs[np.asarray(places)].mean(axis=0), np.log(seconds).mean()
    away = logs[np.asarray(places)] - centre
    start = np.full(away.shape[1], 1.0 / away.shape[1])
    left = np.log(seconds) - level - away @ start
    weights = start + np.linalg.solve(away.T @ away + RIDGE * np.eye(len(start)), away.T @ left)
    found: Floats = np.exp(level + (logs - centre) @ weights)
    return found


class Roofline:
    """Four coefficients: factors on fixed times, arithmetic, memory traffic, and that of decode attention besides."""

    def __init__(self, steps: Sequence[Observed], seconds: Floats) -> None:
        self.factors = np.zeros(4)  # logs
        target = np.log(seconds)
        spreads = np.array(SPREADS)
        for _ in range(ROUNDS):
            away = (self._logs(steps, self.factors) - target) / NOISE
            slopes = np.zeros((len(steps), 4))
            for i in range(4):
                nudge = np.zeros(4)
                nudge[i] = 1e-3
                up, down = self._logs(steps, self.factors + nudge), self._logs(steps, self.factors - nudge)
                slopes[:, i] = (up - down) / (2e-3 * NOISE)
            hessian = slopes.T @ slopes + np.diag(1.0 / spreads**2)
            step = np.linalg.solve(hessian, slopes.T @ away + self.factors / spreads**2)
            self.factors = self.factors - np.clip(step, -0.7, 0.7)

    @staticmethod
    def _logs(steps: Sequence[Observed], factors: Floats) -> Floats:
        fixed, arithmetic, memory, cache = np.exp(factors)
        found = []
        for step in steps:
            total = 0.0
            for part in step.parts:
                one, other, moved = part.bound.reshape(3)
                further = cache if part.kind == DECODE else 1.0
                total += fixed * one + max(arithmetic * other, memory * further * moved)
            found.append(total)
        return np.asarray(np.log(np.array(found)))

    def predict(self, steps: Sequence[Observed]) -> Floats:
        """Seconds of steps."""
        found: Floats = np.exp(self._logs(steps, self.factors))
        return found

    @property
    def shares(self) -> tuple[float, float]:
        """Shares of the peak and of the memory bandwidth that large kernels reach."""
        return COMPUTE_SHARE / float(np.exp(self.factors[1])), MEMORY_SHARE / float(np.exp(self.factors[2]))
