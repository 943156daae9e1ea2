"""Workloads one after the other."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hasten.errors import InputError
from hasten.workload.columns import OPTIONAL_INTS, DroppedRows
from hasten.workload.joins import concatenated
from hasten.workload.workload import Workload


def joined(parts: Sequence[Workload], *, share_blocks: bool = False) -> Workload:
    """One workload of all parts; see `Workload.concat`."""
    if any(part.closed_loop is not None for part in parts):
        raise InputError(
            "a closed loop has no arrival times to join: call open_loop() or change its row count"
        )
    lengths = [len(part) for part in parts]
    first_rows = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    columns: dict[str, Any] = {
        "arrival": _arrivals(parts),
        "prompt_tokens": np.concatenate([part.prompt_tokens for part in parts]),
        "output_tokens": np.concatenate([part.output_tokens for part in parts]),
    }
    for name, nothing in OPTIONAL_INTS.items():
        if any(getattr(part, name) is not None for part in parts):
            columns[name] = _optional(parts, name, nothing, first_rows)
    if any(part.think_s is not None for part in parts):
        columns["think_s"] = _think(parts)
    if any(part.joins is not None for part in parts):
        columns["joins"] = concatenated([(part.joins, len(part)) for part in parts])
    if any(part.tools for part in parts):
        columns["tool"], columns["tools"] = _tools(parts)
    naming = {part.names_answers for part in parts if part.block_ids is not None}
    if len(naming) > 1:
        raise InputError(
            "block ids of one part name answers too, of another prompts alone: drop one part's blocks"
        )
    columns["names_answers"] = True in naming
    columns |= _blocks(parts, share_blocks)
    origins = list(dict.fromkeys(part.origin for part in parts if part.origin))
    dropped: dict[str, DroppedRows] = {}
    for rows in (rows for part in parts for rows in part.dropped):
        so_far = dropped.get(rows.reason, DroppedRows(rows.reason, ()))
        dropped[rows.reason] = DroppedRows(rows.reason, so_far.lines + rows.lines)
    return Workload(**columns, origin=" + ".join(origins), dropped=tuple(dropped.values()))


def _arrivals(parts: Sequence[Workload]) -> Any:
    """Each part shifted to start one mean gap of the part before it after that part's last arrival."""
    shifted, start = [], 0.0
    for number, part in enumerate(parts):
        shifted.append(part.arrival - (part.arrival[0] if number else 0.0) + start)
        gap = part.duration / (len(part) - 1) if len(part) > 1 else 0.0
        start = float(shifted[-1][-1]) + gap
    return np.concatenate(shifted)


def _optional(parts: Sequence[Workload], name: str, nothing: int, first_rows: Any) -> Any:
    """An optional column; parents move with their part's rows, and sessions of different parts stay apart."""
    columns, next_session = [], 0
    for part, first in zip(parts, first_rows.tolist(), strict=True):
        column = getattr(part, name)
        if column is None:
            columns.append(np.full(len(part), nothing, dtype=np.int64))
            continue
        wide = column.astype(np.int64)
        if name == "parent":
            wide = np.where(wide >= 0, wide + first, -1)
        if name == "session":
            wide = np.where(wide >= 0, wide + next_session, -1)
            next_session = max(next_session, int(wide.max()) + 1)
        columns.append(wide)
    return np.concatenate(columns)


def _tools(parts: Sequence[Workload]) -> tuple[Any, tuple[str, ...]]:
    """Tool columns over one list of names."""
    names = list(dict.fromkeys(name for part in parts for name in part.tools))
    columns = []
    for part in parts:
        places = np.array([*map(names.index, part.tools), -1], dtype=np.int32)
        columns.append(np.full(len(part), -1, dtype=np.int32) if part.tool is None else places[part.tool])
    return np.concatenate(columns), tuple(names)


def _think(parts: Sequence[Workload]) -> Any:
    """Think times; a part whose turns keep their recorded times can't follow one whose turns wait."""
    for part in parts:
        if part.think_s is None and part.parent is not None:
            raise InputError(
                "turns of one part wait for their parents, of another not: call as_sessions() on both"
            )
    return np.concatenate([np.zeros(len(part)) if part.think_s is None else part.think_s for part in parts])


def _blocks(parts: Sequence[Workload], share_blocks: bool) -> dict[str, Any]:
    """Block columns of all parts, ids made distinct unless shared."""
    sizes = {part.block_tokens for part in parts if part.block_tokens}
    if not sizes:
        return {}
    if len(sizes) > 1:
        raise InputError(f"parts have blocks of {sorted(sizes)} tokens: join workloads of one block size")
    ids, counts, next_id = [], [], 0
    for part in parts:
        if part.block_ids is None or part.block_offsets is None:
            counts.append(np.zeros(len(part), dtype=np.int64))
            continue
        shift = 0
        if not share_blocks and len(part.block_ids):
            shift = next_id - int(part.block_ids.min())
            next_id += int(part.block_ids.max()) - int(part.block_ids.min()) + 1
        if not math.isfinite(shift) or next_id >= 2**63:
            raise InputError("block ids run out of 64 bits: renumber the ids from 0")
        ids.append(part.block_ids + shift)
        counts.append(np.diff(part.block_offsets))
    spans = None
    if any(part.block_spans is not None for part in parts):
        spans = np.concatenate([_spans(part) for part in parts])
    return {
        "block_spans": spans,
        "block_ids": np.concatenate(ids),
        "block_offsets": np.concatenate(([0], np.cumsum(np.concatenate(counts)))),
        "block_tokens": sizes.pop(),
    }


def _spans(part: Workload) -> Any:
    if part.block_ids is None:
        return np.zeros(0, dtype=np.int32)
    return np.ones(len(part.block_ids), dtype=np.int32) if part.block_spans is None else part.block_spans
