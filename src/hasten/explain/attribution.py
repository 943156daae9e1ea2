"""Where the milliseconds went: every second of every request's life under one label, a pure function of a step log.

The labels of a request sum to its latency exactly (docs/design/attribution.md). Waiting is charged to what held the
head of the queue, a decode step to the parts of the latency model, and a step shared with prefills to what it would
have taken without them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hasten.core.batch import Chunk as StepChunk
from hasten.core.refusal import POLICY
from hasten.core.request import Request
from hasten.deployment import Deployment
from hasten.disaggregation import Disaggregated
from hasten.errors import InputError
from hasten.explain.breakdown import Breakdown
from hasten.explain.idle import IdleClock
from hasten.explain.labels import DECODE_POOL, LABELS, ORDER, PARTS, QUEUE
from hasten.explain.timeline import (
    AFTER_FIRST,
    DECODING,
    HELD,
    PREEMPTED,
    STALLED,
    TO_FIRST,
    WAITING,
    RankLog,
    RunLog,
    Timeline,
    timeline,
)
from hasten.latency import LockstepCost, StepCost
from hasten.report.records import Records

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Exact = npt.NDArray[np.longdouble]

METRICS = ("ttft", "tpot", "e2e")
_ANYONE = Request(-1, 0.0, 1, 1)
_DECODES_ONLY = (
    "prefill_others",
    "other_ranks",
    "slow_replica",
    "decode",
    *(f"decode_{part}" for part in PARTS),
)


@dataclass(frozen=True)
class Costs:
    """What a step would have taken: `cost` prices steps that were not run, `breakdown` splits decode steps.

    Without a breakdown decode time is one label. `decode_pool` are those of replicas for answers alone, where there
    are such.
    """

    cost: StepCost
    breakdown: Breakdown | None = None
    decode_pool: Costs | None = None

    def of(self, rank: RankLog) -> Costs:
        """Those of the pool that `rank` belongs to."""
        return self if self.decode_pool is None or not answers_only(rank) else self.decode_pool


class Labelled:
    """Rows whose seconds stand under labels."""

    def latency(self, metric: str) -> Floats:
        """The metric per row, in seconds; NaN where it is not defined."""
        raise NotImplementedError

    def labels(self, metric: str) -> Floats:
        """Seconds per row and label (columns, as LABELS) that sum to `latency(metric)`."""
        raise NotImplementedError

    def mean(self, metric: str, rows: npt.NDArray[Any] | None = None) -> dict[str, float]:
        """Mean seconds per label over some rows (default: all), without those that are zero."""
        values = self.labels(metric) if rows is None else self.labels(metric)[rows]
        means = values.mean(axis=0) if len(values) else np.zeros(len(LABELS))
        return {name: float(value) for name, value in zip(LABELS, means, strict=True) if value}


@dataclass(frozen=True, eq=False)
class Attribution(Labelled):
    """Seconds per served request (rows, as `records`) and label (columns, as LABELS).

    `to_first` is the life up to the first token, `after_first` from there to the last.
    """

    records: Records
    to_first: Floats
    after_first: Floats
    notes: tuple[str, ...] = field(default=(), kw_only=True)

    def latency(self, metric: str) -> Floats:
        """The metric itself per row, in seconds; NaN where it is not defined (tpot of a single token)."""
        _check(metric)
        records = self.records
        if metric == "ttft":
            return records.first_token - records.arrival
        if metric == "e2e":
            return records.finish - records.arrival
        later = records.output_tokens - 1
        spent = records.finish - records.first_token
        pace: Floats = np.divide(spent, later, out=np.full(len(records), np.nan), where=later > 0)
        return pace

    def labels(self, metric: str) -> Floats:
        """Seconds per row and label that sum to `latency(metric)`: for tpot per later token."""
        _check(metric)
        if metric == "ttft":
            return self.to_first
        if metric == "e2e":
            return self.to_first + self.after_first
        later = np.maximum(self.records.output_tokens - 1, 1)
        paced: Floats = self.after_first / later[:, None]
        return paced

    def of(self, request: int) -> dict[str, float]:
        """Seconds per label of one request's whole life, by its id. Raises InputError for one not served."""
        rows = np.flatnonzero(self.records.id == request)
        if not rows.size:
            raise InputError(f"request {request} was not served: there is nothing to attribute")
        return self.mean("e2e", rows)


def _check(metric: str) -> None:
    if metric not in METRICS:
        raise InputError(f"metric {metric!r} has no attribution: use one of {', '.join(METRICS)}")


def attribute(
    records: Records,
    log: RunLog,
    costs: Costs,
    *,
    reusable: Mapping[int, tuple[int, str]] | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Attribution:
    """Label the life of every served request of `records` from the steps of its run.

    `reusable` says for a request how many tokens of its prompt somebody had computed before, and the label of what
    it computed of them again (see `hasten.explain.prefixes`). `progress` is called now and then, and may raise.
    """
    served = records.select(records.is_ok)
    spent = np.zeros((2, len(served), len(LABELS)), dtype=np.longdouble)
    where = {request: row for row, request in enumerate(served.id.tolist())}
    ids = served.id.tolist()
    placed, ready = (
        np.array([times.get(request, fallback) for request, fallback in zip(ids, first, strict=True)])
        for times, first in ((log.placed, served.arrival.tolist()), (log.ready, served.arrival.tolist()))
    )
    spent[TO_FIRST, :, ORDER["queue_admission"]] = placed - served.arrival.astype(np.longdouble)
    spent[TO_FIRST, :, ORDER["front_end"]] = ready - placed.astype(np.longdouble)
    for request, way in log.handovers.items():  # a prompt may be held until its batch ends
        if request in where:
            row = where[request]
            spent[AFTER_FIRST, row, ORDER["held"]] = np.longdouble(way.at) - served.first_token[row]
    pools = [[rank for rank in log.ranks if answers_only(rank) == later] for later in (False, True)]
    for ranks in pools:
        idle = IdleClock(ranks)
        for rank in ranks:
            line = timeline(rank, served, where, log.handovers)
            progress()
            account = _Account(spent, line, rank, costs.of(rank))
            progress()
            account.waits(idle, _seen(rank, log, ids, ready))
            account.moves(idle)
            account.stretches()
            progress()
            account.chunks(reusable or {}, served)
    first, after = (np.asarray(part, dtype=np.float64) for part in spent)
    return Attribution(served, first, after)


def answers_only(rank: RankLog) -> bool:
    """Whether the replica of `rank` takes requests whose prompt another pool has computed."""
    return rank.role == "decode"


def _seen(rank: RankLog, log: RunLog, ids: Sequence[int], ready: Floats) -> Floats:
    """When each request stood before the engine of `rank` (s)."""
    if not answers_only(rank):
        return ready
    ways = log.handovers
    return np.array([ways[request].at if request in ways else np.nan for request in ids])


class _Account:
    """Adds the seconds of one rank's timeline to `spent` (phase, record, label), in extended precision."""

    def __init__(self, spent: Exact, line: Timeline, rank: RankLog, costs: Costs) -> None:
        self.spent = spent
        self.line = line
        self.rank = rank
        self.costs = costs
        self.phase, self.queue = (AFTER_FIRST, DECODE_POOL) if answers_only(rank) else (TO_FIRST, QUEUE)
        self.speed = min(1.0, rank.speed)
        self.columns = line.columns
        self.begin = self.columns.begin.astype(np.longdouble)
        self.until = self.columns.until.astype(np.longdouble)
        self._ends = self.columns.end.astype(np.longdouble)
        self.seconds = self._ends - self.begin  # of each row
        self.prefills: dict[int, list[StepChunk]] = {}
        for row, _, tokens, context, is_last in rank.chunks:
            self.prefills.setdefault(row, []).append(StepChunk(_ANYONE, tokens, context, is_last))
        self.whole = self._prices()
        self.nominal = self.seconds * self.speed
        self.other_ranks = self._waits_for_ranks()
        self.decode_rows = self._decode_rows()

    def _over(self, kind: int, labelled: Mapping[str, Exact]) -> None:
        """Charge seconds per row (by label) to all stretches of one kind."""
        found = [each for each in self.line.stretches if each[2] == kind]
        if not found:
            return
        record, phase, _, first, end = np.array(found, dtype=np.int64).T
        for name, per_row in labelled.items():
            if per_row.any():
                sums = np.concatenate([[np.longdouble(0)], np.cumsum(per_row)])
                np.add.at(self.spent[:, :, ORDER[name]], (phase, record), sums[end] - sums[first])
                if self.line.loads and kind in (WAITING, PREEMPTED):
                    self._loads(kind, name, np.asarray(sums, dtype=np.float64))

    def _loads(self, kind: int, name: str, sums: Floats) -> None:
        """Of what stretches of one kind are charged to label `name`, the time with their KV on its way is `kv_load`.

        `sums` is what all rows before each row are charged to it (s).
        """
        times = np.append(self.columns.begin, self.columns.until[-1:])
        for record, phase, of_kind, first, end in self.line.stretches:
            for begin, arrived in self.line.loads.get(record, ()) if of_kind == kind else ():
                low, high = max(begin, times[first]), min(arrived, times[end])
                spent = self.spent[phase, record]
                moved = min(spent[ORDER[name]], np.subtract(*np.interp((high, low), times, sums)))
                if high > low and moved > 0.0:
                    spent[ORDER[name]] -= moved
                    spent[ORDER["kv_load"]] += moved

    def waits(self, idle: IdleClock, ready: Floats) -> None:
        """Before the first chunk: the engine's turn, then what held the head of the queue, row by row."""
        if not self.line.before:
            return
        record, first = np.array(self.line.before, dtype=np.int64).T
        self._under_way(record, ready[record], self.columns.begin[first])
        self._over(WAITING, self._refused(idle))

    def _under_way(self, record: Ints, since: Floats, until: Floats) -> None:
        """Steps run, and nobody has asked yet whether the request may enter."""
        under_way = until - since.astype(np.longdouble)
        prefill = np.minimum(self._prefill_between(since, until), under_way)
        self.spent[self.phase, record, ORDER[self.queue.step_prefill]] += prefill
        self.spent[self.phase, record, ORDER[self.queue.step]] += under_way - prefill

    def _refused(self, idle: IdleClock) -> dict[str, Exact]:
        """Seconds of every row by what kept the head of the queue out of it."""
        span = self.until - self.begin
        refusal = self.columns.refusal
        elsewhere = np.minimum(idle.between(self.columns.begin, self.columns.until), span)
        elsewhere[refusal == POLICY] = 0.0
        windows = (refusal == POLICY) & self.columns.is_idle
        labelled = {self.queue.routing: elsewhere, self.queue.window: np.where(windows, span, 0.0)}
        for reason, name in enumerate(self.queue.refusals):
            held = np.where((refusal == reason) & ~windows, span - elsewhere, 0.0)
            labelled[name] = labelled[name] + held if name in labelled else held
        return labelled

    def moves(self, idle: IdleClock) -> None:
        """From the first token in the other pool until the KV is here and a step may use it."""
        if not self.line.came:
            return
        record, first, there = np.array([(row, one, two) for row, _, one, two in self.line.came]).T
        ways = [way for _, way, _, _ in self.line.came]
        at, pulled, begins, arrives = (
            np.array([getattr(way, name) for way in ways]) for name in ("at", "pulled", "begins", "arrives")
        )
        starts = np.append(self.columns.begin, math.inf)
        asked = np.minimum(starts[first], pulled)
        self._under_way(record, at, asked)
        self._until(record, asked, pulled, self._refused(idle))
        self.spent[self.phase, record, ORDER["kv_link"]] += begins - pulled.astype(np.longdouble)
        self.spent[self.phase, record, ORDER["kv_transfer"]] += arrives - begins.astype(np.longdouble)
        self._under_way(record, arrives, self.columns.begin[there])

    def _until(self, record: Ints, since: Floats, until: Floats, labelled: Mapping[str, Exact]) -> None:
        """Charge seconds per row (by label) from the beginning of a row to a time in the midst of one."""
        late = until > since
        record, since, until = record[late], since[late], until[late]
        first, last = (np.searchsorted(self.columns.begin, time, "right") - 1 for time in (since, until))
        span = np.where(self.until > self.begin, self.until - self.begin, 1.0)[last]
        share = (until - self.begin[last]) / span
        for name, per_row in labelled.items():
            sums = np.concatenate([[np.longdouble(0)], np.cumsum(per_row)])
            self.spent[self.phase, record, ORDER[name]] += sums[last] - sums[first] + share * per_row[last]

    def _prefill_between(self, begin: Floats, end: Floats) -> Floats:
        """Seconds that prefill added to the steps that ran in [begin, end); spread evenly over each."""
        columns = self.columns
        added = np.asarray(self.decode_rows["prefill_others"], dtype=np.float64)
        times = np.stack([columns.begin, columns.end], axis=1).ravel()
        total = np.cumsum(added)
        spent = np.stack([total - added, total], axis=1).ravel()
        found: Floats = np.interp(end, times, spent) - np.interp(begin, times, spent)
        return np.maximum(found, 0.0)

    def stretches(self) -> None:
        """Everything after admission but the own chunks."""
        span = self.until - self.begin
        runs = np.where(self.columns.is_idle, 0.0, span)
        self._over(STALLED, {self.queue.stalled: runs})
        self._over(STALLED, {self.queue.window: span - runs})
        self._over(PREEMPTED, {"preempted": span})
        for record, phase, kind, first, end in self.line.stretches:
            if kind == HELD:
                self.spent[phase, record, ORDER["held"]] += self._ends[end - 1] - self._ends[first - 1]
        self._over(DECODING, self.decode_rows)

    def _decode_rows(self) -> dict[str, Exact]:
        """Seconds of every row by label, for those who decode in it."""
        found = {name: np.zeros(len(self.seconds), dtype=np.longdouble) for name in _DECODES_ONLY}
        found["slow_replica"] = self.seconds - self.nominal
        found["other_ranks"] = self.other_ranks
        rest = self.nominal - self.other_ranks
        own = rest * self._decode_shares().astype(np.longdouble)
        found["prefill_others"] = rest - own
        self._split(found, own)
        return found

    def _prices(self) -> Floats:
        """What every row with prefill would take by the cost model (s); 0 for the others."""
        found = np.zeros(len(self.seconds))
        decodes, context = self.columns.decodes.tolist(), self.columns.context.tolist()
        mixed = self.costs.cost.mixed
        for row, chunks in self.prefills.items():
            found[row] = mixed(chunks, decodes[row], context[row])
        return found

    def _decode_shares(self) -> Floats:
        """What a row would have taken without its prefills, as a share: 1 where there are none."""
        shares = np.ones(len(self.seconds))
        rows = np.array(list(self.prefills), dtype=np.int64)
        shares[rows] = 0.0
        rows = rows[(self.columns.decodes[rows] > 0) & (self.whole[rows] > 0.0)]
        held = zip(self.columns.decodes[rows].tolist(), self.columns.context[rows].tolist(), strict=True)
        alone = np.array([_decode_seconds(self.costs.cost, n, context) for n, context in held])
        shares[rows] = np.minimum(1.0, alone / self.whole[rows])
        return shares

    def _waits_for_ranks(self) -> Exact:
        """What rows last longer than this rank's batch alone, where ranks step together."""
        columns, cost = self.columns, self.costs.cost
        alone = self.nominal.copy()
        if isinstance(cost, LockstepCost):
            for row in range(len(alone)):
                n, context = int(columns.decodes[row]), int(columns.context[row])
                if row in self.prefills:
                    alone[row] = self.whole[row]
                elif n:
                    growth, steps = int(columns.growth[row]), int(columns.steps[row])
                    alone[row] = _series_seconds(cost, n, context, growth=growth, steps=steps)
        waits: Exact = np.maximum(self.nominal - alone, 0.0)
        return waits

    def _split(self, found: dict[str, Exact], own: Exact) -> None:
        """Decode seconds by part of the latency model."""
        breakdown, columns = self.costs.breakdown, self.columns
        rows = np.flatnonzero((columns.decodes > 0) & (own > 0))
        if breakdown is None or not rows.size:
            found["decode"] = own
            return
        shares = breakdown.parts(
            columns.decodes[rows], columns.context[rows], columns.steps[rows], columns.growth[rows]
        )
        left = own.copy()
        for place, part in enumerate(PARTS[1:], start=1):
            found[f"decode_{part}"][rows] = own[rows] * shares[:, place]
            left[rows] -= found[f"decode_{part}"][rows]
        found[f"decode_{PARTS[0]}"][rows] = np.maximum(left[rows], 0.0)
        left[rows] -= found[f"decode_{PARTS[0]}"][rows]
        found["decode"] = left  # rows without decodes, and rounding

    def chunks(self, reusable: Mapping[int, tuple[int, str]], records: Records) -> None:
        """Own prefill: what the step would have taken with this chunk alone; the rest is that of the others."""
        if not self.line.chunks:
            return
        record, row, phase, tokens, context, again = np.array(self.line.chunks, dtype=np.int64).T

        def charge(label: str, seconds: Exact, some: npt.NDArray[np.bool_] | slice = slice(None)) -> None:
            np.add.at(self.spent[:, :, ORDER[label]], (phase[some], record[some]), seconds[some])

        rest = self.nominal[row] - self.other_ranks[row]
        charge("slow_replica", self.seconds[row] - self.nominal[row])
        charge("other_ranks", self.other_ranks[row])
        without_others = rest * self._alone(beside_decodes=True)
        charge("prefill_others", rest - without_others)
        own = np.minimum(without_others, rest * self._alone(beside_decodes=False))
        charge("decode_others", without_others - own)

        # after another pool's prefill: a decode, and what did not come
        goes_on = (phase == AFTER_FIRST) & (again == 0)
        charge("decode", own / tokens, goes_on)
        charge("prefill_elsewhere", own - own / tokens, goes_on)
        is_own = ~goes_on  # by tokens: computed again, computed before by somebody, and new
        repeated = own * again / tokens
        charge("recompute", repeated, is_own)
        own = own - repeated
        ids = records.id.tolist()
        known, label = zip(*(reusable.get(ids[each], (0, "")) for each in record.tolist()), strict=True)
        missed = own * np.maximum(0, np.minimum(context + tokens, known) - context) / tokens
        missed[again > 0] = 0.0
        labels = np.array(label)
        for name in sorted({*label} - {""}):
            charge(name, missed, is_own & (labels == name))
        charge("prefill_own", own - missed, is_own)

    def _alone(self, *, beside_decodes: bool) -> Floats:
        """What the step of each own chunk would take with that chunk alone, `beside_decodes` or without them, as a
        share: at most 1, which it is where nothing else runs."""
        cost, decodes, held = self.costs.cost, self.columns.decodes.tolist(), self.columns.context.tolist()
        whole = np.maximum(self.whole, 1e-300).tolist()
        shares = np.ones(len(self.line.chunks))
        for place, (_, row, _, tokens, context, _) in enumerate(self.line.chunks):
            if len(self.prefills[row]) > 1 if beside_decodes else decodes[row]:
                beside = (decodes[row], held[row]) if beside_decodes else (0, 0)
                shares[place] = cost.mixed([StepChunk(_ANYONE, tokens, context, True)], *beside) / whole[row]
        return np.minimum(1.0, shares)


def _decode_seconds(cost: StepCost, n: int, context: int) -> float:
    a, b, _ = cost.decode_line(n, context)
    return a + b * context


def _series_seconds(cost: StepCost, n: int, context: int, *, growth: int, steps: int) -> float:
    """`steps` decode steps of `n` sequences, `context` growing by `growth`, piece by piece of the decode line."""
    seconds = 0.0
    while steps > 0:
        a, b, limit = cost.decode_line(n, context)
        most = steps
        if growth > 0 and limit != math.inf:
            most = max(1, min(steps, math.ceil((limit - context) / growth)))
        seconds += most * a + b * (most * context + growth * (most * (most - 1) // 2))
        context += most * growth
        steps -= most
    return seconds


def costs_of(deployment: Deployment | Disaggregated, cost: Any = None) -> Costs:
    """Costs of a deployment: its compiled step times and their breakdown, for each pool.

    `cost` are other step times (a pair for pools): their parts can't be told apart.
    """
    if isinstance(deployment, Disaggregated):
        first, second = (None, None) if cost is None else cost
        return replace(costs_of(deployment.prefill, first), decode_pool=costs_of(deployment.decode, second))
    if cost is not None:
        return Costs(cost)
    return Costs(deployment.cost, Breakdown(deployment.latency, deployment.cost))
