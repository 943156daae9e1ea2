"""The workload: immutable columns, one row per request, compact enough for millions of rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from hasten.errors import InputError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
LongInts = npt.NDArray[np.int64]

MAX_TOKENS = 10_000_000  # longer than any context window served today: such a number is a parsing error

# Optional int columns and the value that means "none" in a row.
_INT_COLUMNS = {"session": -1, "parent": -1, "priority": 0, "max_tokens": -1}


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

    Rows of the workload are taken in order by whichever user is free; their `arrival` is not used.
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

    Lists are indexed 3 to 5 times faster than arrays one element at a time, which is what a simulator does.
    """

    arrival: list[float]
    prompt_tokens: list[int]
    output_tokens: list[int]
    block_ids: list[tuple[int, ...]] | None
    session: list[int] | None
    parent: list[int] | None
    think_s: list[float] | None
    priority: list[int] | None
    max_tokens: list[int] | None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Workload:
    """Requests in order of arrival, as read-only numpy columns of equal length n >= 1.

    arrival         float64 [n], seconds from the start of the workload, never decreasing
    prompt_tokens   int32 [n], 1 or more
    output_tokens   int32 [n], 1 or more: the true length, which no policy may see (`length/oracle` excepted)
    block_ids       int64 [sum of blocks], ids of consecutive prompt blocks of all requests, flattened; equal id
                    means equal block and equal prefix up to it. The last block of a request may be partial.
    block_offsets   int64 [n + 1]; request i has blocks [block_offsets[i], block_offsets[i + 1])
    block_tokens    tokens per block id (512 Mooncake, 16 Bailian, 64 Weka), 0 without blocks
    session         int32 [n], conversation number, -1 none
    parent          int32 [n], row of the previous turn (always an earlier row), -1 none
    think_s         float64 [n], seconds from the parent's finish to this arrival. When present, rows with a parent
                    arrive `think_s` after it finishes and their `arrival` is only what was recorded
    priority        int32 [n], smaller is served first by a priority policy
    max_tokens      int32 [n], cap on output tokens the client sent, -1 unknown
    closed_loop     users that take the rows in turn; `arrival` is then not used
    origin          where the rows came from, their licence, and what was done to them
    dropped         rows of the source left out, with the reason

    Raises InputError when columns differ in length, times go backwards or a value is out of range.
    """

    arrival: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    block_ids: LongInts | None = None
    block_offsets: LongInts | None = None
    block_tokens: int = 0
    session: Ints | None = None
    parent: Ints | None = None
    think_s: Floats | None = None
    priority: Ints | None = None
    max_tokens: Ints | None = None
    closed_loop: ClosedLoop | None = None
    origin: str = ""
    dropped: tuple[DroppedRows, ...] = ()

    def __post_init__(self) -> None:
        arrival = _frozen(self.arrival, np.float64, "arrival")
        num = len(arrival)
        if num == 0:
            raise InputError("a workload has no requests: give at least one")
        if not np.isfinite(arrival).all() or arrival[0] < 0 or (np.diff(arrival) < 0).any():
            raise InputError(
                "arrival must be finite seconds from 0 on, never decreasing: sort the rows by time"
            )
        object.__setattr__(self, "arrival", arrival)
        for name in ("prompt_tokens", "output_tokens"):
            tokens = _frozen(getattr(self, name), np.int32, name, num)
            if tokens.min() < 1 or tokens.max() > MAX_TOKENS:
                bad = int(np.argmax((tokens < 1) | (tokens > MAX_TOKENS)))
                raise InputError(
                    f"{name}[{bad}] = {tokens[bad]} is outside 1 to {MAX_TOKENS}: mend or drop the row"
                )
            object.__setattr__(self, name, tokens)
        for name in _INT_COLUMNS:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _frozen(getattr(self, name), np.int32, name, num))
        self._check_links(num)
        self._check_blocks(num)

    def _check_links(self, num: int) -> None:
        if self.parent is not None and (self.parent >= np.arange(num)).any():
            bad = int(np.argmax(self.parent >= np.arange(num)))
            raise InputError(
                f"parent[{bad}] = {self.parent[bad]} is not an earlier row: a turn follows its parent"
            )
        if self.think_s is None:
            return
        think_s = _frozen(self.think_s, np.float64, "think_s", num)
        if self.parent is None:
            raise InputError(
                "think_s is given without parent: say which row each turn follows, or drop think_s"
            )
        if not (np.isfinite(think_s) & (think_s >= 0)).all():
            raise InputError("think_s must be finite seconds, 0 or more: mend the rows or drop the column")
        object.__setattr__(self, "think_s", think_s)

    def _check_blocks(self, num: int) -> None:
        if (self.block_ids is None) != (self.block_offsets is None) or (self.block_ids is None) != (
            self.block_tokens == 0
        ):
            raise InputError(
                "block_ids, block_offsets and block_tokens belong together: give all three or none"
            )
        if self.block_ids is None or self.block_offsets is None:
            return
        ids = _frozen(self.block_ids, np.int64, "block_ids")
        offsets = _frozen(self.block_offsets, np.int64, "block_offsets", num + 1)
        if self.block_tokens < 1:
            raise InputError(
                f"block_tokens = {self.block_tokens} is below 1: say how many tokens one block id covers"
            )
        counts = np.diff(offsets)
        if offsets[0] != 0 or offsets[-1] != len(ids) or (counts < 0).any():
            raise InputError(f"block_offsets must rise from 0 to the {len(ids)} block ids")
        over = counts * self.block_tokens >= self.prompt_tokens.astype(np.int64) + self.block_tokens
        if over.any():
            bad = int(np.argmax(over))
            raise InputError(
                f"request {bad} has {counts[bad]} blocks of {self.block_tokens} tokens for a prompt of "
                f"{self.prompt_tokens[bad]}: check the block size of the trace"
            )
        object.__setattr__(self, "block_ids", ids)
        object.__setattr__(self, "block_offsets", offsets)

    # -- reading ---------------------------------------------------------------------------------

    @classmethod
    def from_trace(
        cls,
        source: str | Path,
        rate: float | None = None,
        *,
        limit: int | None = None,
        format: str | None = None,
        drop_bad: bool = False,
        **options: Any,
    ) -> Workload:
        """Read a trace file (.gz too), or a shipped sample by name, optionally rescaled to `rate` requests/s.

        The format is recognised from the first line unless `format` names a reader (or a ./file.py holding one).
        `limit` keeps the first rows only. A bad row is an error that names its line, or with `drop_bad` is left
        out and counted in `dropped`. Other keywords go to the reader (for example `seed` or `block_tokens`).

        Raises InputError naming the file, the line, the value and the next step.
        """
        from hasten.workload.trace import load

        loaded = load(source, limit=limit, format=format, drop_bad=drop_bad, options=options)
        return loaded if rate is None else loaded.scaled(rate=rate)

    @classmethod
    def from_records(
        cls, records: Iterable[Mapping[str, Any]], *, block_tokens: int = 0, origin: str = "records"
    ) -> Workload:
        """Build from mappings with `arrival` (s), `prompt_tokens`, `output_tokens` and any optional column.

        Rows are sorted by arrival (stable); `parent` counts rows in the order given and is renumbered.
        `block_ids` needs `block_tokens`. Raises InputError naming the row and the field.
        """
        from hasten.workload.records import from_records

        return from_records(records, block_tokens=block_tokens, origin=origin)

    # -- measures --------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.arrival)

    def __repr__(self) -> str:
        return (
            f"Workload({len(self)} requests, {self.duration:.6g} s, {self.rate:.4g} req/s, {self.origin!r})"
        )

    @property
    def duration(self) -> float:
        """Seconds from the first arrival to the last."""
        return float(self.arrival[-1] - self.arrival[0])

    @property
    def rate(self) -> float:
        """Requests per second, (n - 1) / duration: gaps counted, not ends. inf for a burst, nan for one request."""
        if len(self) < 2:
            return math.nan
        return (len(self) - 1) / self.duration if self.duration > 0 else math.inf

    @property
    def has_sessions(self) -> bool:
        """True when turns wait for their parents (`parent` and `think_s` present), so the driver closes the loop."""
        return self.think_s is not None

    def blocks_of(self, row: int) -> tuple[int, ...]:
        """Prompt block ids of one request, empty without blocks."""
        if self.block_ids is None or self.block_offsets is None:
            return ()
        return tuple(self.block_ids[self.block_offsets[row] : self.block_offsets[row + 1]].tolist())

    def columns_as_lists(self) -> Columns:
        """Columns as plain Python lists for loops that index one row at a time."""
        blocks: list[tuple[int, ...]] | None = None
        if self.block_ids is not None and self.block_offsets is not None:
            ids, cuts = self.block_ids.tolist(), self.block_offsets.tolist()
            blocks = [tuple(ids[a:b]) for a, b in zip(cuts, cuts[1:], strict=False)]
        return Columns(
            arrival=self.arrival.tolist(),
            prompt_tokens=_shared_ints(self.prompt_tokens),
            output_tokens=_shared_ints(self.output_tokens),
            block_ids=blocks,
            session=_listed(self.session),
            parent=_listed(self.parent),
            think_s=None if self.think_s is None else self.think_s.tolist(),
            priority=_listed(self.priority),
            max_tokens=_listed(self.max_tokens),
        )

    # -- derived workloads -----------------------------------------------------------------------

    def head(self, num: int) -> Workload:
        """The first `num` requests (all when there are fewer)."""
        return self.slice(0, num)

    def slice(self, start: int, stop: int | None = None) -> Workload:
        """Requests [start, stop), shifted so that the first arrives at 0; turns whose parent is cut become first turns."""
        stop = len(self) if stop is None else min(stop, len(self))
        if not 0 <= start < stop:
            raise InputError(
                f"slice [{start}, {stop}) holds none of the {len(self)} requests: choose a wider range"
            )
        if start == 0 and stop == len(self):
            return self
        shift = self.arrival[start] if start else 0.0
        changes: dict[str, Any] = {"arrival": self.arrival[start:stop] - shift}
        for name in ("prompt_tokens", "output_tokens", "session", "priority", "max_tokens", "think_s"):
            column = getattr(self, name)
            changes[name] = None if column is None else column[start:stop]
        if self.parent is not None:
            changes["parent"] = np.maximum(self.parent[start:stop] - np.int32(start), -1)
        if self.block_ids is not None and self.block_offsets is not None:
            offsets = self.block_offsets[start : stop + 1]
            changes["block_ids"] = self.block_ids[offsets[0] : offsets[-1]]
            changes["block_offsets"] = offsets - offsets[0]
        return replace(self, **changes, origin=self._and(f"rows {start} to {stop - 1}"))

    def scaled(self, *, rate: float) -> Workload:
        """The same requests at `rate` requests/s (inf = all at once): every gap times one factor, so bursts keep their shape.

        The realised `rate`, (n - 1) / duration, is the one asked for. Think times are the user's and stay.
        """
        if not rate > 0:
            raise InputError(f"rate = {rate} must be above 0 requests/s (inf = all at once)")
        if len(self) < 2:
            raise InputError("rate needs two requests or more: one request has no rate")
        if self.duration == 0 and math.isfinite(rate):
            raise InputError(
                f"all {len(self)} requests arrive at once, so no factor gives rate = {rate}: give arrivals"
            )
        factor = 0.0 if math.isinf(rate) else self.rate / rate
        return replace(self, arrival=self.arrival * factor, origin=self._and(f"scaled to {rate:g} req/s"))

    def repeated(self, times: int, *, share_blocks: bool = False) -> Workload:
        """The workload `times` times in a row at the same rate (one mean gap, 1 / rate, between copies).

        Each copy has block ids of its own, as if later users sent new text; `share_blocks` keeps them, so that
        a prefix cache remembers the earlier copies.
        """
        if times < 1:
            raise InputError(f"times = {times} is below 1: repeat at least once")
        return self.concat(*[self] * (times - 1), share_blocks=share_blocks, note=f"repeated {times} times")

    def concat(self, *others: Workload, share_blocks: bool = False, note: str = "") -> Workload:
        """This workload followed by others, each starting one mean gap (of the workload before it) after the last arrival.

        Block and session numbers of each part are made distinct unless `share_blocks`.
        Raises InputError when the parts' block sizes or closed loops differ.
        """
        from hasten.workload.joining import joined

        return joined([self, *others], share_blocks=share_blocks, note=note) if others else self

    def open_loop(self) -> Workload:
        """Every request at its recorded time, whatever the server does: sessions and closed loop removed."""
        return replace(self, session=None, parent=None, think_s=None, closed_loop=None)

    def as_sessions(self, *, seconds_per_token: float = 0.0) -> Workload:
        """Turn i + 1 arrives `think_s` after its parent finishes, instead of at its recorded time.

        Parents come from the `parent` column, else the order within `session`, else the prefix blocks
        (`hasten.workload.sessions`). A trace that gives no think time records gaps from arrival to arrival, which
        include the parent's service: `seconds_per_token` times the parent's output tokens is taken off them
        (never below 0). Raises InputError when nothing links the requests.
        """
        from hasten.workload.sessions import with_sessions

        return with_sessions(self, seconds_per_token=seconds_per_token)

    def replaced(self, **columns: Any) -> Workload:
        """A copy with some columns or fields replaced and all of them checked again."""
        return replace(self, **columns)

    def _and(self, note: str) -> str:
        return f"{self.origin}; {note}" if self.origin else note


def _frozen(values: Any, dtype: Any, name: str, length: int | None = None) -> Any:
    """A read-only one-dimensional view of `values`, so that no later owner can change a shared column."""
    column = np.asarray(values)
    if column.dtype != dtype:
        if np.issubdtype(dtype, np.integer) and column.size:
            if column.dtype.kind not in "iu":
                raise InputError(f"{name} holds {column.dtype} values: give whole numbers")
            limits = np.iinfo(dtype)
            if column.min() < limits.min or column.max() > limits.max:
                raise InputError(
                    f"{name} holds a value outside {limits.min} to {limits.max}: mend or drop the row"
                )
        column = column.astype(dtype)
    if column.ndim != 1 or (length is not None and len(column) != length):
        raise InputError(
            f"{name} has shape {column.shape}, expected ({length if length is not None else 'n'},)"
        )
    view = np.ascontiguousarray(column).view()
    view.flags.writeable = False
    return view


def _listed(column: Ints | None) -> list[int] | None:
    return None if column is None else _shared_ints(column)


def _shared_ints(column: Ints) -> list[int]:
    """A list in which equal numbers are one object: 8 bytes a row instead of 36 for token counts."""
    values, places = np.unique(column, return_inverse=True)
    if len(values) * 4 > len(column):  # few repeats (row numbers): sharing would only cost time
        return column.tolist()  # type: ignore[no-any-return]
    table: Sequence[int] = values.tolist()
    look_up: Callable[[int], int] = table.__getitem__
    return list(map(look_up, places.tolist()))
