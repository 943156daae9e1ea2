"""Routers, caches, length predictors and gates, each in a case small enough to follow by hand."""

import math
import random
from collections import Counter
from typing import Any

import pytest

from hasten.core.cluster import Cluster
from hasten.core.limits import Limits
from hasten.core.policy import LengthPredictor, RoutePolicy, SchedulingPolicy
from hasten.core.request import SLO, Request
from hasten.core.scheduler import Scheduler
from hasten.core.view import ClusterView, ReplicaView
from hasten.errors import InputError
from hasten.latency.compiled import LinearCost
from hasten.policies import load_policy
from hasten.sim.build import CostEstimates
from policies.play import calls, play


def replicas_of(outcome: Any) -> list[int]:
    return [outcome.rows[id].replica for id in sorted(outcome.rows)]


# ---- route ----------------------------------------------------------------------------------------------


def test_round_robin_takes_turns_whatever_the_ids() -> None:
    view = ClusterView([ReplicaView(index, []) for index in range(3)], random.Random(0), None)
    router = load_policy("route", "round_robin")
    assert [router.choose(Request(id, 0.0, 1, 1), view) for id in (9, 2, 2, 40, 7)] == [0, 1, 2, 0, 1]


def test_least_outstanding_avoids_the_busy() -> None:
    arriving = calls((0, 0.001, 0.1, 0.2), (5,) * 4, (500, 2, 2, 2))
    assert replicas_of(play(arriving, replicas=2, route="least_outstanding")) == [0, 1, 1, 1]


def test_power_of_two_takes_the_better_of_two_different_ones() -> None:
    views = [ReplicaView(index, []) for index in range(4)]
    view = ClusterView(views, random.Random(3), None)
    router = load_policy("route", "power_of_two")
    for index, replica in enumerate(views):
        replica.outstanding = index
    drawn = Counter(router.choose(Request(0, 0.0, 1, 1), view) for _ in range(6000))
    # The busiest is never the better of two different ones; the others win 3, 2 and 1 of the 6 pairs.
    for index, pairs in enumerate((3, 2, 1)):
        assert drawn[index] == pytest.approx(1000 * pairs, abs=150)
    assert drawn[3] == 0


def test_prefix_affinity_follows_the_prefix_until_the_replica_is_overloaded() -> None:
    same = tuple(range(100, 110))
    arriving = calls(
        (0, 0.5, 1.0, 1.1, 1.2, 1.3),
        (160,) * 6,
        (20, 20, 500, 500, 500, 500),
        block_ids=(same, tuple(range(10)), same, same, same, same),
        block_tokens=(16,) * 6,
    )
    follow = replicas_of(play(arriving, replicas=2, route="prefix_affinity:slack=9"))
    assert follow == [0, 0, 0, 0, 0, 0] or follow[2:] == [follow[0]] * 4
    strict = replicas_of(play(arriving, replicas=2, route="prefix_affinity:slack=1"))
    assert strict[2:] == [0, 0, 1, 0] or set(strict[2:]) == {0, 1}


def test_prefix_affinity_without_ids_is_least_outstanding() -> None:
    arriving = calls([0.01 * k for k in range(30)], (20,) * 30, [2 + 7 * k % 50 for k in range(30)])
    one = replicas_of(play(arriving, replicas=3, route="prefix_affinity"))
    other = replicas_of(play(arriving, replicas=3, route="least_outstanding"))
    assert one == other


def test_prefix_affinity_saves_prompt_tokens() -> None:
    """Four groups with a common prefix each, on three replicas: a group stays where its prefix is."""
    groups = [[1000 * group + k for k in range(20)] for group in range(4)]
    count = 80
    arriving = calls(
        [0.05 * k for k in range(count)],
        [340] * count,
        [5] * count,
        block_ids=[(*groups[k * k % 4], 10**6 + k) for k in range(count)],
        block_tokens=[16] * count,
    )
    limits = Limits(60, max_num_seqs=4)
    cached = {
        route: sum(row.cached_tokens for row in play(arriving, limits, replicas=3, route=route).rows.values())
        for route in ("round_robin", "prefix_affinity")
    }
    assert cached["prefix_affinity"] > 1.05 * cached["round_robin"]


# ---- cache ----------------------------------------------------------------------------------------------


def test_lru_keeps_what_is_reused_and_fifo_does_not() -> None:
    """A is reused before C evicts someone: LRU gives up B, FIFO gives up A."""
    a, b, c = (tuple(range(start, start + 4)) for start in (0, 10, 20))
    arriving = calls(
        (0, 1, 2, 3, 4),
        (64, 64, 64, 64, 64),
        (2,) * 5,
        block_ids=(a, b, a, c, a),
        block_tokens=(16,) * 5,
    )
    limits = Limits(10)
    lru = play(arriving, limits, cache="lru")
    fifo = play(arriving, limits, cache="fifo")
    assert lru.rows[2].cached_tokens == fifo.rows[2].cached_tokens == 48
    assert lru.rows[4].cached_tokens == 48
    assert fifo.rows[4].cached_tokens < 48


# ---- length ---------------------------------------------------------------------------------------------


class _View:
    now = 0.0

    def __init__(self, truth: int = 0) -> None:
        self.random = random.Random(1)
        self._truth = truth

    def truth(self, request: Request) -> int:
        return self._truth


def feed(predictor: LengthPredictor, lengths: list[int]) -> float:
    request = Request(0, 0.0, 5, 10**6)
    for length in lengths:
        predictor.on_finish(request, length)
    return predictor.predict(request, _View())


def test_mean_is_the_mean_of_what_ended() -> None:
    assert feed(load_policy("length", "mean:prior=7"), []) == 7
    assert feed(load_policy("length", "mean"), [1, 2, 9]) == 4


@pytest.mark.parametrize(("q", "expected"), [(0.0, 1), (0.25, 2), (0.5, 4), (0.51, 5), (0.9, 8), (1.0, 8)])
def test_quantile_is_an_order_statistic(q: float, expected: int) -> None:
    lengths = [8, 1, 4, 2, 7, 5, 6, 3]
    assert feed(load_policy("length", f"quantile:q={q}"), lengths) == expected


def test_quantile_forgets() -> None:
    assert feed(load_policy("length", "quantile:q=1,window=3"), [90, 80, 3, 2, 1]) == 3
    assert feed(load_policy("length", "quantile:prior=11"), []) == 11


def test_predictions_keep_the_cap() -> None:
    request = Request(0, 0.0, 5, 3)
    for spec in ("mean", "quantile", "oracle", "noisy_oracle"):
        assert load_policy("length", spec).predict(request, _View(truth=50)) <= 3


def test_oracles() -> None:
    request = Request(0, 0.0, 5, 10**6)
    assert load_policy("length", "oracle").predict(request, _View(truth=50)) == 50
    assert load_policy("length", "noisy_oracle:sigma=0").predict(request, _View(truth=50)) == 50
    view = _View(truth=1000)
    noisy = load_policy("length", "noisy_oracle:sigma=0.5")
    logs = sorted(math.log(noisy.predict(request, view) / 1000) for _ in range(4000))
    assert logs[2000] == pytest.approx(0.0, abs=0.04)
    assert sum(value * value for value in logs) / 4000 == pytest.approx(0.25, rel=0.08)


# ---- admit ----------------------------------------------------------------------------------------------


COST = LinearCost(0.01, per_prefill_token=0.0001)


def gate(spec: str, ttft: float | None, count: int) -> list[int]:
    """Who enters of `count` requests of 1,000 tokens that arrive together; a step takes at most 1,000."""
    slo = None if ttft is None else SLO(ttft=ttft)
    arriving = calls([0.0] * count, [1000] * count, [2] * count, slo=[slo] * count)
    limits = Limits(10**4, max_num_seqs=50, max_num_batched_tokens=1000)
    outcome = play(arriving, limits, cost=COST, admit=spec, depth=1)
    return [id for id, row in outcome.rows.items() if row.status == 0]


def test_the_gate_counts_what_is_queued() -> None:
    """Each step of 1,000 tokens lasts 0.11 s: within 0.5 s four first tokens can come."""
    assert len(gate("slo_gate", 0.5, 10)) == 4
    assert len(gate("slo_gate:factor=2", 0.5, 20)) == 9
    assert len(gate("slo_gate", 0.05, 10)) == 0
    assert len(gate("slo_gate", None, 10)) == 10
    assert len(gate("always", 0.05, 10)) == 10


def test_who_passes_the_gate_keeps_its_limit() -> None:
    arriving = calls([0.03 * k for k in range(40)], [1000] * 40, [2] * 40, slo=[SLO(ttft=0.5)] * 40)
    limits = Limits(10**4, max_num_seqs=50, max_num_batched_tokens=1000)
    outcome = play(arriving, limits, cost=COST, admit="slo_gate")
    served = [row for row in outcome.rows.values() if row.status == 0]
    assert 10 < len(served) < 40
    assert (
        max(row.ttft for row in served) < 0.5 + 2 * 0.11
    )  # the step under way, and what decodes take of the budget
    open_door = play(arriving, limits, cost=COST)
    assert max(row.ttft for row in open_door.rows.values()) > 2.0


def test_the_gate_needs_a_latency_model() -> None:
    scheduler = Scheduler(Limits(100), SchedulingPolicy())
    cluster = Cluster(
        [[scheduler]],
        RoutePolicy(),
        random=lambda role: random.Random(0),
        admit=load_policy("admit", "slo_gate"),
    )
    with pytest.raises(InputError, match="slo_gate needs a latency model"):
        cluster.place(Request(0, 0.0, 5, 5, slo=SLO(ttft=1.0)), 0.0)
    assert CostEstimates(COST).prefill_seconds(1000, 0) == pytest.approx(0.11)
