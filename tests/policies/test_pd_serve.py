"""Forwarding on rejection: who is refused, who is kept, and that keeping costs the wait alone."""

import random

import pytest

from hasten.core.policy import HOLD, REFUSED, RoutePolicy
from hasten.core.request import SLO, Request
from hasten.core.view import ClusterView, ReplicaView
from hasten.deployment import Deployment
from hasten.disaggregation import Disaggregated
from hasten.errors import InputError
from hasten.latency.compiled import LinearCost
from hasten.plan.pd_ratio import Group, adjusted, allot
from hasten.policies.route.pd_serve import PdServe
from hasten.report.records import Status
from hasten.report.report import Report
from hasten.sim.run import simulate
from hasten.workload import Workload

COST = LinearCost(1e-9, per_prefill_token=0.01)


def view(now: float, *outstanding: int) -> ClusterView:
    replicas = [ReplicaView(index, []) for index in range(len(outstanding))]
    for replica, number in zip(replicas, outstanding, strict=True):
        replica.outstanding = number
    made = ClusterView(replicas, random.Random(0), None)
    made.now = now
    return made


def play(rows: list[tuple[float, int]], route: RoutePolicy, slo: SLO | None = None) -> Report:
    """Prompts of 10 ms per token on two instances."""
    arrival, prompt = zip(*rows, strict=True)
    work = Workload(arrival=arrival, prompt_tokens=prompt, output_tokens=[1] * len(rows))
    served = Deployment.of("llama-3.1-8b", "h100-sxm", replicas=2, engine="hasten", max_num_seqs=1)
    return simulate(served, work, route=route, cost=COST, slo=slo)


def test_a_free_slot_takes_it_and_a_full_instance_refuses() -> None:
    router = PdServe(slots=2)
    assert router.choose(Request(0, 0.0, 1, 1), view(0.0, 2, 1, 1)) == 1
    assert router.choose(Request(0, 0.0, 1, 1), view(0.0, 2, 2)) == HOLD
    late = Request(0, 0.0, 1, 1, slo=SLO(ttft=0.5))
    assert router.choose(late, view(0.5, 2, 2)) == HOLD
    assert router.choose(late, view(0.6, 0, 0)) == REFUSED


def test_a_kept_request_goes_to_whoever_is_free_first() -> None:
    # 1 s at replica 0, 0.3 s at replica 1; the third waits at the gateway until replica 1 is free.
    report = play([(0.0, 100), (0.0, 30), (0.1, 10)], PdServe(slots=1, wait=0.01))
    found = report.records
    assert found.replica[found.id.argsort()].tolist() == [0, 1, 1]
    waited = (found.first_token - found.arrival)[found.id == 2][0]
    assert 0.2 + 0.1 <= waited <= 0.2 + 0.1 + 0.01 + 1e-6


def test_the_gateway_gives_up_when_the_limit_has_passed() -> None:
    report = play([(0.0, 100), (0.0, 100), (0.1, 10)], PdServe(slots=1, wait=0.01), SLO(ttft=0.2))
    assert report.count(Status.REJECTED) == 1
    assert report.records.status[report.records.id == 2] == Status.REJECTED


@pytest.mark.parametrize("options", [{"slots": 0}, {"wait": 0.0}, {"wait": float("nan")}])
def test_parameters_have_limits(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match="it must be"):
        PdServe(**options)


def test_a_computed_prompt_can_not_be_kept() -> None:
    class Keeps(RoutePolicy):
        def choose(self, request: Request, view: ClusterView) -> int:
            return HOLD

    each = Deployment.of("llama-3.1-8b", "h100-sxm", replicas=2)
    work = Workload(arrival=[0.0], prompt_tokens=[5], output_tokens=[5])
    with pytest.raises(InputError, match="decode_route Keeps keeps or refuses request 0"):
        simulate(Disaggregated.of(each, each, "nvlink4"), work, decode_route=Keeps())


# ---- ratios -------------------------------------------------------------------------------------------------------


def test_instances_go_where_the_total_is_tightest() -> None:
    groups = [
        Group(share=0.5, prefill_rate=4.0, decode_rate=1.0),
        Group(share=0.5, prefill_rate=1.0, decode_rate=1.0),
    ]
    found = allot(9, groups)
    assert sum(map(sum, found)) == 9
    least = min(group.carries(*count) for group, count in zip(groups, found, strict=True))
    others = [
        min(groups[0].carries(a, b), groups[1].carries(c, 9 - a - b - c))
        for a in range(1, 7)
        for b in range(1, 8 - a)
        for c in range(1, 9 - a - b)
    ]
    assert least == max(others)
    with pytest.raises(InputError, match="give two for each"):
        allot(3, groups)
    with pytest.raises(InputError, match="decode_rate is 0"):
        Group(share=1.0, prefill_rate=1.0, decode_rate=0.0)


def test_an_instance_moves_only_where_that_helps() -> None:
    assert adjusted(4, 4, 0.4, 0.9) == (3, 5)
    assert adjusted(4, 4, 0.9, 0.4) == (5, 3)
    assert adjusted(4, 4, 0.7, 0.72) == (4, 4)
    assert adjusted(1, 4, 0.1, 0.9) == (1, 4)
    with pytest.raises(InputError, match=r"prefill_busy is 1\.5"):
        adjusted(1, 1, 1.5, 0.1)
