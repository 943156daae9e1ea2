"""Routing by predicted latency: limits first, then the soonest end."""

import random

import pytest

from hasten.core.request import SLO, Request
from hasten.core.view import ClusterView
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.latency.compiled import LinearCost
from hasten.policies.route.predicted_latency import PredictedLatency
from hasten.sim.run import simulate
from hasten.workload import Workload

COST = LinearCost(0.01, per_prefill_token=1e-3, per_sequence=5e-3)


def replicas_of(rows: list[tuple[float, int, int]], slo: SLO | None = None) -> list[int]:
    arrival, prompt, output = zip(*rows, strict=True)
    work = Workload(arrival=arrival, prompt_tokens=prompt, output_tokens=output)
    served = Deployment.of("llama-3.1-8b", "h100-sxm", replicas=2, engine="hasten")
    report = simulate(served, work, route=PredictedLatency(output=10), cost=COST, slo=slo)
    return report.records.replica[report.records.id.argsort()].tolist()


def test_a_long_prompt_is_avoided_even_where_counts_are_equal() -> None:
    # Both hold one request; the first computes for seconds.
    assert replicas_of([(0.0, 4000, 50), (0.01, 50, 50), (0.02, 50, 50)]) == [0, 1, 1]


def test_limits_come_before_the_end() -> None:
    """With ten decodes a token takes 65 ms there: over a limit of 50 ms, however soon the first would come."""
    rows = [(0.0, 10, 400)] * 8 + [(0.5, 10, 400)]
    assert sorted(replicas_of(rows, SLO(tpot=0.05))[:8]) == [0] * 4 + [1] * 4


def test_it_needs_a_latency_model_and_sane_parameters() -> None:
    with pytest.raises(InputError, match="needs a latency model"):
        PredictedLatency().choose(Request(0, 0.0, 1, 1), ClusterView([], random.Random(0), None))
    with pytest.raises(InputError, match="output is 0"):
        PredictedLatency(output=0)
    with pytest.raises(InputError, match="room is 2"):
        PredictedLatency(room=2.0)
