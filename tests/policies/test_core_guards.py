"""What the laws have found in the core, once each: proposals are only proposals, and refusals end when they must."""

import random
from dataclasses import dataclass

import pytest

from hasten.core.cluster import Cluster
from hasten.core.limits import Limits
from hasten.core.policy import LengthPredictor, RoutePolicy, SchedulingPolicy
from hasten.core.request import SLO, Request
from hasten.core.scheduler import Scheduler
from hasten.core.view import ClusterView, SchedulerView
from hasten.errors import InputError
from hasten.latency.compiled import LinearCost
from hasten.testing import check_books
from policies.broken_policies import Greedy, WrongVictim
from policies.play import calls, play, steps


def door(*schedulers: Scheduler, **policies: object) -> Cluster:
    return Cluster(
        [[scheduler] for scheduler in schedulers],
        policies.pop("route", RoutePolicy()),  # type: ignore[arg-type]
        random=lambda role: random.Random(role),
        **policies,  # type: ignore[arg-type]
    )


def test_too_many_tokens_are_cut() -> None:
    scheduler = Scheduler(Limits(100, max_num_batched_tokens=512), Greedy())
    scheduler.add(Request(0, 0.0, 300, 9), 0.0)
    batch = scheduler.schedule(0.0)
    assert batch is not None
    assert batch.tokens == 300
    check_books(scheduler)


def test_a_victim_that_does_not_run_is_not_preempted() -> None:
    limits = Limits(8, block_size=4, max_num_seqs=2)
    outcome = play(calls((0, 0, 0), (6, 6, 6), (16, 16, 16)), limits, schedule=WrongVictim, stepping=True)
    assert len(outcome.rows) == 3
    assert sum(row.preemptions for row in outcome.rows.values()) > 0


def test_a_router_can_not_choose_what_is_not_there() -> None:
    @dataclass
    class Beyond(RoutePolicy):
        def choose(self, request: Request, view: ClusterView) -> int:
            return len(view.replicas)

    cluster = door(*(Scheduler(Limits(9), SchedulingPolicy()) for _ in range(2)), route=Beyond())
    with pytest.raises(
        InputError, match="route policy Beyond chose replica 2 for request 5: there are 2, counted"
    ):
        cluster.place(Request(5, 0.0, 1, 1), 0.0)


def test_a_request_that_is_turned_away_teaches_no_predictor() -> None:
    heard: list[int] = []

    @dataclass
    class Listens(LengthPredictor):
        def on_finish(self, request: Request, output_tokens: int) -> None:
            heard.append(output_tokens)

    cluster = door(Scheduler(Limits(9), SchedulingPolicy()), length=Listens())
    for id, tokens in ((0, 0), (1, 7)):
        request = Request(id, 0.0, 1, 10)
        cluster.ended(request, cluster.place(request, 0.0), tokens)
    assert heard == [7]


def test_queued_tokens_count_what_the_engine_has_not_drained() -> None:
    scheduler = Scheduler(Limits(100, max_num_batched_tokens=256), SchedulingPolicy())
    cluster = door(scheduler)
    view = cluster.views[0]
    for id in range(3):
        cluster.place(Request(id, 0.0, 100, 9), 0.0)
    assert view.queued_tokens == 300
    requests = [Request(id, 0.0, 100, 9) for id in range(3)]
    for request in requests:
        scheduler.add(request, 0.0)
    assert view.queued_tokens == 300
    scheduler.schedule(0.0)  # 100 + 100 + 56
    assert view.queued_tokens == 44
    scheduler.complete(0.1)
    scheduler.schedule(0.1)
    assert view.queued_tokens == 0


def test_routers_find_prefixes_with_ids_finer_than_blocks() -> None:
    scheduler = Scheduler(Limits(100, block_size=16), SchedulingPolicy())
    cluster = door(scheduler)
    ids = tuple(range(16))
    first, second = (Request(id, 0.0, 64, 9, block_ids=ids, block_tokens=4) for id in range(2))
    cluster.place(first, 0.0)
    scheduler.add(first, 0.0)
    scheduler.schedule(0.0)
    cluster.place(second, 0.1)
    assert cluster.views[0].cached_tokens(second) == 48


def test_held_members_give_up_their_kv_first() -> None:
    """Without it the last member would be preempted for blocks that only the finished hold, and nothing would run."""
    limits = Limits(6, block_size=4, max_num_seqs=4)
    outcome = play(calls((0, 0), (8, 8), (1, 14)), limits, schedule="static", stepping=True)
    assert [outcome.rows[id].preemptions for id in range(2)] == [0, 0]
    assert outcome.rows[0].finish == outcome.rows[1].finish


def test_a_time_out_works_although_nothing_waited_at_first() -> None:
    outcome = play(calls((0.5,), (5,), (5,)), schedule="static:batch_size=2,wait=0.25")
    assert outcome.rows[0].scheduled == 0.75


def test_a_chunk_may_wait_for_a_time() -> None:
    """A policy that holds a prompt back between chunks is woken when it said."""

    @dataclass
    class Pause(SchedulingPolicy):
        def chunk(self, request: Request, wanted: int, view: SchedulerView) -> int:
            return min(wanted, 10) if view.now >= 0.3 * (request.computed // 10) else 0

        def wakes_at(self, view: SchedulerView) -> float:
            return 0.3 * (int(view.now / 0.3 + 1e-9) + 1)

    outcome = play(calls((0,), (30,), (2,)), schedule=Pause, stepping=True)
    assert outcome.rows[0].first_token == pytest.approx(0.61)


def test_an_eviction_may_let_a_waiting_request_in() -> None:
    """Engines that ask only for the first chunk: whose cached prefix is evicted has less to hold, and may fit.

    So its refusal does not last while another decodes, and a jump must not take it for granted.
    """
    limits = Limits(65, block_size=4, max_num_seqs=8, max_num_batched_tokens=64, reserve_full_sequence=False)
    arriving = calls((0, 0), (98, 170), (18, 1), block_ids=((), tuple(range(42))), block_tokens=(0, 4))
    cost = LinearCost(0.001, per_sequence=4e-5, per_context=1e-5, per_prefill_token=1.5e-6)
    stepped, jumped = (
        play(arriving, limits, cost=cost, cache="fifo", stepping=stepping) for stepping in (True, False)
    )
    assert stepped.rows[1].preemptions > 1
    for id in range(2):
        assert jumped.rows[id].preemptions == stepped.rows[id].preemptions
        assert jumped.rows[id].finish == pytest.approx(stepped.rows[id].finish, rel=1e-12)


def test_equal_prompts_do_not_evict_each_other_for_ever() -> None:
    limits = Limits(
        20,
        block_size=4,
        max_num_seqs=8,
        long_prefill_token_threshold=8,
        reserve_full_sequence=False,
        preemption="fewest_generated",
    )
    for schedule in ("fcfs", "prefill_first", "priority"):
        for arrivals in ((0, 0), (0, 0.001)):
            outcome = play(calls(arrivals, (60, 60), (9, 9)), limits, schedule=schedule)
            assert outcome.rows[0].preemptions == 0
            assert outcome.rows[1].finish > outcome.rows[0].finish


def test_the_gate_sees_a_burst() -> None:
    arriving = calls([0.0] * 9, [100] * 9, [2] * 9, slo=[SLO(ttft=0.035)] * 9)
    outcome = play(arriving, Limits(500, max_num_batched_tokens=256), admit="slo_gate")
    served = [id for id, row in outcome.rows.items() if row.status == 0]
    assert served == [0, 1, 2, 3, 4, 5, 6]  # three steps of 256 tokens: seven prompts
    assert steps(outcome, 6, "first_token") == 3
