"""The steps of a run as cells of a timeline: what ran, how much KV was held, who waited, rank by rank.

A short run has a cell per row of its step log. A long one has neighbouring rows put together, so that a page stays
small: shares of time are kept, peaks stay peaks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hasten.explain.timeline import Columns, RankLog, RunLog, name_of
from hasten.page import columns

MOST_CELLS = 24_000
"""Cells of all ranks together."""

Floats = npt.NDArray[np.float64]


def timeline(log: RunLog, blocks: Sequence[int], *, most: int = MOST_CELLS) -> dict[str, Any]:
    """Every rank's cells. `blocks` are the KV blocks of each rank; times in seconds of the run's clock."""
    ranks_of = Counter(rank.replica for rank in log.ranks)
    room = max(1, most // max(1, len(log.ranks)))
    seen: Counter[int] = Counter()
    found = []
    for rank, held in zip(log.ranks, blocks, strict=True):
        name = name_of(rank)
        if ranks_of[rank.replica] > 1:
            name += f", rank {seen[rank.replica]}"
        seen[rank.replica] += 1
        found.append({"name": name, **_cells(rank, held, room)})
    return {"ranks": found} | _moving(log, most)


def _cells(rank: RankLog, blocks: int, room: int) -> dict[str, Any]:
    rows = Columns(rank.rows)
    size = rows.begin.size
    begins = np.arange(size) if size <= room else _grouped(rows.begin, room)
    busy = np.where(rows.is_idle, 0.0, rows.end - rows.begin)
    tokens = np.zeros(size)
    for row, _, amount, _, _ in rank.chunks:
        # in a decode pool one token goes on with what another pool has computed
        if amount > 1 or rank.role != "decode":
            tokens[row] += amount
    has_prefill = tokens > 0.0
    end = np.maximum.reduceat(rows.end, begins) if size else rows.end
    begin = rows.begin[begins]
    span = np.maximum(end - begin, 1e-12)

    def share(seconds: Floats) -> Floats:
        summed: Floats = np.add.reduceat(seconds, begins) / span if size else seconds
        return summed

    decoded = np.add.reduceat(rows.decodes * busy, begins) if size else busy
    worked = np.add.reduceat(busy, begins) if size else busy
    return {
        "cells": len(begins),
        "merged": bool(size > room),
        "begin_s": columns.evenly(begin),
        "end_s": columns.evenly(end),
        "prefill_share": columns.shares(share(np.where(has_prefill, busy, 0.0))),
        "decode_share": columns.shares(share(np.where(has_prefill, 0.0, busy))),
        "decodes": columns.floats(decoded / np.maximum(worked, 1e-12)),
        "prefill_tokens": columns.integers(np.add.reduceat(tokens, begins) if size else tokens),
        "kv_share": columns.shares(_peak(rows.blocks, begins) / max(1, blocks), bits=16),
        "waiting": columns.integers(_peak(rows.waiting, begins)),
    }


def _moving(log: RunLog, most: int) -> dict[str, Any]:
    """How many requests' KV waited for a link or crossed one, from each change on; nothing without pools."""
    ways = [way for way in log.handovers.values() if way.travels]
    if not ways:
        return {}
    times = np.array([*(way.pulled for way in ways), *(way.arrives for way in ways)])
    order = np.argsort(times, kind="stable")
    times, counts = times[order], np.cumsum(np.repeat([1, -1], len(ways))[order])
    begins = np.arange(times.size) if times.size <= most else _grouped(times, most)
    return {
        "moving": {
            "begin_s": columns.evenly(times[begins]),
            "requests": columns.integers(_peak(counts, begins)),
        }
    }


def _peak(values: npt.NDArray[Any], begins: npt.NDArray[Any]) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = np.maximum.reduceat(values, begins) if values.size else values
    return found


def _grouped(begin: Floats, room: int) -> npt.NDArray[np.int64]:
    """First rows of at most `room` groups, equally long in time where rows are short."""
    place = ((begin - begin[0]) / max(begin[-1] - begin[0], 1e-12) * (room - 1)).astype(np.int64)
    return np.flatnonzero(np.concatenate([[True], place[1:] != place[:-1]]))
