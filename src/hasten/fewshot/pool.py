"""What kernels take beyond the data sheet on the devices that were measured, as a prior for one that was not.

The log of measured over data sheet seconds of a kernel is a smooth function of its features (see `parts`): for every
kind a constant and bumps around a few centres. Each measured device is one vector of weights; their mean and
covariance, widened because there are few of them, are what is believed of a new device.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hasten.fewshot.parts import KINDS, SHAPED, Floats, Parts

PATH = Path(__file__).parent / "pool.json"

WIDTH = 1.0
"""Width of the bumps, in the units of the features."""

JITTER = 1e-6

CONSTANT = 0.3
"""Spread in logs of the factor that all kernels of a kind on a new device share, beyond that of the pool."""

UNSEEN = 0.5
"""The same for the kinds that the pool holds no measurements of."""


@dataclass(frozen=True)
class Pool:
    """Weights of measured devices: ``centres[kind]`` are [bumps, 3], ``weights[device]`` one vector each."""

    centres: tuple[Floats, ...]
    weights: dict[str, Floats]

    def without(self, *devices: str) -> Pool:
        """The pool before those devices were measured."""
        return Pool(self.centres, {name: w for name, w in self.weights.items() if name not in devices})

    @cached_property
    def _roots(self) -> list[Floats]:
        roots = []
        for centres in self.centres:
            bumps = _bumps(centres, centres) + JITTER * np.eye(len(centres))
            roots.append(np.linalg.inv(np.linalg.cholesky(bumps)).T)
        return roots

    @cached_property
    def offsets(self) -> list[int]:
        """Where each kind's weights start: its constant first, then its bumps; last, the length of all."""
        sizes = [
            1 + (len(self.centres[SHAPED.index(kind)]) if kind in SHAPED else 0) for kind in range(len(KINDS))
        ]
        return [0, *np.cumsum(sizes).tolist()]

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.offsets[-1]

    def basis(self, parts: Parts) -> tuple[slice, Floats]:
        """Which weights a kind has, and the values that they multiply (last axis)."""
        start, end = self.offsets[parts.kind], self.offsets[parts.kind + 1]
        ones = np.ones((*parts.seconds.shape, 1))
        if parts.kind not in SHAPED:
            return slice(start, end), ones
        place = SHAPED.index(parts.kind)
        bumps = _bumps(parts.features, self.centres[place]) @ self._roots[place]
        return slice(start, end), np.concatenate([ones, bumps], axis=-1)

    def log_factor(self, parts: Parts, weights: Floats) -> Floats:
        """Log of the seconds of kernels over their data sheet seconds."""
        where, values = self.basis(parts)
        found: Floats = values @ weights[where]
        return found

    @cached_property
    def mean(self) -> Floats:
        """Mean weights of the devices."""
        return np.asarray(np.mean(list(self.weights.values()), axis=0))

    def covariance(self, shared: float, shape: float) -> Floats:
        """Covariance of a new device's weights: ``shared`` times that of the pool, and ``shape`` of every bump."""
        away = np.array(list(self.weights.values())) - self.mean
        own = np.full(self.size, shape)
        for kind, start in enumerate(self.offsets[:-1]):
            own[start] = (CONSTANT if kind in SHAPED else UNSEEN) ** 2
        found: Floats = shared * away.T @ away / len(away) + np.diag(own)
        return found

    def to_json(self) -> dict[str, Any]:
        """As the file holds it."""
        return {
            "centres": [np.round(each, 4).tolist() for each in self.centres],
            "weights": {name: np.round(each, 5).tolist() for name, each in self.weights.items()},
        }


def _bumps(at: Floats, centres: Floats) -> Floats:
    squares = ((at[..., None, :] - centres) ** 2).sum(axis=-1)
    found: Floats = np.exp(-0.5 * squares / WIDTH**2)
    return found


def spread_out(features: Floats, count: int) -> Floats:
    """``count`` of the points, each as far as can be from those before it (Gonzalez 1985)."""
    chosen = [int(np.argmin(((features - features.mean(axis=0)) ** 2).sum(axis=1)))]
    nearest = np.full(len(features), np.inf)
    for _ in range(count - 1):
        nearest = np.minimum(nearest, ((features - features[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(np.argmax(nearest)))
    return features[chosen]


def fitted_weights(pool: Pool, observed: list[tuple[Parts, Floats]], *, ridge: float) -> Floats:
    """Weights of a device whose kernels were measured one by one, as (parts, seconds), by ridge regression."""
    rows, values = [], []
    for parts, seconds in observed:
        where, basis = pool.basis(parts)
        row = np.zeros((len(seconds), pool.size))
        row[:, where] = basis
        rows.append(row)
        values.append(np.log(seconds / parts.seconds))
    design, target = np.concatenate(rows), np.concatenate(values)
    penalty = np.full(pool.size, ridge)
    penalty[pool.offsets[:-1]] = 1e-6
    found: Floats = np.linalg.solve(design.T @ design + np.diag(penalty), design.T @ target)
    return found


@lru_cache(maxsize=1)
def load_pool() -> Pool:
    """The pool that ships: `scripts/make_pool.py` writes it from the operator tables."""
    raw = json.loads(PATH.read_text(encoding="utf-8"))
    centres = tuple(np.array(each, dtype=np.float64) for each in raw["centres"])
    return Pool(centres, {name: np.array(each) for name, each in raw["weights"].items()})
