"""The learnt router: what it weighs, when it holds, and that training is what its seeds say."""

import random

import pytest

from hasten.claims import intelligent_router as claim
from hasten.core.policy import HOLD
from hasten.core.request import Request
from hasten.core.view import ClusterView
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.latency.compiled import LinearCost
from hasten.policies.route.intelligent_router import IntelligentRouter
from hasten.sim.build import CostEstimates
from hasten.sim.run import simulate
from hasten.workload import Workload

COST = LinearCost(0.01, per_prefill_token=1e-3, per_sequence=2e-3, per_context=1e-6)


class Busy:
    """A replica as the router sees it, with figures of our own."""

    queued_tokens = 0
    token_budget = 512
    slots = 8

    def __init__(self, index: int, *, decodes: int = 0, usage: float = 0.0, outstanding: int = 1) -> None:
        self.index = index
        self.num_decodes = decodes
        self.decode_context = 100 * decodes
        self.kv_usage = usage
        self.outstanding = outstanding

    def cached_tokens(self, request: Request) -> int:
        return 0


def chosen(router: IntelligentRouter, *replicas: Busy) -> int:
    request = Request(0, 0.0, 200, 100)
    request.predicted_output = 50.0
    view = ClusterView(list(replicas), random.Random(0), CostEstimates(COST))  # type: ignore[arg-type]
    return router.choose(request, view)


def test_a_long_prompt_goes_where_it_stalls_fewest() -> None:
    stalls = IntelligentRouter(wait=0.0, stall=1.0, slowdown=0.0)
    assert chosen(stalls, Busy(0, decodes=6), Busy(1, decodes=2), Busy(2, decodes=4)) == 1


def test_each_weight_is_heard() -> None:
    few = {"wait": 0.0, "stall": 0.0, "slowdown": 0.0}
    assert chosen(IntelligentRouter(**few, crowding=1.0), Busy(0, usage=0.9), Busy(1, usage=0.2)) == 1
    assert chosen(IntelligentRouter(**few, queue=1.0), Busy(0, outstanding=3), Busy(1, outstanding=9)) == 0
    assert chosen(IntelligentRouter(**few), Busy(0), Busy(1)) == 0  # no harm anywhere: the first


def test_it_holds_only_while_all_are_over_the_limit() -> None:
    router = IntelligentRouter(hold=0.8)
    assert chosen(router, Busy(0, usage=0.9), Busy(1, usage=0.85)) == HOLD
    assert chosen(router, Busy(0, usage=0.9), Busy(1, usage=0.7)) == 1
    assert (
        chosen(router, Busy(0, usage=0.9), Busy(1, usage=0.9, outstanding=0)) == 1
    )  # its KV is only a cache


def test_held_requests_are_served_in_the_end() -> None:
    work = Workload(arrival=[0.0] * 40, prompt_tokens=[100] * 40, output_tokens=[60] * 40)
    served = Deployment.of("llama-3.1-8b", "h100-sxm", replicas=2, engine="hasten", kv_cache_tokens=1024)
    report = simulate(served, work, route=IntelligentRouter(hold=0.6), cost=COST, length="oracle")
    assert report.records.is_ok.all()


def test_training_follows_its_seed_and_never_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, ...]] = []

    def reward(weights: list[float]) -> float:
        asked.append(tuple(weights))
        return -sum((each - 0.3) ** 2 for each in weights)

    monkeypatch.setattr(claim, "reward", reward)
    found, history = claim.train.__wrapped__()
    again = claim.train.__wrapped__()
    assert (found, history) == again
    assert asked[0] == claim.START
    assert reward(list(found)) == history[-1] == max(history) > reward(list(claim.START))
    assert list(history) == sorted(history)
    assert claim.train.__wrapped__(True, 8) != again


def test_it_needs_a_latency_model_and_a_limit() -> None:
    with pytest.raises(InputError, match="needs a latency model"):
        IntelligentRouter().choose(Request(0, 0.0, 1, 1), ClusterView([], random.Random(0), None))
    with pytest.raises(InputError, match="hold is 0"):
        IntelligentRouter(hold=0.0)
    assert IntelligentRouter.learnt([1, 2, 3, 4, 5, 0.1]) == IntelligentRouter(1, 2, 3, 4, 5, hold=0.5)
