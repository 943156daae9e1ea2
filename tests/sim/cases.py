"""Random runs that hurt: workloads, limits, costs and policies as hypothesis strategies, and both ways to play them."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from hasten.core.limits import ADMISSIONS, PREEMPTIONS, Limits
from hasten.core.policy import RoutePolicy, SchedulingPolicy
from hasten.core.request import SLO
from hasten.core.scheduler import Scheduler
from hasten.hardware import Link
from hasten.latency import LinearCost, LockstepCost, StepCost, TableCost
from hasten.latency.host import RELOADS, WRITES, HostLink, HostMemory
from hasten.latency.messages import MESSAGES
from hasten.policies import load_policy, policy_names
from hasten.report.records import Records
from hasten.sim.build import CostEstimates, records_of
from hasten.sim.frontend import Frontend
from hasten.sim.host import HostLockstepReplica, HostReplica, tiered
from hasten.sim.lockstep import LockstepReplica
from hasten.sim.loop import EngineLoop
from hasten.sim.recorder import OK, Recorder
from hasten.sim.replica import Replica
from hasten.sim.simulation import Simulation
from hasten.sim.source import source_of
from hasten.sim.steps import StepLog
from hasten.testing.books import check_books
from hasten.workload import Workload
from hasten.workload.columns import ClosedLoop

LENGTHS = st.sampled_from(
    ("mean:prior=20", "oracle")
)  # one that learns from who finishes, and one that does not
MOST_SEQUENCES = 32
MOST_TOKENS = 2100  # in one step of one rank
COUNTS = ("id", "replica", "status", "output_tokens", "cached_tokens", "preemptions")
TIMES = ("arrival", "queued", "scheduled", "first_token", "finish")
COLUMNS = (*COUNTS, *TIMES)


@dataclass(frozen=True)
class Case:
    """One run: what arrives, and the deployment it meets. `ranks` above 1: replicas of ranks in lock-step."""

    work: Workload
    limits: Limits
    cost: StepCost
    schedule: str | SchedulingPolicy = "fcfs"
    cache: str = "lru"
    route: str | RoutePolicy = "round_robin"
    replicas: int = 1
    ranks: int = 1
    depth: int = 1
    frontend: float = 0.0  # s per request
    length: str = "mean:prior=20"
    host: HostMemory | None = None  # behind every replica


@dataclass
class Played:
    """What a run left behind: columns by name, rows in the order of ids."""

    records: dict[str, np.ndarray]
    gaps: np.ndarray  # s, sorted, one per output token but the first ones
    loops: list[EngineLoop]
    turns: int = 0
    schedulers: list[Scheduler] = field(default_factory=list)
    as_ended: Records | None = None


def play(case: Case, *, stepping: bool, log: StepLog | None = None) -> Played:
    """Run `case`, keeping its steps in `log`; stepping takes them one by one, with a recount of books at times."""
    recorder = Recorder()
    truth: dict[int, int] = {}
    estimates = CostEstimates(case.cost)
    loops: list[EngineLoop] = []
    for index in range(case.replicas):
        links = [None if case.host is None else HostLink(case.host, estimates) for _ in range(case.ranks)]
        schedulers = [scheduler_of(case, estimates, link) for link in links]
        options: dict[str, Any] = {
            "depth": case.depth,
            "stepping": stepping,
            "frontend": Frontend(case.frontend) if case.frontend else None,
        }
        if isinstance(case.cost, LockstepCost):
            kind = LockstepReplica if case.host is None else HostLockstepReplica
            loops.append(kind(index, schedulers, case.cost, recorder, truth, **options))
        elif case.host is not None:
            loops.append(HostReplica(index, schedulers[0], case.cost, recorder, truth, **options))
        else:
            loops.append(Replica(index, schedulers[0], case.cost, recorder, truth, **options))
        if case.host is not None:
            loops[-1].links = links
    simulation = Simulation(
        source_of(case.work, SLO(ttft=0.2)),
        loops,
        recorder,
        truth,
        route=load_policy("route", case.route),
        length=load_policy("length", case.length),
        estimates=estimates,
    )
    turns = 0
    most = 1000 + 40 * int((case.work.prompt_tokens + case.work.output_tokens).sum())

    def look(loop: EngineLoop) -> None:
        nonlocal turns
        turns += 1
        assert turns < most, "turn after turn and no end"
        if stepping and turns % 16 == 0:
            for rank in loop.ranks:
                check_books(rank)

    keep(loops, log)
    simulation.run(observe=look)
    records = records_of(recorder)
    values, weights = records.gaps.expand()
    gaps = np.sort(np.repeat(values, weights))
    order = np.argsort(records.id)
    return Played(
        {name: getattr(records, name)[order] for name in COLUMNS},
        gaps,
        loops,
        turns,
        [rank for loop in loops for rank in loop.ranks],
        as_ended=records,
    )


def scheduler_of(case: Case, estimates: CostEstimates, link: HostLink | None) -> Scheduler:
    """The scheduler of one rank, with host memory behind `link`."""
    cache = load_policy("cache", case.cache)
    return Scheduler(
        case.limits,
        load_policy("schedule", case.schedule) if isinstance(case.schedule, str) else case.schedule,
        cache=cache,
        estimates=estimates,
        pool=None if link is None else tiered(link, case.limits, cache),
    )


def keep(loops: list[EngineLoop], log: StepLog | None) -> None:
    """Keep the steps of all loops."""
    for loop in loops if log is not None else ():
        loop.keep(log)


def check_equal(jumped: Played, stepped: Played) -> None:
    """Every request fared alike, and every gap between tokens is the same, to 1e-9 relative."""
    for name in COUNTS:
        assert jumped.records[name].tolist() == stepped.records[name].tolist(), name
    for name in TIMES:
        np.testing.assert_allclose(
            jumped.records[name], stepped.records[name], rtol=1e-9, atol=1e-12, err_msg=name
        )
    waited = [run.records["first_token"] - run.records["arrival"] for run in (jumped, stepped)]
    np.testing.assert_allclose(*waited, rtol=1e-9, atol=1e-11, err_msg="TTFT")
    assert len(jumped.gaps) == len(stepped.gaps)
    np.testing.assert_allclose(jumped.gaps, stepped.gaps, rtol=1e-9, atol=1e-11, err_msg="gaps")
    assert [loop.steps for loop in jumped.loops] == [loop.steps for loop in stepped.loops]
    assert [loop.decode_tokens for loop in jumped.loops] == [loop.decode_tokens for loop in stepped.loops]
    busy = [[loop.busy for loop in run.loops] for run in (jumped, stepped)]
    np.testing.assert_allclose(*busy, rtol=1e-9)


def check_complete(case: Case, run: Played) -> None:
    """Everybody ended, every token was emitted once, and nothing is held at the end."""
    records = run.records
    assert records["id"].tolist() == list(range(len(case.work)))
    ok = records["status"] == OK
    assert len(run.gaps) == int((records["output_tokens"][ok] - 1).sum())
    if not any(scheduler.policy.holds_batch for scheduler in run.schedulers):
        lives = float((records["finish"] - records["first_token"])[ok].sum())
        assert math.isclose(float(run.gaps.sum()), lives, rel_tol=1e-9, abs_tol=1e-9)
    for scheduler in run.schedulers:
        check_books(scheduler)
        assert scheduler.pool.free == case.limits.num_blocks
        assert not scheduler.running
        assert not scheduler.waiting
        assert not scheduler.in_flight
        assert scheduler.group.size == scheduler.group.context == 0


# ---- workloads ------------------------------------------------------------------------------------------


@st.composite
def workloads(draw: st.DrawFn, most: int = 20) -> Workload:
    """Bursts and lulls, short and long prompts and answers, now and then shared prefixes, caps and priorities."""
    num = draw(st.integers(1, most))
    chance = random.Random(draw(st.integers(0, 2**32)))  # values in general position: no two events coincide
    gap = draw(st.sampled_from((0.0, 0.001, 0.01, 0.05, 0.3)))
    longest_prompt = draw(st.sampled_from((20, 200, 1500)))
    longest_answer = draw(st.sampled_from((2, 20, 80)))
    arrival = np.cumsum([chance.expovariate(1.0) * gap for _ in range(num)])
    prompt = np.array([chance.randint(1, longest_prompt) for _ in range(num)])
    output = np.array([chance.randint(1, longest_answer) for _ in range(num)])
    columns: dict[str, Any] = {"priority": np.array([chance.randint(0, 2) for _ in range(num)])}
    if draw(st.booleans()):
        columns |= _prefixes(chance, prompt, draw(st.sampled_from((4, 16, 64))))
    if draw(st.booleans()):
        columns["max_tokens"] = output + np.array([chance.randint(-1, 1) for _ in range(num)]).clip(
            1 - output
        )
    return Workload(arrival=arrival, prompt_tokens=prompt, output_tokens=output, **columns)


def _prefixes(chance: random.Random, prompts: np.ndarray, block_tokens: int) -> dict[str, Any]:
    """Prompts that follow a common tree of blocks for a while; an unfilled last block is a request's own."""
    names: dict[tuple[int, ...], int] = {}
    ids: list[int] = []
    offsets = [0]
    for prompt in prompts.tolist():
        node: tuple[int, ...] = ()
        own = False
        for block in range(-(-prompt // block_tokens)):
            own = own or chance.random() < 0.2 or (block + 1) * block_tokens > prompt
            node = (*node, len(names) + 2 if own else chance.randint(0, 1))
            ids.append(names.setdefault(node, len(names)))
        offsets.append(len(ids))
    return {"block_ids": np.array(ids), "block_offsets": np.array(offsets), "block_tokens": block_tokens}


@st.composite
def conversations(draw: st.DrawFn) -> Workload:
    """Turns that follow their predecessors' answers after a time of thinking."""
    work = draw(workloads())
    chance = random.Random(draw(st.integers(0, 2**32)))
    parent = [chance.randint(0, row - 1) if row and chance.random() < 0.7 else -1 for row in range(len(work))]
    think = [chance.choice((0.0, 0.1)) * chance.expovariate(1.0) for _ in parent]
    return work.replaced(parent=np.array(parent), think_s=np.array(think))


@st.composite
def closed_loops(draw: st.DrawFn) -> Workload:
    """A few users who wait for their answers."""
    users = ClosedLoop(draw(st.integers(1, 6)), draw(st.sampled_from((0.0, 0.0123))))
    return draw(workloads()).replaced(closed_loop=users)


# ---- deployments ----------------------------------------------------------------------------------------


@st.composite
def limits(draw: st.DrawFn, work: Workload) -> Limits:
    """Limits under which memory, slots or the budget bind; the largest request fits the pool."""
    block_size = draw(st.sampled_from((4, 16, 16)))
    if work.block_tokens and work.block_tokens < block_size:
        block_size = work.block_tokens
    need = int((work.prompt_tokens + work.output_tokens).max()) // block_size + 2
    return Limits(
        num_blocks=int(need * draw(st.sampled_from((1, 1.5, 3, 10)))),
        block_size=block_size,
        max_num_seqs=draw(st.sampled_from((1, 2, 8, MOST_SEQUENCES))),
        max_num_batched_tokens=draw(st.sampled_from((64, 300, 2048))),
        max_model_len=draw(st.sampled_from((131072, 131072, 150))),
        prefix_caching=draw(st.booleans()),
        chunked_prefill=draw(st.sampled_from((True, True, False))),
        mixed_steps=draw(st.sampled_from((True, True, False))),
        long_prefill_token_threshold=draw(st.sampled_from((0, 0, 32))),
        reserve_full_sequence=draw(st.booleans()),
        watermark_blocks=draw(st.sampled_from((0, 0, 2))),
        admission=draw(st.sampled_from(ADMISSIONS)),
        preemption=draw(st.sampled_from(PREEMPTIONS)),
    )


@st.composite
def host_memories(draw: st.DrawFn, limits: Limits) -> HostMemory:
    """Tiers from one block to more than anybody needs, over links from instant to slower than prefill."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    return HostMemory(
        num_blocks=draw(st.sampled_from((1, 30, 5000, 5000))),
        block_size=limits.block_size,
        block_bytes=1e3 * limits.block_size * (1 + chance.random()),
        link=Link(
            name="any",
            bandwidth=draw(st.sampled_from((1e12, 1e9, 3e7, 1e6))) * (1 + chance.random()),
            latency=draw(st.sampled_from((0.0, 1e-4))) * chance.random(),
        ),
        layers=2,
        messages=draw(st.sampled_from(MESSAGES)),
        writes=draw(st.sampled_from(WRITES)),
        reload=draw(st.sampled_from(RELOADS)),
        policy=draw(st.sampled_from(("lru", "fifo", "one_bit:keep=0.05"))),
    )


@st.composite
def linear_costs(draw: st.DrawFn) -> LinearCost:
    """Step times in general position, sometimes without a slope in the context."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    return LinearCost(
        1e-4 + 0.01 * chance.random(),
        per_sequence=1e-4 * chance.random(),
        per_context=draw(st.sampled_from((0.0, 1e-6, 1e-5))) * chance.random(),
        per_prefill_token=1e-5 * chance.random(),
        per_prefill_context=1e-8 * chance.random(),
    )


@cache
def bent_cost(seed: int) -> TableCost:
    """Compiled tables whose decode lines end after a few hundred tokens and go on with another slope."""
    chance = random.Random(seed)
    return TableCost(
        _bent_lines(chance, 0.001),
        [1e-3 + 1e-5 * tokens * chance.random() for tokens in range(MOST_TOKENS)],
        [1e-4] * MOST_TOKENS,
        rates=[(200, 1e-9, 1e-8, 1e-8, 1e-8, 1e-8, 1e-7, 1e-7, 1.5)],
    )


@cache
def lockstep_cost(seed: int) -> LockstepCost:
    """Tables of ranks that step together, with bent lines of attention."""
    chance = random.Random(-seed)
    own = [1e-3 + 1e-5 * tokens * chance.random() for tokens in range(MOST_TOKENS)]
    return LockstepCost(
        bent_cost(seed),
        [1e-3 + 1e-6 * tokens * chance.random() for tokens in range(4 * MOST_TOKENS)],
        own=own,
        attention_lines=_bent_lines(chance, 0.0),
        decode_own=[(seconds, 2e-3 * chance.random()) for seconds in own[: 2 * MOST_SEQUENCES]],
        decode_offset=1e-5,
    )


def _bent_lines(chance: random.Random, fixed: float) -> list[list[tuple[float, float, float]]]:
    """Three pieces per batch size, the last without an end."""
    lines = []
    for n in range(2 * MOST_SEQUENCES):
        bend = chance.uniform(1.0, 300.0) * (n + 1)
        slopes = [1e-6 * chance.random(), 2e-6 * chance.random(), 1e-6 * chance.random()]
        at = fixed + 1e-4 * n * chance.random()
        pieces = [(at, slopes[0], bend)]
        for slope, end in ((slopes[1], 2.5 * bend), (slopes[2], math.inf)):
            a, b, start = pieces[-1]
            pieces.append((a + (b - slope) * start, slope, end))
        lines.append(pieces)
    return lines


BENT_COSTS = st.integers(1, 9).map(bent_cost)
LOCKSTEP_COSTS = st.integers(1, 9).map(lockstep_cost)
SCHEDULES = st.sampled_from(
    [
        *policy_names("schedule"),
        "static:batch_size=4,wait=0.03",
        "static:batch_size=5,wait=0.1,hold=false",
        "static:batch_size=64",
    ]
)
CACHES = st.sampled_from(policy_names("cache"))
ROUTES = st.sampled_from(policy_names("route"))


@st.composite
def deployed(draw: st.DrawFn, work: Workload) -> Case:
    """`work` on anything: every schedule, cache and route policy, every limit, several replicas, both depths."""
    return Case(
        work,
        draw(limits(work)),
        draw(st.one_of(linear_costs(), BENT_COSTS)),
        schedule=draw(SCHEDULES),
        cache=draw(CACHES),
        route=draw(ROUTES),
        replicas=draw(st.integers(1, 3)),
        depth=draw(st.integers(1, 2)),
        frontend=draw(st.sampled_from((0.0, 0.0, 0.0021))),
        length=draw(LENGTHS),
    )


@st.composite
def deployed_in_lockstep(draw: st.DrawFn, work: Workload) -> Case:
    """The same on replicas of several ranks, each with its own queue and blocks, all in the same steps."""
    return Case(
        work,
        draw(limits(work)),
        draw(LOCKSTEP_COSTS),
        schedule=draw(SCHEDULES),
        cache=draw(CACHES),
        replicas=draw(st.integers(1, 2)),
        ranks=draw(st.integers(1, 4)),
        depth=draw(st.integers(1, 2)),
        length=draw(LENGTHS),
    )
