"""Joins: rows that wait for more rows than their parent, as the end of parallel tool calls and sub-agents does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hasten.errors import InputError
from hasten.workload.columns import Ints, LongInts, frozen


@dataclass(frozen=True, slots=True, eq=False)
class Joins:
    """What every row waits for beside its parent, as flat columns of a workload with n rows.

    rows       int32 [sum of joins], rows that must end first, each an earlier one than the row that waits
    offsets    int64 [n + 1]; row i waits for rows[offsets[i]:offsets[i + 1]]
    quorum     int32 [n], how many of parent and joined rows suffice, 0 = all of them

    Raises InputError when a joined row does not come earlier, or a quorum exceeds what is waited for.
    """

    rows: Ints
    offsets: LongInts
    quorum: Ints

    def __post_init__(self) -> None:
        num = len(self.quorum)
        rows: Ints = frozen(self.rows, np.int32, "joins.rows")
        offsets: LongInts = frozen(self.offsets, np.int64, "joins.offsets", num + 1)
        quorum: Ints = frozen(self.quorum, np.int32, "joins.quorum", num)
        counts = np.diff(offsets)
        if offsets[0] != 0 or offsets[-1] != len(rows) or (counts < 0).any():
            raise InputError(f"joins.offsets must rise from 0 to the {len(rows)} joined rows")
        waiting = np.repeat(np.arange(num), counts)
        bad = (rows < 0) | (rows >= waiting)
        if bad.any():
            at = int(np.argmax(bad))
            raise InputError(
                f"row {waiting[at]} joins row {rows[at]}, which is no earlier row: mend the link"
            )
        above = (quorum < 0) | (quorum > counts + 1)
        if above.any():
            row = int(np.argmax(above))
            raise InputError(
                f"joins.quorum[{row}] = {quorum[row]} is outside 0 to {counts[row] + 1}: 0 waits for all"
            )
        for name, column in (("rows", rows), ("offsets", offsets), ("quorum", quorum)):
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        return len(self.quorum)

    def of(self, row: int) -> list[int]:
        """The rows that `row` waits for, beside its parent."""
        joined: list[int] = self.rows[self.offsets[row] : self.offsets[row + 1]].tolist()
        return joined

    def slice(self, start: int, stop: int) -> Joins:
        """The joins of rows [start, stop), renumbered; links to rows before `start` fall away."""
        chosen = [[row - start for row in self.of(at) if row >= start] for at in range(start, stop)]
        counts = np.array([len(each) for each in chosen], dtype=np.int64)
        lost = np.diff(self.offsets)[start:stop] - counts
        quorum = np.maximum(self.quorum[start:stop] - lost, np.minimum(self.quorum[start:stop], 1))
        return ragged_joins(chosen, quorum.tolist())


def ragged_joins(rows: Sequence[Sequence[int]], quorum: Sequence[int]) -> Joins:
    """Joins from one list of rows per row."""
    return Joins(
        rows=np.array([row for each in rows for row in each], dtype=np.int32),
        offsets=np.concatenate(([0], np.cumsum([len(each) for each in rows], dtype=np.int64))),
        quorum=np.array(quorum, dtype=np.int32),
    )


def concatenated(parts: Sequence[tuple[Joins | None, int]]) -> Joins:
    """The joins of workloads one after the other, each given with its number of rows."""
    rows, counts, quorum, first = [], [], [], 0
    for joins, size in parts:
        if joins is None:
            counts.append(np.zeros(size, dtype=np.int64))
            quorum.append(np.zeros(size, dtype=np.int32))
        else:
            rows.append(joins.rows + np.int32(first))
            counts.append(np.diff(joins.offsets))
            quorum.append(joins.quorum)
        first += size
    return Joins(
        rows=np.concatenate(rows) if rows else np.zeros(0, dtype=np.int32),
        offsets=np.concatenate(([0], np.cumsum(np.concatenate(counts)))),
        quorum=np.concatenate(quorum),
    )
