"""The workload: immutable columns, one row per request, compact enough for millions of rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hasten.errors import InputError
from hasten.workload.columns import (
    OPTIONAL_INTS,
    ClosedLoop,
    Columns,
    DroppedRows,
    Floats,
    Ints,
    LongInts,
    check_parent,
    check_tool,
    checked_arrival,
    checked_blocks,
    checked_think,
    checked_tokens,
    frozen,
    shared_ints,
)
from hasten.workload.joins import Joins

if TYPE_CHECKING:
    from hasten.workload.summary import Summary


@dataclass(frozen=True, slots=True, eq=False, kw_only=True, repr=False)
class Workload:
    """Requests in order of arrival, as read-only numpy columns of equal length n >= 1.

    arrival         float64 [n], seconds from the start of the workload, never falling
    prompt_tokens   int32 [n], 1 or more
    output_tokens   int32 [n], 1 or more: the true length, which no policy may see (`length/oracle` excepted)
    block_ids       int64 [sum of blocks], ids of consecutive prompt blocks of all requests, flattened; equal
                    id means equal block and equal prefix up to it; a request's last block may be partial
    block_offsets   int64 [n + 1]; request i has blocks [block_offsets[i], block_offsets[i + 1])
    block_spans     int32 [sum of blocks], blocks that each id stands for where one names a run of blocks that belong
                    together (None: one each); shared in part, a run stays in the cache whole
    block_tokens    tokens per block id (512 Mooncake, 16 Bailian, 64 Weka), 0 without blocks
    session         int32 [n], conversation number, -1 none
    parent          int32 [n], row of the previous turn (always an earlier row), -1 none
    think_s         float64 [n], seconds from the parent's finish to this arrival. When present, rows with a
                    parent arrive `think_s` after it finishes; their `arrival` is only what was recorded
    priority        int32 [n], smaller is served first by a priority policy
    max_tokens      int32 [n], cap on output tokens the client sent, -1 unknown
    joins           further rows that must end before a row arrives: parallel tool calls, sub-agents, quorums
    tool            int32 [n], kind of tool the answer calls (index into `tools`), -1 none; the `think_s` of the
                    rows that follow is then the tool's time, not a user's
    tools           names of the kinds
    names_answers   block ids go on over the answers (full blocks only): the next turn finds those cached too
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
    block_spans: Ints | None = None
    block_tokens: int = 0
    session: Ints | None = None
    parent: Ints | None = None
    think_s: Floats | None = None
    priority: Ints | None = None
    max_tokens: Ints | None = None
    joins: Joins | None = None
    tool: Ints | None = None
    tools: tuple[str, ...] = ()
    names_answers: bool = False
    closed_loop: ClosedLoop | None = None
    origin: str = ""
    dropped: tuple[DroppedRows, ...] = ()

    def __post_init__(self) -> None:
        checked: dict[str, Any] = {"arrival": checked_arrival(self.arrival)}
        num = len(checked["arrival"])
        for name in ("prompt_tokens", "output_tokens"):
            checked[name] = checked_tokens(getattr(self, name), name, num)
        for name in OPTIONAL_INTS:
            if getattr(self, name) is not None:
                checked[name] = frozen(getattr(self, name), np.int32, name, num)
        if self.parent is not None:
            check_parent(checked["parent"])
        if self.tool is not None:
            check_tool(checked["tool"], self.tools)
        if self.think_s is not None:
            checked["think_s"] = checked_think(self.think_s, checked.get("parent"), num)
        if self.joins is not None and (len(self.joins) != num or self.think_s is None):
            raise InputError(f"joins of {len(self.joins)} rows need {num} rows with parent and think_s")
        if self.block_ids is not None or self.block_offsets is not None or self.block_tokens != 0:
            checked["block_ids"], checked["block_offsets"] = checked_blocks(
                self.block_ids,
                self.block_offsets,
                self.block_tokens,
                checked["prompt_tokens"],
                checked["output_tokens"] if self.names_answers else None,
                spans=self.block_spans,
            )
            if self.block_spans is not None:
                checked["block_spans"] = frozen(
                    self.block_spans, np.int32, "block_spans", len(checked["block_ids"])
                )
        for name, column in checked.items():
            object.__setattr__(self, name, column)

    # -- reading and writing ---------------------------------------------------------------------

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
        """Read a trace file (.gz too) or a shipped sample by name; `rate` rescales it to that many req/s.

        The format is recognised from the start of the file unless `format` names a reader (or a ./file.py
        with one). `limit` keeps the first rows only. A bad row is an error that names its line; `drop_bad`
        leaves it out and counts it in `dropped`. Other keywords go to the reader (`seed`, `block_tokens`).

        Raises InputError naming the file, the line, the value and the next step.
        """
        from hasten.workload.trace import load

        return load(source, rate=rate, limit=limit, format=format, drop_bad=drop_bad, options=options)

    @classmethod
    def from_records(
        cls, records: Iterable[Mapping[str, Any]], *, block_tokens: int = 0, origin: str = "records"
    ) -> Workload:
        """Build from mappings with `arrival` (s), `prompt_tokens`, `output_tokens` and any optional column.

        Rows are sorted by arrival (stable); `parent` counts rows in the order given and is renumbered.
        `block_ids` needs `block_tokens`. Raises InputError naming the row and the field.
        """
        from hasten.workload.records import workload_from_records

        return workload_from_records(records, block_tokens=block_tokens, origin=origin)

    def save(self, path: str | Path, *, format: str | None = None) -> None:
        """Write as `minimal` (.csv, .jsonl; seconds) or `mooncake` (JSONL with block ids; milliseconds).

        The suffix and the presence of blocks decide unless `format` is given; a final .gz compresses. The
        file appears complete or not at all. Raises InputError when the format can't hold the workload.
        """
        from hasten.workload.writing import write

        write(self, Path(path), format)

    # -- measures --------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.arrival)

    def __repr__(self) -> str:
        span = f"{self.duration:.6g} s, {self.rate:.4g} req/s"
        return f"Workload({len(self)} requests, {span}, {self.origin!r})"

    @property
    def duration(self) -> float:
        """Seconds from the first arrival to the last."""
        return float(self.arrival[-1] - self.arrival[0])

    @property
    def rate(self) -> float:
        """Requests per second, (n - 1) / duration; inf for a burst at once, nan for a single request."""
        if len(self) < 2:
            return math.nan
        return (len(self) - 1) / self.duration if self.duration > 0 else math.inf

    @property
    def has_sessions(self) -> bool:
        """True when turns wait for their parents to finish (`think_s` is present)."""
        return self.think_s is not None

    def describe(self) -> Summary:
        """Counts, rate, burstiness and length percentiles of the workload."""
        from hasten.workload.summary import summarise

        return summarise(self)

    def blocks_of(self, row: int) -> tuple[int, ...]:
        """Prompt block ids of one request, empty without blocks."""
        if self.block_ids is None or self.block_offsets is None:
            return ()
        first, stop = self.block_offsets[row], self.block_offsets[row + 1]
        return tuple(self.block_ids[first:stop].tolist())

    def ends_of(self, row: int) -> tuple[int, ...]:
        """Tokens up to which each block id of one request reaches, empty where ids name single blocks."""
        if self.block_spans is None or self.block_offsets is None:
            return ()
        first, stop = self.block_offsets[row], self.block_offsets[row + 1]
        tokens = self.block_spans[first:stop] * self.block_tokens
        return tuple(itertools.accumulate(tokens.tolist()))

    def columns_as_lists(self) -> Columns:
        """Columns as plain Python lists, for loops that index one row at a time."""
        blocks: list[tuple[int, ...]] | None = None
        if self.block_ids is not None and self.block_offsets is not None:
            ids, cuts = self.block_ids.tolist(), self.block_offsets.tolist()
            blocks = [tuple(ids[first:stop]) for first, stop in itertools.pairwise(cuts)]
        optional: dict[str, Any] = {}
        for name in OPTIONAL_INTS:
            column = getattr(self, name)
            optional[name] = None if column is None else shared_ints(column)
        return Columns(
            arrival=self.arrival.tolist(),
            prompt_tokens=shared_ints(self.prompt_tokens),
            output_tokens=shared_ints(self.output_tokens),
            block_ids=blocks,
            think_s=None if self.think_s is None else self.think_s.tolist(),
            **optional,
        )

    # -- derived workloads -----------------------------------------------------------------------

    def head(self, num: int) -> Workload:
        """The first `num` requests (all when there are fewer)."""
        return self.slice(0, num)

    def slice(self, start: int, stop: int | None = None) -> Workload:
        """Requests [start, stop), the first at time 0; turns whose parent is cut off become first turns."""
        stop = len(self) if stop is None else min(stop, len(self))
        if not 0 <= start < stop:
            raise InputError(f"slice [{start}, {stop}) holds none of {len(self)} requests: widen it")
        if start == 0 and stop == len(self):
            return self
        changes: dict[str, Any] = {
            "arrival": self.arrival[start:stop] - (self.arrival[start] if start else 0.0)
        }
        for name in (
            "prompt_tokens",
            "output_tokens",
            "session",
            "priority",
            "max_tokens",
            "think_s",
            "tool",
        ):
            column = getattr(self, name)
            changes[name] = None if column is None else column[start:stop]
        if self.parent is not None:
            changes["parent"] = np.maximum(self.parent[start:stop] - np.int32(start), -1)
        if self.joins is not None:
            changes["joins"] = self.joins.slice(start, stop)
        if self.block_ids is not None and self.block_offsets is not None:
            offsets = self.block_offsets[start : stop + 1]
            changes["block_ids"] = self.block_ids[offsets[0] : offsets[-1]]
            changes["block_offsets"] = offsets - offsets[0]
            if self.block_spans is not None:
                changes["block_spans"] = self.block_spans[offsets[0] : offsets[-1]]
        return self.replaced(**changes, note=f"rows {start} to {stop - 1}")

    def scaled(self, *, rate: float) -> Workload:
        """The same requests at `rate` req/s (inf = all at once): gaps times one factor, bursts keep shape.

        The realised `rate`, (n - 1) / duration, is the one asked for. Think times are the user's and stay.
        """
        if not rate > 0:
            raise InputError(f"rate = {rate} must be above 0 requests/s (inf = all at once)")
        if len(self) < 2:
            raise InputError("rate needs two requests or more: one request has no rate")
        if self.duration == 0:
            if math.isinf(rate):
                return self
            raise InputError(f"all {len(self)} requests arrive at once: rate = {rate:g} needs arrival times")
        factor = 0.0 if math.isinf(rate) else self.rate / rate
        return self.replaced(arrival=self.arrival * factor, note=f"scaled to {rate:g} req/s")

    def repeated(self, times: int, *, share_blocks: bool = False) -> Workload:
        """The workload `times` times in a row at the same rate (one mean gap, 1 / rate, between copies).

        Each copy has block ids of its own, as if later users sent new text; `share_blocks` keeps them, so
        that a prefix cache remembers the earlier copies.
        """
        if times < 1:
            raise InputError(f"times = {times} is below 1: repeat at least once")
        joined = self.concat(*[self] * (times - 1), share_blocks=share_blocks)
        return joined.replaced(origin=self.origin, dropped=self.dropped, note=f"repeated {times} times")

    def concat(self, *others: Workload, share_blocks: bool = False) -> Workload:
        """This workload, then the others, each one mean gap (of the part before it) after the last arrival.

        Block ids and sessions of the parts are made distinct; `share_blocks` keeps block ids as they are.
        Raises InputError when block sizes differ or a part is a closed loop.
        """
        from hasten.workload.joining import joined

        return joined([self, *others], share_blocks=share_blocks) if others else self

    def open_loop(self) -> Workload:
        """Every request at its recorded time, whatever the server does: sessions and closed loop removed."""
        return self.replaced(session=None, parent=None, think_s=None, joins=None, closed_loop=None)

    def as_sessions(self, *, seconds_per_token: float = 0.0) -> Workload:
        """Turn i + 1 arrives `think_s` after its parent finishes, instead of at its recorded time.

        Parents come from the `parent` column, else the order within `session`, else the prefix blocks
        (`hasten.workload.sessions`). A trace without think times has gaps from arrival to arrival, which
        include the parent's service: `seconds_per_token` times the parent's output tokens is taken off them
        (never below 0). Gaps are taken as they are now: call this before `scaled`, which would stretch them.
        Raises InputError when nothing links the requests.
        """
        from hasten.workload.sessions import with_sessions

        return with_sessions(self, seconds_per_token=seconds_per_token)

    def replaced(self, *, note: str = "", **columns: Any) -> Workload:
        """A copy with columns replaced and checked again, `note` added to its origin."""
        origin = columns.pop("origin", self.origin)
        return replace(self, **columns, origin=f"{origin}; {note}" if origin and note else origin or note)
