"""Measured times over a grid of shapes: checked against the data sheet, cleaned of outliers, read between shapes.

A time is compared with what the data sheet makes of its shape ("ideal"), and the log of the ratio is what is
interpolated: corners between memory-bound and compute-bound shapes then need no grid points of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from hasten.latency.tables.layers import Array

Ideal = Callable[..., Any]

SLOWER = 1.3
"""A time this many times that of a larger shape is an outlier: the larger kernel could have been run, padded."""

SHORTEST_GAP = 0.05  # log2: neighbours closer than this count alike
LEAST_MISS = 0.003  # log: axes along which a table is smoother than this count alike


class Surface:
    """Times in seconds over ``axes`` (rising sizes), NaN where a shape was not timed.

    ``ideal`` gives data sheet seconds of a shape, from one array per axis; ``floor`` the seconds below which no
    measurement is believed (a kernel repeated on the same operands finds them in the on-chip cache; in a step,
    the other layers have replaced them). Times below it are raised to it.
    """

    def __init__(self, axes: Sequence[Array], seconds: Array, *, ideal: Ideal, floor: Ideal) -> None:
        self.axes = list(axes)
        self.ideal = ideal
        grid = np.meshgrid(*self.axes, indexing="ij", sparse=True)
        with np.errstate(invalid="ignore"):
            self.seconds: Array = np.maximum(seconds, np.broadcast_to(floor(*grid), seconds.shape))
            self.impossible: Any = seconds < self.seconds
        self._ideal: Array = np.broadcast_to(ideal(*grid), seconds.shape)

    @cached_property
    def outliers(self) -> Any:
        """Where a time exceeds SLOWER times that of a shape that is larger along one axis and equal along others."""
        known = np.where(np.isnan(self.seconds), np.inf, self.seconds)
        found = np.zeros(known.shape, dtype=bool)
        for axis in range(known.ndim):
            times = np.moveaxis(known, axis, -1)
            larger = np.full(times.shape, np.inf)
            larger[..., :-1] = np.minimum.accumulate(times[..., :0:-1], axis=-1)[..., ::-1]
            found |= np.moveaxis((times > SLOWER * larger) & np.isfinite(times), -1, axis)
        return found

    @cached_property
    def _measured_ratio(self) -> Array:
        found: Array = np.log(self.seconds / self._ideal)
        return found

    @cached_property
    def ratio(self) -> Array:
        """Log of measured over ideal; outliers and untimed shapes between timed ones interpolated, others NaN."""
        return self.completed(~np.isnan(self.seconds) & ~self.outliers)

    def completed(self, known: Any) -> Array:
        """The log ratios where ``known``; elsewhere interpolated from the nearest known shapes of every axis.

        Each axis offers the line between its two neighbours, weighted by their distance and by how well such
        lines meet the known shapes along that axis.
        """
        values = self._measured_ratio
        total, weights = np.zeros(values.shape), np.zeros(values.shape)
        for axis, sizes in enumerate(self.axes):
            line, gap = _between(np.moveaxis(values, axis, -1), np.moveaxis(known, axis, -1), np.log2(sizes))
            line, gap = np.moveaxis(line, -1, axis), np.moveaxis(gap, -1, axis)
            offered = ~np.isnan(line)
            missed = np.abs(line - values)[offered & known]
            typical = float(np.median(missed)) if missed.size else 1.0
            weight = 1.0 / (max(typical, LEAST_MISS) * np.maximum(gap, SHORTEST_GAP))
            total[offered] += (weight * line)[offered]
            weights[offered] += weight[offered]
        with np.errstate(invalid="ignore"):
            return np.where(known, values, np.where(weights > 0.0, total / weights, np.nan))

    def left_out(self, folds: int, *, seed: int) -> tuple[Array, Any]:
        """Relative errors (predicted / measured - 1) of timed shapes left out, and which of them are outliers.

        The timed shapes fall into ``folds`` random parts; each part is predicted from the other parts. Shapes
        without neighbours on both sides of any axis are not predicted.
        """
        timed = ~np.isnan(self.seconds)
        part = np.random.default_rng(seed).integers(0, folds, timed.shape)
        errors, flagged = [], []
        for fold in range(folds):
            out = timed & (part == fold)
            found = self.completed(timed & ~out & ~self.outliers)
            scored = out & ~np.isnan(found)
            errors.append(np.expm1((found - self._measured_ratio)[scored]))
            flagged.append(self.outliers[scored])
        return np.concatenate(errors), np.concatenate(flagged)


def _between(values: Array, known: Any, places: Array) -> tuple[Array, Array]:
    """Lines between the nearest known places left and right (last axis), and those places' distance; else NaN."""
    count = len(places)
    index = np.arange(count)
    left = np.full(values.shape, -1)
    left[..., 1:] = np.maximum.accumulate(np.where(known, index, -1), axis=-1)[..., :-1]
    right = np.full(values.shape, count)
    right[..., :-1] = np.minimum.accumulate(np.where(known, index, count)[..., ::-1], axis=-1)[..., -2::-1]
    inside = (left >= 0) & (right < count)
    left, right = np.where(inside, left, 0), np.where(inside, right, count - 1)
    gap = np.where(inside, places[right] - places[left], np.nan)
    share = (places - places[left]) / gap
    low, high = np.take_along_axis(values, left, -1), np.take_along_axis(values, right, -1)
    return low + (high - low) * share, gap


def level_through(sizes: Array, levels: Array, at: Any) -> Array:
    """``levels`` (last axis; NaN: unknown) at sizes ``at``, linear in the log of the size, level beyond the ends."""
    known = ~np.isnan(levels)
    found: Array = np.interp(np.log(at), np.log(sizes[known]), levels[known])
    return found
