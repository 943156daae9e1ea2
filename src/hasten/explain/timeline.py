"""Where each request stood in every row of a step log: waiting, in a chunk, between chunks, decoding or preempted.

Rows of one rank follow each other without a gap as long as somebody is there, so a stretch is a range of rows. A
request that goes from one pool to another has a life at each; its way between is told by times, not rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from hasten.report.handover import Handover
from hasten.report.records import Records

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WAITING: Final = 0
STALLED: Final = 1  # running, but no chunk in these steps
DECODING: Final = 2
PREEMPTED: Final = 3
HELD: Final = 4
GONE: Final = 5  # it goes on elsewhere
TO_FIRST, AFTER_FIRST = 0, 1

Row = tuple[float, float, int, int, int, int, int, int, int, int, float]


class RankLog(Protocol):
    """Steps of one scheduler; `hasten.sim.steps.RankSteps` is one, and says what its columns mean."""

    @property
    def replica(self) -> int: ...
    @property
    def role(self) -> str: ...
    @property
    def speed(self) -> float: ...
    @property
    def rows(self) -> Sequence[Row]: ...
    @property
    def chunks(self) -> Sequence[tuple[int, int, int, int, bool]]: ...
    @property
    def lost(self) -> Sequence[tuple[int, int]]: ...
    @property
    def loads(self) -> Sequence[tuple[int, float, float]]: ...


class RunLog(Protocol):
    """Steps of a run; `hasten.sim.steps.StepLog` is one."""

    @property
    def ranks(self) -> Sequence[RankLog]: ...
    @property
    def placed(self) -> Mapping[int, float]: ...
    @property
    def ready(self) -> Mapping[int, float]: ...
    @property
    def handovers(self) -> Mapping[int, Handover]: ...


def name_of(rank: RankLog) -> str:
    """What a rank's replica is called, such as "replica 0" or "decode 2"."""
    return f"{rank.role} {rank.replica}"


class Columns:
    """The rows of one rank as arrays: times in seconds, tokens and counts as in `hasten.sim.steps.Row`."""

    def __init__(self, rows: Sequence[Row]) -> None:
        columns = list(zip(*rows, strict=True)) or [()] * 11
        self.begin: Floats = np.array(columns[0], dtype=np.float64)
        self.end: Floats = np.array(columns[1], dtype=np.float64)
        counts = [np.array(column, dtype=np.int64) for column in columns[2:10]]
        self.steps, self.decodes, self.context, self.growth = counts[:4]
        self.refusal, self.waiting, self.running, self.blocks = counts[4:]
        self.made: Floats = np.array(columns[10], dtype=np.float64)
        self.until: Floats = np.append(self.begin[1:], self.end[-1:])  # when the next row begins
        self.is_idle = self.steps == 0
        # decode steps before each row, and in all
        self.decoded: Ints = np.concatenate([[0], np.cumsum(np.where(self.decodes > 0, self.steps, 0))])


class Chunk(NamedTuple):
    """A request's own prefill in one row: its record, phase, tokens and tokens in KV before; `again`: of those tokens,
    how many it had computed before it was preempted."""

    record: int
    row: int
    phase: int
    tokens: int
    context: int
    again: int


class _Life:
    """How far one request has come."""

    __slots__ = ("again", "emitted", "kind", "phase", "reached", "record", "since")

    def __init__(self, record: int, since: int) -> None:
        self.record = record
        self.kind = WAITING
        self.since = since  # first row of the stretch under way
        self.phase = TO_FIRST
        self.reached = 0  # tokens computed so far
        self.again = 0  # tokens that a preemption took
        self.emitted = 0

    def goes_on(self, kind: int, reached: int) -> None:
        """Its first token is out elsewhere."""
        self.kind = kind
        self.phase = AFTER_FIRST
        self.reached = reached
        self.emitted = 1


@dataclass
class Timeline:
    """One rank's requests: `stretches` as (record, phase, kind, first row, end row), own chunks, and what precedes.

    `before` holds for each record the first row decided with it in the queue, `loads` when its KV was on its way (s).
    `came` holds those whose KV came from another pool: its record, its way, the first row decided with it in the queue,
    and the first with its KV there.
    """

    columns: Columns
    stretches: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    before: list[tuple[int, int]] = field(default_factory=list)
    loads: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    came: list[tuple[int, Handover, int, int]] = field(default_factory=list)

    def close(self, life: _Life, row: int) -> None:
        """The stretch under way ends before `row`."""
        if row > life.since:
            self.stretches.append((life.record, life.phase, life.kind, life.since, row))

    def lose(self, life: _Life | None, row: int) -> None:
        """The request is preempted before `row`. A batch that stays in flight says so twice."""
        if life is None or life.kind not in (STALLED, DECODING) or row < life.since:
            return
        while life.kind == DECODING and row > life.since and self.columns.is_idle[row - 1]:
            row -= 1  # a loss is reported with the next batch: until then nobody decoded
        self.close(life, row)
        if life.kind == DECODING:
            life.emitted += int(self.columns.decoded[row] - self.columns.decoded[life.since])
            life.again = 1 << 60
        else:
            life.again = max(life.again, life.reached)
        life.kind = PREEMPTED
        life.since = row

    def finish(self, life: _Life, records: Records) -> None:
        """Decode to the end. Steps beyond the last token are those of a batch that holds its members."""
        columns = self.columns
        finish = records.finish[life.record]
        if life.kind != DECODING or np.isnan(finish):
            return
        end = int(np.searchsorted(columns.end, finish)) + 1
        left = int(records.output_tokens[life.record]) - life.emitted
        last = int(np.searchsorted(columns.decoded, columns.decoded[life.since] + left))
        last = min(max(last, life.since), end)
        self.close(life, last)
        if end > last:
            self.stretches.append((life.record, AFTER_FIRST, HELD, last, end))


def timeline(
    rank: RankLog,
    records: Records,
    where: Mapping[int, int],
    ways: Mapping[int, Handover] = MappingProxyType({}),
) -> Timeline:
    """The stretches of every served request on one rank; `where` gives the row of `records` by request id."""
    found = Timeline(Columns(rank.rows))
    drained = records.queued
    lives = _arrived(found, rank, records, where, ways)

    losses = list(rank.lost)
    at = 0
    for row, request, tokens, context, is_last in rank.chunks:
        while at < len(losses) and losses[at][0] <= row:
            found.lose(lives.get(losses[at][1]), losses[at][0])
            at += 1
        life = lives.get(request)
        if life is None:
            if request not in where:
                continue
            record = where[request]
            way = ways.get(request)
            came = way is not None and way.receiver == rank.replica
            since = way.queued if way is not None and came else drained[record]
            life = lives[request] = _Life(record, min(int(np.searchsorted(found.columns.made, since)), row))
            if came:
                life.goes_on(WAITING, 0)
            found.before.append((record, life.since))
        found.close(life, row)
        again = max(0, min(context + tokens, life.again) - context)
        found.chunks.append(Chunk(life.record, row, life.phase, tokens, context, again))
        life.reached = context + tokens
        life.since = row + 1
        life.kind = STALLED
        if is_last:
            life.kind = GONE if _leaves(request, rank, ways) else DECODING
            life.phase = AFTER_FIRST
            life.again = 0
            life.emitted += 1
    for row, request in losses[at:]:
        found.lose(lives.get(request), row)
    for life in lives.values():
        found.finish(life, records)
    for request, begin, arrived in rank.loads:
        if request in where:
            found.loads.setdefault(where[request], []).append((begin, arrived))
    return found


def _leaves(request: int, rank: RankLog, ways: Mapping[int, Handover]) -> bool:
    """Whether `request` goes on elsewhere once its prompt is computed here."""
    way = ways.get(request)
    return way is not None and way.receiver != rank.replica


def _arrived(
    found: Timeline, rank: RankLog, records: Records, where: Mapping[int, int], ways: Mapping[int, Handover]
) -> dict[int, _Life]:
    """Lives that begin on this rank with KV that came from elsewhere."""
    lives = {}
    made = found.columns.made
    for request, way in ways.items():
        if way.receiver == rank.replica and request in where and way.travels:
            first, there = (int(np.searchsorted(made, time)) for time in (way.queued, way.arrives))
            life = lives[request] = _Life(where[request], there)
            life.goes_on(STALLED, int(records.prompt_tokens[life.record]))
            found.came.append((life.record, way, first, there))
    return lives
