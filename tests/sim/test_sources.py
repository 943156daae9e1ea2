"""Where requests come from, and what happens to them before the engine."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sim import cases
from tests.sim.cases import Case, play

from hasten.core.limits import Limits
from hasten.core.policy import SchedulingPolicy
from hasten.core.request import Request
from hasten.latency import LinearCost
from hasten.sim.frontend import Frontend
from hasten.sim.source import Schedule
from hasten.workload import Workload
from hasten.workload.columns import ClosedLoop

FEW = settings(max_examples=settings().max_examples // 4)
LIMITS = Limits(10_000, max_num_seqs=32, max_num_batched_tokens=2048)
COST = LinearCost(0.01, per_sequence=1e-4, per_prefill_token=1e-5)


@FEW
@given(cases.workloads(), st.integers(1, 6), st.sampled_from((0.0, 0.05)))
def test_users_send_the_next_request_their_thinking_time_after_an_answer(work, users, think):
    """Little's law, the simple half: never more than `users` at once, and never fewer while rows are left."""
    closed = work.replaced(closed_loop=ClosedLoop(users, think))
    records = play(Case(closed, LIMITS, COST), stepping=False).records
    begins = sorted(records["arrival"])
    assert begins[:users] == [0.0] * min(users, len(work))
    ends = sorted(records["finish"] + think)
    assert begins[users:] == pytest.approx(ends[: max(0, len(work) - users)])


@FEW
@given(cases.conversations())
def test_turns_follow_their_parents(work):
    records = play(Case(work, LIMITS, COST), stepping=False).records
    for row, parent in enumerate(work.parent.tolist()):
        if parent < 0:
            assert records["arrival"][row] == work.arrival[row]
        else:
            assert records["arrival"][row] == records["finish"][parent] + work.think_s[row]


def test_a_long_schedule_is_read_by_the_piece(monkeypatch):
    monkeypatch.setattr(Schedule, "PIECE", 7)
    work = Workload(
        arrival=np.arange(30) * 0.5, prompt_tokens=np.arange(1, 31), output_tokens=np.arange(31, 61)
    )
    source = Schedule(work)
    found = []
    while source.next_time < np.inf:
        for request, output_tokens in source.take(4) if len(found) % 3 else [source.pop()]:
            found.append((request.id, request.arrival, request.prompt_tokens, output_tokens))
    assert found == [(row, 0.5 * row, row + 1, row + 31) for row in range(30)]


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.integers(1, 100)), min_size=1, max_size=20))
def test_a_front_end_is_a_queue_with_one_server(calls):
    frontend = Frontend(0.5, 0.01)
    now = free = 0.0
    for number, (gap, tokens) in enumerate(calls):
        now += gap
        free = max(free, now) + 0.5 + 0.01 * tokens
        assert frontend.deliver(Request(number, now, tokens, 1), now) == pytest.approx(free)


def test_without_costs_a_front_end_is_not_there():
    assert Frontend().deliver(Request(0, 3.0, 100, 1), 3.0) == 3.0


class Closed(SchedulingPolicy):
    """Lets nobody in."""

    def admits(self, view):
        return False


def test_requests_that_wait_for_ever_are_an_error_and_no_hang():
    work = Workload(arrival=np.zeros(2), prompt_tokens=np.array([5, 5]), output_tokens=np.array([1, 1]))
    with pytest.raises(RuntimeError, match="2 requests wait for ever"):
        play(Case(work, LIMITS, COST, schedule=Closed()), stepping=False)


def test_prompts_that_can_never_fit_are_turned_away_and_free_their_user():
    """Rows go 0 and 1, then 2: the one that is too long is rejected at once and its user goes on."""
    work = Workload(
        arrival=np.zeros(3),
        prompt_tokens=np.array([10, 400, 10]),
        output_tokens=np.array([5, 5, 5]),
        closed_loop=ClosedLoop(2),
    )
    records = play(Case(work, Limits(20, max_num_seqs=8), COST), stepping=False).records
    assert records["status"].tolist() == [0, 1, 0]
    assert records["arrival"][2] == 0.0
