"""Latencies of many items (neural architectures, kernels) on a new device, from a few of them.

Every known device is a vector of latencies, one per item. A new one is taken to be the mean of the known ones, plus
multiples of how each of them differs from that mean, plus a smooth function of the items' features: a Gaussian process
whose covariance the pool of devices gives. How far to trust each part is not known; a grid is weighted by evidence.
Latencies are relative to their mean, not logarithmic: costs of parts add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product as combinations

import numpy as np

from hasten.errors import InputError
from hasten.fewshot.parts import Floats

#: The grid: variance of a known device's deviation, of the features' weights, and of one latency around both.
DEVIATION, FEATURES, NOISE = (0.3, 1.0, 3.0), (0.03, 0.3, 3.0), (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)

LEVEL, GAIN = 0.1, 0.3
"""Variances of a shift of all latencies, and of the factor on how items differ in the mean of the pool."""


@dataclass(frozen=True)
class ItemPool:
    """``latencies`` [items, devices] of known devices, each relative to its mean; ``features`` [items, any].

    Where known latencies come from a model of the items rather than from measurements, the prediction does too.
    """

    latencies: Floats
    features: Floats

    @cached_property
    def mean(self) -> Floats:
        """Mean relative latency of every item."""
        found: Floats = self.latencies.mean(axis=1)
        return found

    @cached_property
    def _basis(self) -> tuple[Floats, Floats, Floats]:
        away = self.latencies - self.mean[:, None]
        features = self.features - self.features.mean(axis=0)
        return self.mean - self.mean.mean(), away / np.sqrt(away.shape[1]), features

    def covariance(
        self, rows: Sequence[int] | Floats, columns: Sequence[int] | Floats, setting: tuple[float, float]
    ) -> Floats:
        """Prior covariance of the relative latencies of items, under one setting of (deviation, features)."""
        level, away, features = self._basis
        found: Floats = LEVEL + GAIN * np.outer(level[rows], level[columns])
        found += setting[0] * away[rows] @ away[columns].T + setting[1] * features[rows] @ features[columns].T
        return found

    def _variance(self, rows: Sequence[int] | Floats, setting: tuple[float, float]) -> Floats:
        """The diagonal of the covariance of items with themselves."""
        level, away, features = self._basis
        found: Floats = LEVEL + GAIN * level[rows] ** 2
        found += setting[0] * (away[rows] ** 2).sum(axis=1) + setting[1] * (features[rows] ** 2).sum(axis=1)
        return found

    def predict(
        self, measured: Sequence[int], latencies: Floats, wanted: Sequence[int]
    ) -> tuple[Floats, Floats]:
        """Latencies of the ``wanted`` items and their standard deviations, in the unit of the ``measured`` ones.

        Raises InputError unless there is one latency above zero for each measured item, and at least two.
        """
        places, asked = np.asarray(measured), np.asarray(wanted)
        if (
            len(places) != len(latencies)
            or len(places) < 2
            or not np.all(latencies > 0.0)
            or np.isnan(latencies).any()
        ):
            raise InputError(
                f"{len(latencies)} latencies of {len(places)} items: give two or more, each above 0"
            )
        unit = float(latencies.mean() / self.mean[places].mean())
        away = latencies / unit - self.mean[places]
        values, means, variances = [], [], []
        for deviation, features, noise in combinations(DEVIATION, FEATURES, NOISE):
            setting = deviation, features
            scatter = self.covariance(places, places, setting) + noise * np.eye(len(places))
            solved = np.linalg.solve(scatter, away)
            values.append(-0.5 * float(away @ solved) - 0.5 * float(np.linalg.slogdet(scatter)[1]))
            across = self.covariance(asked, places, setting)
            means.append(across @ solved)
            explained = np.einsum("ij,ji->i", across, np.linalg.solve(scatter, across.T))
            variances.append(self._variance(asked, setting) + noise - explained)
        share = np.exp(np.array(values) - max(values))
        share /= share.sum()
        mean = share @ np.array(means)
        variance = share @ (np.array(variances) + (np.array(means) - mean) ** 2)
        return unit * (self.mean[asked] + mean), unit * np.sqrt(np.maximum(variance, 0.0))

    def most_telling(self, candidates: Sequence[int], count: int) -> list[int]:
        """The ``count`` items whose measurement tells most about all candidates, one after the other."""
        noise = 0.01
        places = np.asarray(candidates)
        left = self.covariance(places, places, (1.0, 0.3))
        chosen: list[int] = []
        for _ in range(min(count, len(places))):
            gain = (left**2).sum(axis=0) / (np.diag(left) + noise)
            gain[chosen] = -1.0
            best = int(np.argmax(gain))
            chosen.append(best)
            left = left - np.outer(left[:, best], left[best]) / (left[best, best] + noise)
        return places[chosen].tolist()  # type: ignore[no-any-return]
