"""How well operator tables are read between their shapes: timed shapes left out and predicted from the others."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from hasten.accuracy.recorded import Floats
from hasten.latency.tables.operators import OperatorTables

#: Start of a table's name -> what it holds.
KINDS = {
    "gemm": "matrix products",
    "prefill": "prefill attention",
    "decode": "decode attention",
    "experts": "experts",
    "all_": "collectives",
    "reduce_scatter": "collectives",
}


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


def operators_left_out(tables: OperatorTables, *, folds: int = 10) -> dict[str, LeftOut]:
    """Held-out errors by kind of operator on one device.

    The shapes of a table fall into ``folds`` random parts (seeded by the table's name), and each part is predicted
    from the others: every timed shape that has timed neighbours on both sides of some axis is scored once.
    """
    found: dict[str, LeftOut] = {}
    for name in tables.names:
        kind = next(kind for start, kind in KINDS.items() if name.startswith(start))
        surface = tables.surface(name)
        errors, outliers = surface.left_out(folds, seed=zlib.crc32(name.encode()))
        timed = int(np.count_nonzero(~np.isnan(surface.seconds)))
        part = LeftOut(errors, outliers, int(np.count_nonzero(surface.impossible)), timed)
        found[kind] = found[kind] + part if kind in found else part
    return found
