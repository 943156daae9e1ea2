"""Attribution of prefill and decode pools: the sum law, closed forms of what happens between, and planted waits."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.explain.laws import check_equal, check_sums
from tests.sim import cases
from tests.sim.test_pools import COST, LINK, pools, work

from hasten.disaggregation import Disaggregated
from hasten.explain.attribution import Attribution
from hasten.explain.labels import DECODE_POOL, LABELS, QUEUE
from hasten.explain.setup import attributed
from hasten.hardware import Link
from hasten.report.report import Report
from hasten.sim.run import simulate
from hasten.sim.steps import StepLog
from hasten.workload import Workload

FEW = settings(max_examples=settings().max_examples // 4)
QUICK = Link(name="quick", bandwidth=1e13, latency=0.0, efficiency=1.0)


def explained(
    deployment: Disaggregated, traffic: Workload, **options: Any
) -> tuple[Report, Attribution, StepLog]:
    log = StepLog()
    report = simulate(deployment, traffic, cost=COST, log=log, **options)
    return report, attributed(deployment, traffic, report, log, cost=(COST, COST)), log


@FEW
@given(st.data())
def test_labels_sum_to_the_latency(data: st.DataObject) -> None:
    traffic = data.draw(st.one_of(cases.workloads(), cases.conversations()))
    longest = int((traffic.prompt_tokens + traffic.output_tokens).max())
    room = -(-(longest + 32) // 64) * 64
    deployment = pools(
        data.draw(st.integers(1, 2)),
        data.draw(st.integers(1, 2)),
        link=data.draw(st.sampled_from((LINK, QUICK))),
        engine=data.draw(st.sampled_from(["vllm", "sglang"])),
        kv_cache_tokens=int(room * data.draw(st.sampled_from((1, 1.5, 4)))) // 64 * 64,
        max_model_len=longest + 1,
        max_num_seqs=data.draw(st.sampled_from((1, 2, 32))),
        max_num_batched_tokens=data.draw(st.sampled_from((64, 300, 2048))),
        block_size=16,
        watermark=0.0,
    )
    options = {
        "schedule": data.draw(cases.SCHEDULES),
        "route": data.draw(cases.ROUTES),
        "decode_route": data.draw(st.sampled_from(["round_robin", "least_outstanding"])),
        "length": "mean:prior=20",
    }
    found = explained(deployment, traffic, **options)[1]
    check_sums(found)
    check_equal(found, explained(deployment, traffic, stepping=True, **options)[1])


def test_one_request_crosses_the_link_once() -> None:
    deployment = pools()
    report, found, log = explained(deployment, work([(0.0, 100, 3)]))
    labels = found.of(0)
    assert labels["kv_transfer"] == pytest.approx(deployment.transfer_seconds(100))
    assert labels["prefill_own"] == pytest.approx(0.01 + 100 * 1e-4)
    assert labels["decode"] == pytest.approx(2 * (0.01 + 1e-4) + 101 * 1e-8)
    assert set(labels) <= {"kv_transfer", "prefill_own", "decode", "front_end"}
    assert [rank.role for rank in log.ranks] == ["prefill", "decode"]
    assert report.records.is_ok.all()


def test_the_second_on_a_link_waits_for_the_first() -> None:
    """Both prompts end with the same step, and a decode replica pulls one after the other."""
    deployment = pools(max_num_batched_tokens=2048, engine="vllm")
    _, found, log = explained(deployment, work([(0.0, 300, 5), (0.0, 300, 5)]))
    one, other = sorted(log.handovers.values(), key=lambda way: way.begins)
    assert other.begins == one.arrives
    waited = [found.of(request).get("kv_link", 0.0) for request in (0, 1)]
    assert sorted(waited) == pytest.approx([0.0, one.arrives - other.pulled])
    assert max(waited) > 0.0


def test_no_room_in_the_decode_pool_has_its_own_label() -> None:
    deployment = pools(kv_cache_tokens=256, max_model_len=256)
    _, found, _ = explained(deployment, work([(0.0, 150, 50), (0.0, 150, 50)]))
    assert max(found.of(each).get("decode_pool_memory", 0.0) for each in (0, 1)) > 0.3
    assert max(found.of(each).get("queue_memory", 0.0) for each in (0, 1)) > 0.0  # its prompt's blocks stay


def test_a_slow_decode_replica_is_charged_with_its_excess() -> None:
    rows = [(0.0, 100, 20)]
    fast, slow = (
        explained(pools(), work(rows), speeds=speeds)[1].of(0) for speeds in ((1.0, 1.0), (1.0, 0.5))
    )
    assert slow["slow_replica"] == pytest.approx(fast["decode"], rel=1e-6)


def test_every_label_of_a_queue_is_a_label() -> None:
    for queue in (QUEUE, DECODE_POOL):
        names = {*queue.refusals, *(each for each in queue if isinstance(each, str))}
        assert names <= set(LABELS)
