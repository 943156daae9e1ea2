"""Capacities: a server whose answer is known, and the bounds that none exceeds."""

import math

import pytest
from tests.plan.build import LOOSE, planned, work

from hasten.core.batch import Chunk
from hasten.core.request import SLO, Request
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.plan import Constraints, capacity
from hasten.plan.bisection import find_capacity
from hasten.plan.bounds import bounds_of
from hasten.plan.probe import Setting, replica_stream, resampled, run, slowed, stretched
from hasten.sim.run import simulate
from hasten.workload import parse_workload

ONE_BY_ONE = Deployment.of(
    "llama-3.1-8b", "h100-sxm", engine="hasten-0.1", max_num_seqs=1, prefix_caching=False
)


def single_steps(num: int = 300):
    """Equal prompts at equal distances, answered by one token: a server that takes one step for each."""
    return parse_workload(f"constant:rate=5,prompt=512,output=1,n={num}")


def step_seconds(deployment) -> float:
    return deployment.cost.mixed([Chunk(Request(0, 0.0, 512, 1), 512, 0, True)], 0, 0)


@pytest.mark.parametrize("replicas", [1, 3])
def test_a_server_of_single_steps_holds_one_request_per_step(replicas):
    found = capacity(ONE_BY_ONE.with_replicas(replicas), single_steps(), SLO(ttft=0.1), jobs=1)
    assert found.rate == pytest.approx(replicas / step_seconds(ONE_BY_ONE), rel=0.08)
    assert found.low <= found.rate <= found.high


def test_steps_twice_as_long_halve_the_capacity():
    plain = capacity(ONE_BY_ONE, single_steps(), SLO(ttft=0.1), jobs=1)
    slow = capacity(ONE_BY_ONE, single_steps(), SLO(ttft=0.2), pessimism=1.0, jobs=1)
    assert slow.rate == pytest.approx(plain.rate / 2, rel=0.06)


def test_a_slowed_deployment_is_slower_by_the_factor():
    a, b, limit = ONE_BY_ONE.cost.decode_line(1, 100)
    assert slowed(ONE_BY_ONE, 1.5).cost.decode_line(1, 100) == pytest.approx((1.5 * a, 1.5 * b, limit))
    assert step_seconds(slowed(ONE_BY_ONE, 1.5)) == pytest.approx(1.5 * step_seconds(ONE_BY_ONE))


@pytest.mark.parametrize("device", ["l40s", "h100-sxm"])
@pytest.mark.parametrize("slo", [LOOSE, SLO(ttft=30.0, tpot=1.0), SLO(e2e=60.0)])
def test_no_capacity_exceeds_the_ceiling_and_no_latency_beats_the_empty_server(device, slo):
    traffic, constraints = work(12.0, 400), Constraints(slo)
    one = Deployment.of("llama-3.1-8b", device)
    setting = Setting(traffic, constraints, (one,))
    bounds = bounds_of(one, traffic, constraints)
    found = find_capacity(setting, one, traffic, ceiling=bounds.rate)
    assert 0.0 < found.holds <= found.likely <= bounds.rate
    # All at once: what is done by the end can't have come faster than the ceiling.
    report = simulate(one, traffic.scaled(rate=math.inf))
    assert len(traffic) / report.duration <= bounds.rate
    slowest = run(setting, one, stretched(traffic, 50.0), rate=traffic.rate / 50)
    for least, reached in zip(bounds.checks, slowest.checks, strict=True):
        assert least.name == reached.name
        assert least.value <= reached.value * 1.02


def test_the_ends_of_a_bisection_hold_and_fail():
    one = Deployment.of("llama-3.1-8b", "l40s")
    setting = Setting(work(12.0, 400), Constraints(LOOSE), (one,))
    found = find_capacity(setting, one, setting.work, ceiling=20.0)
    assert found.holding.holds
    assert not found.failing.holds
    assert found.holds <= found.likely <= found.fails <= found.holds * 1.05
    again = run(setting, one, stretched(setting.work, setting.work.rate / found.holds), rate=found.holds)
    assert again == found.holding


def test_in_capacity_mode_the_least_cost_per_request_is_best():
    found = planned(rate="capacity", work=work(12.0, 200))
    per_request = [row.cost / row.capacity for row in found.rows[1:]]
    assert per_request == sorted(per_request)
    assert found.best.interval.low < found.best.capacity < found.best.interval.high
    assert math.isnan(found.rate)
    bigger = planned(rate="capacity", work=work(12.0, 200), max_devices=2, tp=(1,), devices=("l40s",))
    assert bigger.best.deployment.replicas == 2


# -- the requests one replica sees


def test_a_replica_s_stream_is_a_dealt_share():
    traffic = work(12.0, 300)
    share = replica_stream(traffic, 3)
    assert len(share) == 100
    assert share.rate == pytest.approx(traffic.rate / 3, rel=0.05)
    assert (share.prompt_tokens == traffic.prompt_tokens[::3]).all()
    whole = replica_stream(traffic, 1)
    assert whole.arrival == pytest.approx(traffic.arrival - traffic.arrival[0])


def test_a_sample_of_a_long_stream_keeps_its_rate_and_mix():
    traffic = work(12.0, 9000)
    sample = replica_stream(traffic, 2, size=2000)
    assert len(sample) == 2000
    assert sample.rate == pytest.approx(traffic.rate / 2, rel=0.1)
    assert sample.prompt_tokens.mean() == pytest.approx(traffic.prompt_tokens.mean(), rel=0.1)


def test_conversations_are_not_torn_apart():
    traffic = parse_workload("mooncake-conversation").head(3000)
    sample = replica_stream(traffic, 4, size=500)
    assert sample.prompt_tokens.tolist() == traffic.prompt_tokens[:500].tolist()
    with pytest.raises(InputError, match="can't be resampled"):
        resampled(traffic, 0)


def test_resamples_differ_and_repeat_by_seed():
    traffic = work(12.0, 300)
    first, second = resampled(traffic, 0), resampled(traffic, 1)
    assert first.prompt_tokens.tolist() != second.prompt_tokens.tolist()
    assert first.arrival.tolist() == resampled(traffic, 0).arrival.tolist()
    assert first.rate == pytest.approx(traffic.rate, rel=0.3)
