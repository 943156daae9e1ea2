"""Ranks that share experts: who gets a request, what a step costs, and when it is one replica and not several."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sim import cases
from tests.sim.cases import Case, check_equal, play

from hasten.core.batch import Chunk
from hasten.core.limits import Limits
from hasten.core.policy import SchedulingPolicy
from hasten.core.request import Request
from hasten.core.scheduler import Scheduler
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.latency import LinearCost, TableCost
from hasten.sim.lockstep import LockstepReplica
from hasten.sim.recorder import Recorder
from hasten.sim.run import simulate
from hasten.workload import Workload

COST = cases.lockstep_cost(1)
LIMITS = Limits(1000, max_num_seqs=8, max_num_batched_tokens=2048)


def replica(ranks: int, truth: dict[int, int], depth: int = 1) -> LockstepReplica:
    schedulers = [Scheduler(LIMITS, SchedulingPolicy()) for _ in range(ranks)]
    return LockstepReplica(0, schedulers, COST, Recorder(), truth, depth=depth)


@settings(max_examples=settings().max_examples // 4)
@given(st.data())
def test_one_rank_alone_is_an_ordinary_replica(data):
    """With a cost that prices one rank as it prices a lone replica, both drivers do the same."""
    deployment = Deployment.of(
        "qwen3-30b-a3b", "rtx-pro-6000", dp=2, ep=2, max_num_seqs=32, max_num_batched_tokens=2048
    )
    work = data.draw(cases.workloads())
    common = {"schedule": data.draw(cases.SCHEDULES), "depth": data.draw(st.integers(1, 2))}
    limits = data.draw(cases.limits(work))
    together = play(Case(work, limits, deployment.cost, **common), stepping=False)

    cost = deployment.cost
    alone = TableCost(
        cost.lines,
        cost.dense,
        cost.head,
        rates=cost.rates,
        stages=cost.stages,
        graph_tokens=cost.graph_tokens,
        host_graph=cost.host_graph,
        host_eager=cost.host_eager,
        offset=cost.offset,
        measured=cost.measured,
    )
    check_equal(together, play(Case(work, limits, alone, **common), stepping=False))


def test_a_request_goes_to_the_rank_with_the_least_load():
    """Four times who waits plus who runs; of equals the first."""
    truth = dict.fromkeys(range(9), 50)
    loop = replica(3, truth)
    for number in range(4):
        loop.deliver(Request(number, 0.0, 10, 100), 0.0)
    loop.turn()
    assert [list(rank.running) for rank in loop.ranks] == [[0, 3], [1], [2]]
    for number in range(4, 9):
        loop.deliver(Request(number, 1e-6, 10, 100), 1e-6)
    loop.turn()
    assert [list(rank.running) for rank in loop.ranks] == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]


@pytest.mark.parametrize("depth", [1, 2])
def test_a_step_lasts_as_long_as_all_ranks_together_say(depth):
    """A long prompt on rank 0 makes the short one on rank 1 wait; then both decode; then one, beside an idle rank."""
    work = Workload(arrival=np.zeros(2), prompt_tokens=np.array([500, 10]), output_tokens=np.array([3, 2]))
    run = play(Case(work, LIMITS, COST, ranks=2, depth=depth), stepping=False)
    first = COST.lockstep_mixed(
        [([Chunk(Request(0, 0.0, tokens, 9), tokens, 0, True)], 0, 0) for tokens in (500, 10)]
    )
    a, b, _, leader, _ = COST.lockstep_decode_line([(1, 500), (1, 10)])
    assert leader == 0
    both = first + a + b * 500
    wasted = [(1, 501), (1, 11)] if depth == 2 else [(1, 501), (0, 0)]  # the stop is seen one step late
    a, b, _, _, _ = COST.lockstep_decode_line(wasted)
    assert run.records["first_token"] == pytest.approx([first, first])
    assert run.records["finish"] == pytest.approx([both + a + b * 501, both])
    assert run.loops[0].steps == 2 + depth


def test_an_arrival_waits_for_the_step_of_all_ranks():
    """Rank 1 is idle, but it can't start before rank 0's long prefill has ended."""
    work = Workload(
        arrival=np.array([0.0, 1e-6]), prompt_tokens=np.array([2000, 10]), output_tokens=np.array([1, 1])
    )
    run = play(Case(work, LIMITS, COST, ranks=2), stepping=False)
    assert run.records["scheduled"][1] == run.records["first_token"][0] > 0.0


WORK = Workload(
    arrival=np.cumsum(np.random.default_rng(1).exponential(0.05, 200)),
    prompt_tokens=np.random.default_rng(2).integers(10, 800, 200),
    output_tokens=np.random.default_rng(3).integers(1, 120, 200),
)


@pytest.mark.parametrize("engine", ["vllm", "vllm-0.8.5", "sglang", "trtllm"])
def test_a_deployment_with_shared_experts_is_one_replica_of_all_its_ranks(engine):
    together = Deployment.of("qwen3-30b-a3b", "h100-sxm", dp=2, ep=2, engine=engine, max_num_seqs=16)
    apart = Deployment.of("qwen3-30b-a3b", "h100-sxm", dp=2, ep=1, engine=engine, max_num_seqs=16)
    one, two, stepped = (
        simulate(together, WORK),
        simulate(apart, WORK),
        simulate(together, WORK, stepping=True),
    )
    assert [each.num_blocks for each in one.stats.replicas] == [2 * together.kv.usable_blocks]
    assert len(two.stats.replicas) == 2
    for name in ("first_token", "finish"):
        columns = [getattr(report.records, name) for report in (one, stepped)]
        np.testing.assert_allclose(*columns, rtol=1e-9)
    assert one.stats.replicas[0].steps == stepped.stats.replicas[0].steps


def test_step_times_of_one_rank_do_not_price_ranks_together():
    deployment = Deployment.of("qwen3-30b-a3b", "h100-sxm", dp=2, ep=2)
    with pytest.raises(InputError, match="step times are a LinearCost, but dp2 ep2"):
        simulate(deployment, WORK, cost=LinearCost(0.01))
