"""Block ids of one request after another, quickly: a run asks for every row once."""

from __future__ import annotations

import numpy as np

from hasten.workload.workload import Workload


class BlockNames:
    """The block ids of rows [start, stop) of `work`, and the tokens up to which each reaches."""

    def __init__(self, work: Workload, start: int = 0, stop: int | None = None) -> None:
        if work.block_ids is None or work.block_offsets is None:
            raise ValueError("a workload without block ids has no names")
        offsets = work.block_offsets[start : None if stop is None else stop + 1]
        part = slice(int(offsets[0]), int(offsets[-1]))
        offsets = offsets - offsets[0]
        self._offsets: list[int] = offsets.tolist()
        self._ids = work.block_ids[part].data
        self._ends = memoryview(b"")
        if work.block_spans is not None:
            reached = np.concatenate(([0], np.cumsum(work.block_spans[part], dtype=np.int64)))
            before = np.repeat(reached[offsets[:-1]], np.diff(offsets))
            self._ends = ((reached[1:] - before) * work.block_tokens).data

    def of(self, at: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Ids and ends (tokens) of row `start + at`; no ends where ids name single blocks."""
        first, stop = self._offsets[at], self._offsets[at + 1]
        return tuple(self._ids[first:stop].tolist()), tuple(self._ends[first:stop].tolist())
