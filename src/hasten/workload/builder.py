"""Rows to columns: a few flat arrays that grow, so that a million rows never exist as objects."""

from __future__ import annotations

from array import array
from collections.abc import Hashable
from typing import Any

import numpy as np

from hasten.errors import InputError
from hasten.workload.columns import MAX_RECORDED, DroppedRows
from hasten.workload.rows import BadRow, Row, seconds, tokens
from hasten.workload.workload import Workload

_NO_PARENT = object()


class Builder:
    """Collects rows and makes a workload of them."""

    def __init__(self) -> None:
        self._arrival = array("d")
        self._prompt, self._output = array("i"), array("i")
        self._blocks, self._block_ends = array("q"), array("q")
        self._sessions: dict[Hashable, int] = {}
        self._session = array("i")
        self._turns: dict[Hashable, int] = {}
        self._parents: list[Hashable] = []
        self._think = array("d")
        self._priority, self._max_tokens = array("i"), array("i")
        self._num_links = 0

    def __len__(self) -> int:
        return len(self._arrival)

    def add(self, row: Row) -> None:
        """Append one row; raises BadRow (and appends nothing) when a value is out of range."""
        arrival = row.arrival
        if type(arrival) is not float or not -1e300 < arrival < 1e300:
            arrival = seconds("arrival", arrival)
        if self._arrival and abs(arrival - self._arrival[0]) > MAX_RECORDED:
            raise BadRow(
                f"is more than {MAX_RECORDED:g} s (30 years) away from the first row's",
                field="arrival",
                value=arrival,
            )
        prompt, output = (
            tokens("prompt tokens", row.prompt_tokens),
            tokens("output tokens", row.output_tokens),
        )
        think = -1.0 if row.think_s is None else seconds("think_s", row.think_s)
        cap = -1 if row.max_tokens is None else tokens("max_tokens", row.max_tokens)
        if not -(2**31) <= row.priority < 2**31:
            raise BadRow("is outside 32 bits", field="priority", value=row.priority)
        blocks = array("q", row.block_ids)
        session = -1 if row.session is None else self._sessions.setdefault(row.session, len(self._sessions))
        place = len(self._arrival)
        if row.turn_id is not None:
            if row.turn_id in self._turns:
                raise BadRow("names two rows", field="turn id", value=row.turn_id)
            self._turns[row.turn_id] = place
        self._arrival.append(arrival)
        self._prompt.append(prompt)
        self._output.append(output)
        self._blocks.extend(blocks)
        self._block_ends.append(len(self._blocks))
        self._session.append(session)
        if row.parent_id is not None:
            self._num_links += 1
            self._parents.extend(
                [_NO_PARENT] * (place - len(self._parents))
            )  # only files with turns pay for it
            self._parents.append(row.parent_id)
        self._think.append(think)
        self._priority.append(row.priority)
        self._max_tokens.append(cap)

    def build(self, *, origin: str, block_tokens: int = 0, dropped: tuple[DroppedRows, ...] = ()) -> Workload:
        """The rows as a workload: sorted by time (stable), shifted to start at 0, notes in its origin.

        Raises InputError when there are no rows.
        """
        if not self._arrival:
            lost = sum(rows.count for rows in dropped)
            raise InputError(f"{origin}: no usable request ({lost} left out): give at least one good row")
        notes = [origin]
        arrival = np.frombuffer(self._arrival)
        order, columns = self._in_order(arrival, notes)
        columns["arrival"] = (arrival if order is None else arrival[order]) - arrival.min()
        if self._blocks or block_tokens:
            if not block_tokens:
                raise InputError(
                    f"{origin}: rows have block ids: say how many tokens one covers (block_tokens)"
                )
            ends = np.frombuffer(self._block_ends, dtype=np.int64)
            columns |= _ragged(np.frombuffer(self._blocks, dtype=np.int64), ends, order)
            columns["block_tokens"] = block_tokens
        return Workload(**columns, origin="; ".join(notes), dropped=dropped)

    def _in_order(self, arrival: Any, notes: list[str]) -> tuple[Any, dict[str, Any]]:
        """The sorting order (None when already sorted) and every column but times and blocks, in that order."""
        late = int((np.diff(arrival) < 0).sum())
        order = np.argsort(arrival, kind="stable") if late else None
        if late:
            notes.append(f"{late} rows stood before an earlier one: sorted by time")

        def arranged(values: array[Any], dtype: Any) -> Any:
            column = np.frombuffer(values, dtype=dtype)
            return column if order is None else column[order]

        columns = {
            "prompt_tokens": arranged(self._prompt, np.int32),
            "output_tokens": arranged(self._output, np.int32),
        }
        if self._sessions:
            columns["session"] = arranged(self._session, np.int32)
        if any(self._priority):
            columns["priority"] = arranged(self._priority, np.int32)
        if max(self._max_tokens) > 0:
            columns["max_tokens"] = arranged(self._max_tokens, np.int32)
        if self._num_links:
            columns["parent"] = self._parent_column(order, notes)
            think = arranged(self._think, np.float64)
            if (think[columns["parent"] >= 0] >= 0).all() and (columns["parent"] >= 0).any():
                columns["think_s"] = np.maximum(think, 0.0)
        return order, columns

    def _parent_column(self, order: Any, notes: list[str]) -> Any:
        num = len(self._arrival)
        given = np.full(num, -1, dtype=np.int64)
        unknown = 0
        for place, parent in enumerate(self._parents):
            if parent is not _NO_PARENT:
                given[place] = self._turns.get(parent, -1)
                unknown += given[place] < 0
        if unknown:
            notes.append(f"{unknown} turns whose parent is not in the file count as first turns")
        if order is not None:
            rank = np.empty(num, dtype=np.int64)
            rank[order] = np.arange(num)
            moved = given[order]
            given = np.where(moved >= 0, rank[moved], -1)
        early = given >= np.arange(num)
        if early.any():
            notes.append(f"{int(early.sum())} turns before their parent count as first turns")
            given[early] = -1
        return given.astype(np.int32)


def _ragged(ids: Any, ends: Any, order: Any) -> dict[str, Any]:
    """Block ids and offsets with rows in `order`."""
    starts = np.concatenate(([0], ends[:-1]))
    if order is None:
        return {"block_ids": ids, "block_offsets": np.concatenate(([0], ends))}
    counts = (ends - starts)[order]
    offsets = np.concatenate(([0], np.cumsum(counts)))
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    return {"block_ids": ids[np.repeat(starts[order], counts) + within], "block_offsets": offsets}
