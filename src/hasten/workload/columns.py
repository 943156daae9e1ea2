"""The pieces of a workload: column types and their checks, dropped rows, the closed loop."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hasten.errors import InputError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
LongInts = npt.NDArray[np.int64]

MAX_TOKENS = 10_000_000  # longer than any context window served today: such a number is a parsing error
MAX_REQUESTS = 100_000_000
MAX_SECONDS = 1e10  # three centuries: farther apart, times of steps drown in rounding
MAX_RECORDED = 1e9  # three decades: a trace that spans more has its times in another unit

# Optional whole-number columns and the value that means "none" in a row.
OPTIONAL_INTS = {"session": -1, "parent": -1, "priority": 0, "max_tokens": -1, "tool": -1}


@dataclass(frozen=True, slots=True)
class DroppedRows:
    """Rows of a trace that were left out, for one reason, with their 1-based line numbers."""

    reason: str
    lines: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of rows left out."""
        return len(self.lines)


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """A fixed number of users, each of whom sends the next request `think_s` seconds after an answer ends.

    The rows of the workload are taken in order by whichever user is free; their `arrival` is not used.
    """

    concurrency: int
    think_s: float = 0.0

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise InputError(f"concurrency = {self.concurrency} is below 1: a closed loop needs a user")
        if not (math.isfinite(self.think_s) and self.think_s >= 0):
            raise InputError(f"think_s = {self.think_s} must be a finite number of seconds, 0 or more")


class Columns(NamedTuple):
    """A workload's columns as plain Python lists (None = the workload has no such column).

    One element at a time, a list is read several times faster than an array: a simulator does just that.
    """

    arrival: list[float]
    prompt_tokens: list[int]
    output_tokens: list[int]
    block_ids: list[tuple[int, ...]] | None = None
    session: list[int] | None = None
    parent: list[int] | None = None
    think_s: list[float] | None = None
    priority: list[int] | None = None
    max_tokens: list[int] | None = None
    tool: list[int] | None = None


def frozen(values: Any, dtype: Any, name: str, length: int | None = None) -> Any:
    """A read-only one-dimensional view of `values` as `dtype`: no later owner can change a shared column."""
    column = np.asarray(values)
    if column.dtype != dtype:
        if np.issubdtype(dtype, np.integer) and column.size:
            if column.dtype.kind not in "iu":
                raise InputError(f"{name} holds {column.dtype} values: give whole numbers")
            limits = np.iinfo(dtype)
            if column.min() < limits.min or column.max() > limits.max:
                raise InputError(f"{name} holds a value outside {limits.min} to {limits.max}: mend it")
        elif column.dtype.kind not in "iuf":
            raise InputError(f"{name} holds {column.dtype} values: give numbers")
        column = column.astype(dtype)
    if column.ndim != 1 or (length is not None and len(column) != length):
        raise InputError(f"{name} has shape {column.shape}, expected ({'n' if length is None else length},)")
    view = np.ascontiguousarray(column).view()
    view.flags.writeable = False
    return view


def checked_arrival(values: Any) -> Floats:
    """The arrival column, s: at least one row, finite, from 0 on, never falling."""
    arrival: Floats = frozen(values, np.float64, "arrival")
    if len(arrival) == 0:
        raise InputError("a workload has no requests: give at least one")
    if not np.isfinite(arrival).all() or arrival[0] < 0 or (np.diff(arrival) < 0).any():
        raise InputError("arrival must be finite seconds from 0 on, never falling: sort the rows by time")
    if arrival[-1] > MAX_SECONDS:
        raise InputError(
            f"the last request arrives after {arrival[-1]:g} s, the limit is {MAX_SECONDS:g} s (300 years): give "
            "times in the right unit, or a higher rate"
        )
    return arrival


def checked_tokens(values: Any, name: str, length: int) -> Ints:
    """A column of token counts, each 1 to MAX_TOKENS."""
    tokens: Ints = frozen(values, np.int32, name, length)
    bad = (tokens < 1) | (tokens > MAX_TOKENS)
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(f"{name}[{row}] = {tokens[row]} is outside 1 to {MAX_TOKENS}: mend or drop the row")
    return tokens


def checked_think(values: Any, parent: Ints | None, length: int) -> Floats:
    """The think-time column, s: finite, 0 or more, beside a parent column."""
    think_s: Floats = frozen(values, np.float64, "think_s", length)
    if parent is None:
        raise InputError("think_s is given without parent: say which row each turn follows")
    if not (np.isfinite(think_s) & (think_s >= 0)).all():
        raise InputError("think_s must be finite seconds, 0 or more: mend the rows or drop the column")
    return think_s


def check_parent(parent: Ints) -> None:
    """Every parent is an earlier row, or -1."""
    bad = (parent >= np.arange(len(parent))) | (parent < -1)
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(f"parent[{row}] = {parent[row]} is not an earlier row (or -1): mend the link")


def check_tool(tool: Ints, tools: tuple[str, ...]) -> None:
    """Every tool is an index into the names, or -1."""
    bad = (tool >= len(tools)) | (tool < -1)
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(f"tool[{row}] = {tool[row]} is none of the {len(tools)} names in tools (or -1)")


def checked_blocks(
    ids: Any,
    offsets: Any,
    block_tokens: int,
    prompt_tokens: Ints,
    answer_tokens: Ints | None = None,
    *,
    spans: Ints | None = None,
) -> tuple[LongInts, LongInts]:
    """Block ids and offsets that cover no more than each prompt, rounded up to whole blocks.

    `spans` are the blocks that each id stands for, None for one each. With `answer_tokens` ids may cover the answers
    too, as far as blocks are full.
    """
    if ids is None or offsets is None or block_tokens < 1:
        raise InputError(
            "block_ids, block_offsets and block_tokens (1 or more) belong together: give all three"
        )
    block_ids: LongInts = frozen(ids, np.int64, "block_ids")
    block_offsets: LongInts = frozen(offsets, np.int64, "block_offsets", len(prompt_tokens) + 1)
    counts = np.diff(block_offsets)
    if block_offsets[0] != 0 or block_offsets[-1] != len(block_ids) or (counts < 0).any():
        raise InputError(f"block_offsets must rise from 0 to the {len(block_ids)} block ids")
    whole = -(-prompt_tokens.astype(np.int64) // block_tokens)
    if answer_tokens is not None:
        whole = (prompt_tokens.astype(np.int64) + answer_tokens) // block_tokens
    if spans is not None:
        if len(spans) != len(block_ids) or (np.asarray(spans) < 1).any():
            raise InputError(f"block_spans must give 1 or more blocks for each of {len(block_ids)} ids")
        sums = np.concatenate(([0], np.cumsum(spans, dtype=np.int64)))
        counts = sums[block_offsets[1:]] - sums[block_offsets[:-1]]
    too_many = counts > whole
    if too_many.any():
        row = int(np.argmax(too_many))
        raise InputError(
            f"request {row} has {counts[row]} blocks of {block_tokens} tokens for a prompt of "
            f"{prompt_tokens[row]} tokens{'' if answer_tokens is None else ' and its answer'}: check block_tokens"
        )
    return block_ids, block_offsets


def shared_ints(column: Ints) -> list[int]:
    """A list in which equal numbers are one object: 8 bytes a row instead of 36 for token counts."""
    values, places = np.unique(column, return_inverse=True)
    if len(values) * 4 > len(column):  # few repeats (row numbers, say): sharing would only cost time
        return [int(value) for value in column.tolist()]
    table: Sequence[int] = values.tolist()
    look_up: Callable[[int], int] = table.__getitem__
    return list(map(look_up, places.tolist()))
