"""How well operator tables are read between their shapes: timed shapes left out and predicted from the others."""

from __future__ import annotations

import functools
import operator
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from hasten.accuracy.recorded import Floats
from hasten.latency.tables.operators import OperatorTables
from hasten.latency.tables.surface import Surface

#: Start of a table's name -> what it holds.
KINDS = {
    "gemm": "matrix products",
    "prefill": "prefill attention",
    "decode": "decode attention",
    "experts": "experts",
    "all_": "collectives",
    "reduce_scatter": "collectives",
}

PARTS = 10
SCORED = range(5)


@dataclass(frozen=True)
class LeftOut:
    """Shapes of one kind of operator that were left out.

    ``errors`` are predicted / measured - 1; ``outliers`` says which of the measured times the tables do not believe
    (Surface.outliers); ``raised`` counts times faster than the data sheet allows among ``timed`` ones.
    """

    errors: Floats
    outliers: Any
    raised: int
    timed: int

    @property
    def believed(self) -> Floats:
        """The errors at shapes whose times are believed."""
        found: Floats = self.errors[~self.outliers]
        return found

    def __add__(self, other: LeftOut) -> LeftOut:
        return LeftOut(
            np.concatenate([self.errors, other.errors]),
            np.concatenate([self.outliers, other.outliers]),
            self.raised + other.raised,
            self.timed + other.timed,
        )


def operators_left_out(tables: OperatorTables) -> dict[str, LeftOut]:
    """Held-out errors by kind of operator on one device.

    The shapes of a table fall into ten random parts (seeded by the table's name), and each of the parts SCORED is
    predicted from the nine others: every shape in it that has timed neighbours on both sides of some axis. How to read
    between shapes was chosen on the other five parts.
    """
    found: dict[str, LeftOut] = {}
    for name in tables.names:
        kind = next(kind for start, kind in KINDS.items() if name.startswith(start))
        part = _part(tables.surface(name), seed=zlib.crc32(name.encode()))
        found[kind] = found[kind] + part if kind in found else part
    return found


def widths_left_out(tables: OperatorTables) -> LeftOut:
    """Held-out errors of matrix products whose outputs, or whose inputs, were not timed at all.

    Harder than single shapes left out, and what a model of new sizes meets: every number of outputs (inputs) between
    the least and the most is left out in turn, with all token counts and inputs (outputs).
    """
    parts = [_part(tables.surface(name), axis=axis) for name in _products(tables) for axis in (1, 2)]
    return functools.reduce(operator.add, parts)


def one_token_more(tables: OperatorTables) -> Floats:
    """Seconds of measured products over those of the same with one token less, minus 1.

    No product can truly gain from more work (it could be padded), so what lies below 0 is scatter of the measurement
    and of the library's choice of kernels, which no table can tell.
    """
    found = []
    for name in _products(tables):
        surface = tables.surface(name)
        pairs = np.flatnonzero(np.diff(surface.axes[0]) == 1.0)
        found.append((surface.seconds[pairs + 1] / surface.seconds[pairs] - 1.0).ravel())
    every = np.concatenate(found)
    return every[~np.isnan(every)]


def _products(tables: OperatorTables) -> list[str]:
    return [name for name in tables.names if name.startswith("gemm")]


def _part(surface: Surface, *, seed: int = 0, axis: int | None = None) -> LeftOut:
    """Random shapes of a surface left out, or all shapes of one size along ``axis`` at once."""
    if axis is None:
        errors, outliers = surface.left_out(PARTS, seed=seed, scored=SCORED)
    else:
        errors, outliers = surface.left_out_along(axis)
    raised, timed = (int(np.count_nonzero(each)) for each in (surface.impossible, surface.timed))
    return LeftOut(errors, outliers, raised, timed)
