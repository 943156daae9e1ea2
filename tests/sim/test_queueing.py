"""Closed forms: waits of a single server follow Pollaczek-Khinchine, batching disciplines the published order.

The models and their reference values are those of `scripts/queueing_table.py`, here on shorter runs with fixed seeds.
"""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tooling.scripts import load

from hasten.latency import LinearCost

queueing = load("queueing_table")
REQUESTS = 8_000
BATCHED_REQUESTS = 4_800  # whole batches of 4, 8 and 16: a rest would wait for ever
FEW = settings(max_examples=settings().max_examples // 3)


@cache
def response(discipline, rate):
    """Mean response in seconds and its standard error."""
    return queueing.estimate(queueing.batch_responses(discipline, rate, BATCHED_REQUESTS, seed=2))


# ---- one sequence at a time -----------------------------------------------------------------------------


@FEW
@given(st.lists(st.tuples(st.floats(1e-3, 9.0), st.integers(1, 200)), min_size=1, max_size=30))
def test_waits_follow_lindley_on_every_path(calls):
    """wait = max(0, previous wait + previous service - time between arrivals), exactly."""
    gaps = np.array([gap for gap, _ in calls])
    tokens = np.array([tokens for _, tokens in calls])
    work = queueing.Workload(
        arrival=np.cumsum(gaps), prompt_tokens=np.ones_like(tokens), output_tokens=tokens
    )
    found = queueing.played(work, LinearCost(queueing.SECONDS_PER_TOKEN), "fcfs", max_num_seqs=1)["wait"]
    wait = 0.0
    for number, (_, tokens_now) in enumerate(calls):
        assert found[number] == pytest.approx(wait, rel=1e-9, abs=1e-9)
        gap = gaps[number + 1] if number + 1 < len(calls) else 0.0
        wait = max(0.0, wait + queueing.SECONDS_PER_TOKEN * tokens_now - gap)


@pytest.mark.parametrize(("limit", "reference"), queueing.TOKEN_LIMITS.items())
def test_the_formula_gives_the_published_waits(limit, reference):
    wait = queueing.pollaczek_khinchine(queueing.lognormal_tokens(limit), queueing.TOKEN_RATE)
    assert wait == pytest.approx(reference, rel=2e-3)


def test_the_formula_knows_its_two_classics():
    """M/D/1 waits rho S / (2 (1 - rho)); M/M/1 twice that, but for rounding up to tokens."""
    tokens, rho = 1000, 0.6
    service = tokens * queueing.SECONDS_PER_TOKEN
    constant = queueing.pollaczek_khinchine(queueing.constant_tokens(tokens), rho / service)
    assert constant == pytest.approx(rho * service / (2.0 * (1.0 - rho)))
    geometric = queueing.pollaczek_khinchine(queueing.geometric_tokens(float(tokens)), rho / service)
    assert geometric == pytest.approx(2.0 * constant, rel=1e-3)


@pytest.mark.parametrize(
    "chances", [queueing.constant_tokens(100), queueing.geometric_tokens(400.0)], ids=["M/D/1", "M/M/1"]
)
@pytest.mark.parametrize("rho", [0.3, 0.7])
def test_a_single_server_waits_as_pollaczek_and_khinchine_say(chances, rho):
    rate = rho / (queueing.SECONDS_PER_TOKEN * float(chances @ np.arange(len(chances))))
    check_wait(chances, rate)


@pytest.mark.parametrize("limit", queueing.TOKEN_LIMITS)
def test_a_single_server_with_a_token_limit_waits_as_they_say(limit):
    check_wait(queueing.lognormal_tokens(limit), queueing.TOKEN_RATE)


def check_wait(chances, rate):
    """Within 4 standard errors, which must be small enough to mean something."""
    formula = queueing.pollaczek_khinchine(chances, rate)
    found = queueing.estimate(queueing.single_server_waits(chances, rate, REQUESTS, seed=1))
    assert abs(found.mean - formula) <= 4.0 * found.error
    assert found.error <= 0.1 * formula


# ---- batches --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", queueing.BATCH_RATES)
@pytest.mark.parametrize("name", queueing.REFERENCE)
def test_batching_disciplines_respond_as_an_independent_simulation_says(name, rate):
    reference = queueing.REFERENCE[name][queueing.BATCH_RATES.index(rate)]
    found = response(name, rate)
    if math.isnan(reference):
        twice = queueing.batch_responses(name, rate, 2 * BATCHED_REQUESTS, seed=2)
        assert twice.mean() > 1.8 * found.mean > 100 * response("dynamic", rate).mean
    else:
        assert abs(found.mean - reference) <= 4.0 * found.error + 0.02 * reference


@pytest.mark.parametrize("rate", queueing.BATCH_RATES)
def test_fixed_batches_never_beat_dynamic_ones(rate):
    for name in ("fixed 4", "fixed 8", "fixed 16"):
        assert response(name, rate).mean > response("dynamic", rate).mean


@pytest.mark.parametrize("rate", queueing.BATCH_RATES)
def test_leaving_early_beats_padding_and_refilling_beats_both(rate):
    elastic = response("elastic", rate).mean
    assert 0.7 < elastic / response("dynamic", rate).mean < 0.9  # published: 12 to 22 % less
    assert response("continuous", rate).mean < elastic


@FEW
@given(st.lists(st.integers(1, 300), min_size=1, max_size=12))
def test_a_batch_lasts_what_its_formula_says(tokens):
    """All arrive at once: dynamic and elastic batches end after k1 b + k2 + (k3 b + k4) L, and less."""
    work = queueing.Workload(
        arrival=np.zeros(len(tokens)), prompt_tokens=np.ones(len(tokens), int), output_tokens=np.array(tokens)
    )
    cost = queueing.batch_cost(0.01, 0.05, 0.0002, 0.0225)
    size, longest = len(tokens), max(tokens)
    whole = 0.01 * size + 0.05 + (0.0002 * size + 0.0225) * longest
    padded = queueing.played(work, cost, "static:batch_size=64", 64)["response"]
    assert padded == pytest.approx(np.full(size, whole))
    shrinking = queueing.played(work, cost, "static:batch_size=64,hold=false", 64)["response"]
    members = np.array([sum(each >= step for each in tokens) for step in range(1, longest + 1)])
    ends = 0.01 * size + 0.05 + np.cumsum(0.0002 * members + 0.0225)
    assert shrinking == pytest.approx(ends[np.array(tokens) - 1])
