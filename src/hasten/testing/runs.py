"""Playing a case: by steps under the eyes of an auditor, or with jumps as a simulation does it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hasten.core.batch import Batch
from hasten.core.request import Request
from hasten.core.scheduler import Scheduler
from hasten.sim.build import CostEstimates
from hasten.sim.loop import EngineLoop
from hasten.sim.recorder import OK, Recorder
from hasten.sim.replica import Replica
from hasten.sim.simulation import Simulation
from hasten.sim.source import Listed
from hasten.testing.books import check_books
from hasten.testing.broken import LawBroken
from hasten.testing.cases import Call, Case

Make = Callable[[str], Any]
"""A fresh policy of the role."""


class Row(NamedTuple):
    """How one request fared. Times in seconds; -1 for what never happened."""

    arrival: float
    queued: float
    scheduled: float
    first_token: float
    finish: float
    output_tokens: int
    cached_tokens: int
    preemptions: int
    replica: int
    status: int

    @property
    def ttft(self) -> float:
        """Arrival to first token (s)."""
        return self.first_token - self.arrival


@dataclass
class Outcome:
    """What a run left behind: a row per ended request, every gap between tokens, and each turn's decisions."""

    rows: dict[int, Row] = field(default_factory=dict)
    gaps: list[float] = field(default_factory=list)  # s, sorted
    predicted: dict[int, float] = field(default_factory=dict)  # tokens
    known_at: dict[int, float] = field(
        default_factory=dict
    )  # s, when the length became known: held ones leave later
    decisions: list[tuple[Any, ...]] = field(default_factory=list)  # (time, replica, what), of stepped runs


def play(case: Case, make: Make, *, stepping: bool = False) -> Outcome:
    """Run `case` with policies from `make(role)`, a fresh one for every scheduler and pool.

    A stepping run is audited: books, budgets and clock are checked after every turn. Raises LawBroken.
    """
    requests = _requests(case)
    source = Listed([(requests[call.id], call.output) for call in case.calls])
    recorder = Recorder()
    truth: dict[int, int] = {}
    estimates = CostEstimates(case.cost)
    replicas = [
        Replica(
            index,
            Scheduler(case.limits, make("schedule"), cache=make("cache"), estimates=estimates),
            case.cost,
            recorder,
            truth,
            depth=case.depth,
            stepping=stepping,
        )
        for index in range(case.replicas)
    ]
    simulation = Simulation(
        source,
        replicas,
        recorder,
        truth,
        route=make("route"),
        admit=make("admit"),
        length=make("length"),
        estimates=estimates,
    )
    auditor = _Auditor(case, stepping)
    try:
        simulation.run(observe=auditor.look)
    except RuntimeError:
        idle = source.next_time == math.inf and all(replica.next_time == math.inf for replica in replicas)
        if not idle:
            raise
    outcome = _outcome(recorder, requests)
    outcome.decisions = auditor.decisions
    outcome.known_at = {id: row.finish for id, row in outcome.rows.items() if row.status == OK} | auditor.held
    for replica in replicas:
        for scheduler in replica.ranks:
            check_books(scheduler)
    _check_untouched(case, requests)
    return outcome


class _Auditor:
    """Looks at a replica after each of its turns."""

    def __init__(self, case: Case, thorough: bool) -> None:
        self.decisions: list[tuple[Any, ...]] = []
        self.held: dict[int, float] = {}
        self._thorough = thorough
        self._turns = 0
        self._most = 1000 + 20 * sum(call.prompt + min(call.output, call.cap) + 10 for call in case.calls)
        self._before: dict[int, float] = {}
        self._seen: dict[int, list[Batch]] = {}

    def look(self, replica: EngineLoop) -> None:
        self._turns += 1
        if self._turns > self._most:
            raise LawBroken(
                "finishes",
                f"{self._turns:,} turns and no end: replica {replica.index} stands at {replica.now:.6g} s",
            )
        if not self._thorough:
            return
        now = replica.now
        before = self._before.get(replica.index, 0.0)
        if now < before:
            raise LawBroken("clock", f"replica {replica.index} went back from {before!r} to {now!r} s")
        self._before[replica.index] = now
        for scheduler in replica.ranks:
            check_books(scheduler)
            for request in scheduler.held:
                self.held.setdefault(request.id, now)
            batches = list(scheduler.in_flight)
            seen = self._seen.get(id(scheduler), [])
            for batch in batches:
                if not any(batch is old for old in seen):
                    check_budgets(scheduler, batch)
                    self.decisions.append((now, replica.index, *_decision(batch)))
            self._seen[id(scheduler)] = batches


def check_budgets(scheduler: Scheduler, batch: Batch) -> None:
    """A step keeps the token budget and the sequence limit, and no chunk exceeds its prompt. Raises LawBroken."""
    limits = scheduler.limits
    if batch.tokens > limits.max_num_batched_tokens:
        raise LawBroken(
            "budgets",
            f"a step computes {batch.tokens:,} tokens, the budget is {limits.max_num_batched_tokens:,}",
        )
    sequences = max(len(scheduler.running), batch.num_decodes + len(batch.prefills))
    if sequences > limits.max_num_seqs:
        raise LawBroken("budgets", f"{sequences} sequences run, the limit is {limits.max_num_seqs}")
    for chunk in batch.prefills:
        if chunk.tokens < 1 or (chunk.is_last and chunk.context + chunk.tokens < chunk.request.prompt_tokens):
            raise LawBroken("budgets", f"{chunk!r} of {chunk.request!r} has {chunk.tokens} tokens")


def _decision(batch: Batch) -> tuple[Any, ...]:
    return (
        tuple((chunk.request.id, chunk.tokens, chunk.context, chunk.is_last) for chunk in batch.prefills),
        batch.num_decodes,
        batch.decode_context,
        tuple(request.id for request in batch.preempted or ()),
        tuple(request.id for request in batch.closing or ()),
    )


def _requests(case: Case) -> dict[int, Request]:
    """The requests of a case, by id; made in an order that depends on their ids, so that addresses mean nothing."""
    calls = list(case.calls)
    random.Random(case.calls[-1].id).shuffle(calls)
    return {call.id: _request(call) for call in calls}


def _request(call: Call) -> Request:
    made = Request(
        call.id,
        call.arrival,
        call.prompt,
        call.cap,
        block_ids=call.block_ids,
        block_tokens=call.block_tokens,
        session=call.session,
        priority=call.priority,
        slo=call.slo,
    )
    made.tool = call.tool
    return made


def _check_untouched(case: Case, requests: dict[int, Request]) -> None:
    for call in case.calls:
        request = requests[call.id]
        for name, given, found in (
            ("arrival", call.arrival, request.arrival),
            ("prompt_tokens", call.prompt, request.prompt_tokens),
            ("session", call.session, request.session),
            ("tool", call.tool, request.tool),
            ("priority", call.priority, request.priority),
            ("slo", call.slo, request.slo),
        ):
            if given != found:
                raise LawBroken(
                    "reads_only",
                    f"request {call.id}: {name} was {given!r} and is {found!r} now: policies only read",
                )


def _outcome(recorder: Recorder, requests: dict[int, Request]) -> Outcome:
    outcome = Outcome()
    columns = {name: values.tolist() for name, values in recorder.request_columns().items()}
    rows = zip(*(columns[name] for name in Row._fields), strict=True)
    for id, row in zip(columns["id"], rows, strict=True):
        if id in outcome.rows:
            raise LawBroken("requests_conserved", f"request {id} ended twice")
        outcome.rows[id] = Row(*row)
    series = {name: values.tolist() for name, values in recorder.gap_columns().items()}
    names = ("first", "increment", "count", "weight")
    for first, increment, count, weight in zip(*(series[name] for name in names), strict=True):
        for step in range(count):
            outcome.gaps.extend([first + increment * step] * weight)
    outcome.gaps.sort()
    outcome.predicted = {id: request.predicted_output for id, request in requests.items()}
    return outcome


def count_gaps(outcome: Outcome) -> int:
    """How many gaps between tokens the finished requests of `outcome` must have."""
    return sum(row.output_tokens - 1 for row in outcome.rows.values() if row.status == OK)
