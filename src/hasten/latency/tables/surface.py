"""Measured times over a grid of shapes: checked against the data sheet, cleaned of outliers, read between shapes.

A time is compared with what the data sheet makes of its shape ("ideal"), and the log of the ratio is what is
interpolated: corners between memory-bound and compute-bound shapes then need no grid points of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hasten.latency.tables.layers import Array

Ideal = Callable[..., Any]

SLOWER = 1.3
"""A time this many times that of a larger shape is suspect: the larger kernel could have been run, padded."""

MOST_MISS = 0.3  # log: estimates further off than this count alike
LEAST_MISS = 0.003  # log: estimates closer than this count alike
FEW = 2.0  # shapes nearby from which on an estimate's own miss there counts more than its usual one


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

    @property
    def timed(self) -> Any:
        """Where there is a time."""
        return ~np.isnan(self.seconds)

    @cached_property
    def outliers(self) -> Any:
        """Where a time is not believed (see outliers_among)."""
        return self.outliers_among(self.timed)

    def outliers_among(self, known: Any) -> Any:
        """Which of the ``known`` times exceed SLOWER times that of a shape larger along one axis, and stand alone.

        A time stands alone when at most half of its known neighbours exceed such a time too. What neighbours share is
        a slow kernel that will be run again; what they don't is a slip of the measurement.
        """
        times = np.where(known, self.seconds, np.inf)
        suspect = np.zeros(times.shape, dtype=bool)
        for axis in range(times.ndim):
            along = np.moveaxis(times, axis, -1)
            larger = np.full(along.shape, np.inf)
            larger[..., :-1] = np.minimum.accumulate(along[..., :0:-1], axis=-1)[..., ::-1]
            suspect |= np.moveaxis((along > SLOWER * larger) & np.isfinite(along), -1, axis)
        shared = np.zeros(times.shape, dtype=np.int8)
        votes = np.where(suspect, np.int8(1), np.int8(-1))
        for axis in range(times.ndim):
            for nearby in _Beside.of(known, axis).values(votes, none=0):
                shared += nearby
        return suspect & (shared <= 0)

    @cached_property
    def _measured_ratio(self) -> Array:
        found: Array = np.log(self.seconds / self._ideal)
        return found

    @cached_property
    def ratio(self) -> Array:
        """Log of measured over ideal; outliers and untimed shapes between timed ones estimated, others NaN."""
        return self.completed(self.timed)

    def completed(self, known: Any) -> Array:
        """The log ratios where ``known`` and believed; elsewhere estimated from the nearest such shapes.

        Every axis offers the values of its two neighbours and the line between them. An estimate counts by the inverse
        square of how far estimates of its kind miss the known shapes around it. NaN where no axis offers a line.
        """
        known = known & ~self.outliers_among(known)
        values = self._measured_ratio.astype(np.float32)  # estimates need no more, and take half as long
        total, weights = np.zeros_like(values), np.zeros_like(values)
        inside = np.zeros(values.shape, dtype=bool)
        for axis, sizes in enumerate(self.axes):
            beside = _Beside.of(known, axis)
            left, right = beside.values(values)
            line = left + (right - left) * beside.share(np.log2(sizes)).astype(np.float32)
            inside |= ~np.isnan(line)
            for estimate in (line, left, right):
                offered = ~np.isnan(estimate)
                weight = np.where(
                    offered, _trust(np.abs(estimate - values), offered & known), np.float32(0.0)
                )
                total += weight * np.where(offered, estimate, 0.0)
                weights += weight
        return np.where(
            known, self._measured_ratio, np.where(inside, total / np.where(inside, weights, 1.0), np.nan)
        )

    def left_out(self, folds: int, *, seed: int, scored: Sequence[int]) -> tuple[Array, Any]:
        """Relative errors (predicted / measured - 1) of timed shapes left out, and which of them are outliers.

        The timed shapes fall into ``folds`` random parts; each of the parts ``scored`` is predicted from all others.
        Shapes without neighbours on both sides of any axis are not predicted.
        """
        part = np.random.default_rng(seed).integers(0, folds, self.seconds.shape)
        return self._errors(part == each for each in scored)

    def left_out_along(self, axis: int) -> tuple[Array, Any]:
        """The same with all shapes of one size along ``axis`` left out at once, one size after the other."""
        count = len(self.axes[axis])
        places = np.arange(count).reshape([count if each == axis else 1 for each in range(self.seconds.ndim)])
        return self._errors(places == each for each in range(count))

    def _errors(self, parts: Iterable[Any]) -> tuple[Array, Any]:
        """Errors at timed shapes, each part predicted from what is not in it."""
        errors, flagged = [], []
        for part in parts:
            found = self.completed(self.timed & ~part)
            scored = self.timed & part & ~np.isnan(found)
            errors.append(np.expm1((found - self._measured_ratio)[scored]))
            flagged.append(self.outliers[scored])
        return np.concatenate(errors), np.concatenate(flagged)


@dataclass(frozen=True)
class _Beside:
    """The nearest known places on the two sides of every place along one axis, as indices: -1 or the length for none.

    Arrays have that axis moved last.
    """

    axis: int
    left: Any
    right: Any

    @classmethod
    def of(cls, known: Any, axis: int) -> _Beside:
        """The neighbours of every place among those ``known``."""
        along = np.moveaxis(known, axis, -1)
        count = along.shape[-1]
        index = np.arange(count)
        left = np.full(along.shape, -1)
        left[..., 1:] = np.maximum.accumulate(np.where(along, index, -1), axis=-1)[..., :-1]
        right = np.full(along.shape, count)
        right[..., :-1] = np.minimum.accumulate(np.where(along, index, count)[..., ::-1], axis=-1)[
            ..., -2::-1
        ]
        return cls(axis, left, right)

    def values(self, values: Any, *, none: float = np.nan) -> list[Any]:
        """Their values, left and right; ``none`` where there is none."""
        along = np.moveaxis(values, self.axis, -1)
        count = along.shape[-1]
        found = []
        for place in (self.left, self.right):
            value = np.take_along_axis(along, np.clip(place, 0, count - 1), -1)
            beside = np.where((place >= 0) & (place < count), value, none)
            found.append(np.moveaxis(beside, -1, self.axis))
        return found

    def share(self, sizes: Array) -> Array:
        """How far each place is on the way between them; any number without both."""
        low = sizes[np.maximum(self.left, 0)]
        high = sizes[np.minimum(self.right, len(sizes) - 1)]
        found: Array = np.moveaxis((sizes - low) / np.maximum(high - low, 1e-9), -1, self.axis)
        return found


def _trust(missed: Array, scored: Any) -> Array:
    """Weight of an estimate at every place: one over the square of how far it missed the ``scored`` places around.

    The mean over the neighbours (diagonal ones too) and, for FEW places, over the table's median.
    """
    if not scored.any():
        return np.full_like(missed, MOST_MISS**-2)
    missed = np.where(scored, np.minimum(missed, np.float32(MOST_MISS)), np.float32(0.0))
    sums = np.stack([missed, scored])
    for axis in range(1, sums.ndim):
        along = np.moveaxis(sums, axis, 0)
        before = along[:-1].copy()
        along[:-1] += along[1:]
        along[1:] += before
    middle = np.count_nonzero(scored) // 2  # numpy's median would load its masked arrays
    typical = np.partition(missed[scored], middle)[middle]
    found: Array = np.square(np.maximum((sums[0] + FEW * typical) / (sums[1] + FEW), LEAST_MISS))
    return 1.0 / found


def level_through(sizes: Array, levels: Array, at: Any) -> Array:
    """``levels`` (last axis; NaN: unknown) at sizes ``at``, linear in the log of the size, level beyond the ends."""
    known = ~np.isnan(levels)
    found: Array = np.interp(np.log(at), np.log(sizes[known]), levels[known])
    return found
