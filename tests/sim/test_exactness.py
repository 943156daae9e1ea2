"""The law of jump-ahead: skipping steps that decide nothing changes no result, to 1e-9 relative.

Stepping is the reference. Every run also keeps its books: everybody ends, each token is emitted once, all KV blocks
come back.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sim import cases
from tests.sim.cases import Case, check_complete, check_equal, play

from hasten.core.policy import SchedulingPolicy
from hasten.core.request import Request
from hasten.core.view import SchedulerView
from hasten.policies.route.round_robin import RoundRobin

FEW = settings(max_examples=settings().max_examples // 2)


def check(case: Case) -> None:
    stepped = play(case, stepping=True)
    jumped = play(case, stepping=False)
    check_complete(case, stepped)
    check_equal(jumped, stepped)
    assert jumped.turns <= stepped.turns


@FEW
@given(st.data())
def test_jumps_equal_steps(data):
    """Open loop, on anything."""
    check(data.draw(cases.deployed(data.draw(cases.workloads()))))


@FEW
@given(st.data())
def test_jumps_equal_steps_when_arrivals_depend_on_answers(data):
    """Users who wait for answers, and conversations: what comes next starts from a time that a jump computed."""
    work = data.draw(st.one_of(cases.closed_loops(), cases.conversations()))
    check(
        Case(
            work,
            data.draw(cases.limits(work)),
            data.draw(cases.linear_costs()),
            schedule=data.draw(cases.SCHEDULES),
            depth=data.draw(st.integers(1, 2)),
        )
    )


@dataclass
class Moody(SchedulingPolicy):
    """Promises nothing: ranks move with time, doors close at times, chunks are small, the horizon is as inherited."""

    chunk_tokens: int = 20

    def rank(self, request: Request, view: SchedulerView) -> float:
        return (request.id * 7 + int(view.now * 100)) % 5

    def admits(self, view: SchedulerView) -> bool:
        return view.steps_decoded % 3 != 1 or not view.num_running

    def chunk(self, request: Request, wanted: int, view: SchedulerView) -> int:
        return min(wanted, self.chunk_tokens)


@FEW
@given(st.data())
def test_jumps_equal_steps_for_a_policy_that_cannot_tell_its_horizon(data):
    work = data.draw(cases.workloads(most=12))
    check(
        Case(
            work,
            data.draw(cases.limits(work)),
            data.draw(cases.linear_costs()),
            schedule=Moody(),
            depth=data.draw(st.integers(1, 2)),
        )
    )


@FEW
@given(st.data())
def test_jumps_of_ranks_in_lockstep_equal_steps(data):
    check(data.draw(cases.deployed_in_lockstep(data.draw(cases.workloads()))))


@dataclass
class Looking(RoundRobin):
    """In turn too, but the simulator is not told that nobody's load matters: replicas keep to one clock."""

    reads_load: ClassVar[bool] = True


@given(st.data())
def test_replicas_that_run_apart_do_the_same_to_the_bit(data):
    work = data.draw(cases.workloads(most=80))
    case = Case(
        work,
        data.draw(cases.limits(work)),
        data.draw(cases.linear_costs()),
        schedule=data.draw(cases.SCHEDULES),
        cache=data.draw(cases.CACHES),
        replicas=data.draw(st.integers(2, 3)),
        depth=data.draw(st.integers(1, 2)),
        frontend=data.draw(st.sampled_from((0.0, 0.0021))),
        length="oracle",
    )
    apart = play(case, stepping=False)
    together = play(replace(case, route=Looking()), stepping=False)
    for name in cases.COLUMNS:
        np.testing.assert_array_equal(apart.records[name], together.records[name], name)
    assert apart.gaps.tolist() == together.gaps.tolist()
    for mine, theirs in zip(apart.loops, together.loops, strict=True):
        assert (mine.steps, mine.busy, mine.kv_block_seconds) == (
            theirs.steps,
            theirs.busy,
            theirs.kv_block_seconds,
        )
