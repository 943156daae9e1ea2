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

SLIP = float(np.log(1.3))  # a time this far from what the shapes around say may be a slip of the measurement
ODD = 5.0  # ... and is one where that is so many times what they are missed by

DOUBTS = 3  # estimates of a time that must be so far off before it is looked at

MOST_MISS = np.float32(0.3)  # log: estimates further off than this count alike
LEAST_MISS = np.float32(0.003)  # log: estimates closer than this count alike
FEW = np.float32(2.0)  # shapes nearby from which on an estimate's own miss counts more than its usual one
APART = np.float32(0.2)  # log: an estimate this far from the middle of all counts half
SAMPLE = 4  # of so many misses of an estimate one is looked at for its usual one


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
        """Which times exceed SLOWER times that of a shape larger along one axis, and stand alone.

        A time stands alone when at most half of its timed neighbours exceed such a time too. What neighbours share is
        a slow kernel that will be run again; what they don't is a slip of the measurement.
        """
        times = np.where(self.timed, self.seconds, np.inf)
        suspect = np.zeros(times.shape, dtype=bool)
        for axis in range(times.ndim):
            along = np.moveaxis(times, axis, -1)
            larger = np.full(along.shape, np.inf)
            larger[..., :-1] = np.minimum.accumulate(along[..., :0:-1], axis=-1)[..., ::-1]
            suspect |= np.moveaxis((along > SLOWER * larger) & np.isfinite(along), -1, axis)
        votes = np.append(np.where(suspect, np.int8(1), np.int8(-1)), np.int8(0))
        shared = np.zeros(times.size, dtype=np.int8)
        for beside in self._beside(self.timed):
            shared += votes[beside.left] + votes[beside.right]
        return suspect & (shared <= 0).reshape(times.shape)

    def _beside(self, known: Any) -> list[_Beside]:
        return [_Beside.of(known, axis, np.log2(sizes)) for axis, sizes in enumerate(self.axes)]

    @cached_property
    def _measured_ratio(self) -> Array:
        found: Array = np.log(self.seconds / self._ideal)
        return found

    @cached_property
    def ratio(self) -> Array:
        """Log of measured over ideal; slips and untimed shapes between timed ones estimated, others NaN."""
        return self.completed(self.timed)

    def completed(self, known: Any) -> Array:
        """The log ratios where ``known`` and believed; elsewhere estimated from the nearest such shapes.

        Every axis offers the values of its two nearest shapes on either side and the line between the nearest ones. An
        estimate counts by the inverse square of how far estimates of its kind miss the known shapes around, and less
        the further it lies from the middle of all. NaN where no axis offers a line.

        Slips are not believed: known times that such an estimate misses by SLIP, and by ODD times what the best kind of
        estimate misses around them.
        """
        flat = self._measured_ratio.astype(np.float32).ravel()
        values = np.append(flat, np.float32(np.nan))  # the last is none
        sides = self._beside(known)
        estimates = [each for beside in sides for each in beside.estimates(values)]
        missed = [np.abs(each - values[:-1]) for each in estimates]
        near = _around(known.astype(np.int8))
        weights = [_trust(each, known, near) for each in missed]
        doubts = sum((each > SLIP).view(np.int8) for each in missed)
        asked = np.flatnonzero(known.ravel() & _between(sides) & (doubts >= DOUBTS))
        trust = np.stack([each[asked] for each in weights])
        gap = np.abs(_middle(np.stack([each[asked] for each in estimates]), trust) - values[asked])
        slips = asked[(gap > SLIP) & (gap * np.sqrt(trust.max(axis=0)) > ODD)]

        believed = known.copy()
        believed.ravel()[slips] = False
        sides = self._beside(believed)
        asked = np.flatnonzero(~believed.ravel() & _between(sides))
        offered = np.stack([each for beside in sides for each in beside.estimates(values, asked)])
        found = np.where(believed, self._measured_ratio, np.nan)
        found.ravel()[asked] = _middle(offered, np.stack([each[asked] for each in weights]))
        return found

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
    """The nearest known places before and after every place along one axis: flat indices, one beyond all for none.

    ``sizes`` are the places along the axis, NaN for none.
    """

    left: Any
    right: Any
    sizes: Any

    @classmethod
    def of(cls, known: Any, axis: int, sizes: Array) -> _Beside:
        """The neighbours of every place among those ``known``."""
        none = np.int32(known.size)
        place = np.moveaxis(np.arange(none, dtype=np.int32).reshape(known.shape), axis, -1)
        along = np.moveaxis(known, axis, -1)
        left, right = np.full(along.shape, none), np.full(along.shape, none)
        before = np.maximum.accumulate(np.where(along, place, np.int32(-1)), axis=-1)[..., :-1]
        left[..., 1:] = np.where(before < 0, none, before)
        right[..., :-1] = np.minimum.accumulate(np.where(along, place, none)[..., :0:-1], axis=-1)[..., ::-1]
        at = np.moveaxis(np.broadcast_to(sizes.astype(np.float32), along.shape), -1, axis)
        left, right = (np.moveaxis(each, -1, axis).ravel() for each in (left, right))
        return cls(left, right, np.append(at, np.float32(np.nan)))

    def estimates(self, values: Any, asked: Any = slice(None)) -> list[Any]:
        """What this axis offers the places ``asked``: the line, left, right, two to the left, two to the right.

        ``values`` are flat and end with one for none, as do the estimates with NaN.
        """
        left, right = self.left[asked], self.right[asked]
        further = [
            np.append(side, len(side))[near] for side, near in ((self.left, left), (self.right, right))
        ]
        low, high = self.sizes[left], self.sizes[right]
        share = (self.sizes[:-1][asked] - low) / (high - low)
        sides = [values[each] for each in (left, right, *further)]
        return [sides[0] + share * (sides[1] - sides[0]), *sides]


def _between(sides: list[_Beside]) -> Any:
    """Which places have a known one on both sides along some axis."""
    return np.logical_or.reduce([np.maximum(each.left, each.right) < len(each.left) for each in sides])


def _trust(missed: Any, known: Any, near: Any) -> Any:
    """Weights of an estimate at every place: one over the square of how far it ``missed`` the known places around.

    The mean over the ``near`` known neighbours (diagonal ones too) and, for FEW places, over the table's median, which
    also stands where no such estimate was offered.
    """
    offered = missed[known.ravel() & (missed == missed)][::SAMPLE]
    usual = _median(offered) if len(offered) else MOST_MISS
    missed = np.where(missed == missed, np.minimum(missed, MOST_MISS), usual).reshape(known.shape)
    total = _around(missed * known)
    total += FEW * usual
    total /= near + FEW
    np.maximum(total, LEAST_MISS, out=total)
    return 1.0 / np.square(total, out=total).ravel()


def _median(values: Any) -> Any:
    middle = len(values) // 2  # numpy's own would load its masked arrays
    return np.partition(values, middle)[middle]


def _around(sums: Any) -> Any:
    """Every place with all that touch it, added up in place."""
    for axis in range(sums.ndim):
        along = np.moveaxis(sums, axis, 0)
        before = along[:-1].copy()
        along[:-1] += along[1:]
        along[1:] += before
    return sums


def _middle(estimates: Any, weights: Any) -> Any:
    """The mean of [estimate, place] by weight, less of those far from their weighted median; NaN ones do not count."""
    offered = ~np.isnan(estimates)
    weights = np.where(offered, weights, np.float32(0.0))
    estimates = np.where(offered, estimates, np.float32(0.0))
    order = np.argsort(estimates, axis=0)
    below = np.cumsum(np.take_along_axis(weights, order, 0), axis=0)
    half = np.argmax(below >= 0.5 * below[-1], axis=0)
    median = np.take_along_axis(estimates, np.take_along_axis(order, half[None], 0), 0)
    weights /= 1.0 + np.square((estimates - median) / APART)
    return (weights * estimates).sum(axis=0) / weights.sum(axis=0)


def level_through(sizes: Array, levels: Array, at: Any) -> Array:
    """``levels`` (last axis; NaN: unknown) at sizes ``at``, linear in the log of the size, level beyond the ends."""
    known = ~np.isnan(levels)
    found: Array = np.interp(np.log(at), np.log(sizes[known]), levels[known])
    return found
