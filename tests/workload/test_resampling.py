"""New traffic drawn from a trace: the same kind of requests, in runs, with what belongs together kept together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten.workload import Workload, parse_workload
from hasten.workload.resampling import Resampler


def pairs(work):
    return set(zip(work.prompt_tokens.tolist(), work.output_tokens.tolist(), strict=True))


@given(st.integers(1, 80), st.integers(0, 2**32 - 1), st.floats(0.0, 2.0))
@settings(max_examples=40)
def test_requests_are_those_of_the_trace_and_time_goes_on(size, seed, drift):
    rng = np.random.default_rng(seed)
    work = Workload(
        arrival=np.cumsum(rng.exponential(1.0, size)),
        prompt_tokens=rng.integers(1, 1000, size),
        output_tokens=rng.integers(1, 1000, size),
        priority=rng.integers(0, 3, size),
    )
    new = Resampler(work).draw(rng, drift=np.diag([drift, 0.0, 0.0]))
    assert len(new) == size
    assert pairs(new) <= pairs(work)
    assert np.all(np.diff(new.arrival) >= 0.0)
    again = Resampler(work).draw(np.random.default_rng(3), size=7)
    assert len(again) == 7


def test_the_same_numbers_draw_the_same_traffic():
    work = parse_workload("azure-conv", limit=300)
    one, other = (Resampler(work).draw(np.random.default_rng(5), drift=0.1 * np.eye(3)) for _ in range(2))
    assert np.array_equal(one.arrival, other.arrival)
    assert np.array_equal(one.prompt_tokens, other.prompt_tokens)


def test_rates_spread_by_what_two_draws_and_the_drift_spread():
    """Poisson arrivals: the log rate of n requests varies by 1/n in a draw, so by 2/n in a draw of a draw."""
    work = parse_workload("poisson:rate=2,n=900,seed=1,prompt=200,output=50")
    sampler, rng = Resampler(work), np.random.default_rng(0)
    for drift in (0.0, 0.3):
        rates = [np.log(sampler.draw(rng, drift=np.diag([drift, 0, 0])).rate / work.rate) for _ in range(300)]
        assert np.std(rates) == pytest.approx(np.sqrt(2 / 900 + drift**2), rel=0.15)
        assert abs(np.mean(rates)) < 0.06


def test_steady_traffic_does_not_drift_and_a_ramp_does():
    def moved(text):
        return Resampler(parse_workload(text)).drift(np.random.default_rng(0))

    steady = [moved(f"poisson:rate=2,n=800,seed={seed},prompt=200,output=50") for seed in range(8)]
    assert np.median([np.abs(each).max() for each in steady]) < 0.05
    ramp = moved("ramp:start=1,end=8,duration=200,prompt=200,output=50")
    assert np.abs(ramp[0]).max() > 0.1
    assert np.abs(ramp[1:]).max() < 1e-9  # of the rate, not of the lengths
    assert not moved("poisson:rate=2,n=9,prompt=200,output=50").any()


def test_a_random_walk_goes_on_over_the_length_of_a_trace():
    """Means over neighbouring windows of a walk with variance v per window differ with 2 v / 3. Draws from one window
    hold some of its walk, so somewhat less is found; what parts of a trace show as they stand is a third of it."""
    found, size = [], 640
    for seed in range(30):
        walk = np.cumsum(np.random.default_rng(seed).normal(0.0, 0.4 / np.sqrt(size), size))
        work = Workload(
            arrival=np.arange(size) * 1.0,
            prompt_tokens=np.rint(20_000 * np.exp(walk)).astype(int),
            output_tokens=np.full(size, 50),
        )
        drift = Resampler(work).drift(np.random.default_rng(0))
        found.append(drift[1] @ drift[1])
    assert 0.35 < np.mean(found) / 0.4**2 < 0.7


def test_lengths_that_grow_drift_and_keep_to_the_longest():
    size = 640
    work = Workload(
        arrival=np.arange(size) * 1.0,
        prompt_tokens=np.linspace(100, 1000, size).astype(int),
        output_tokens=np.full(size, 50),
    )
    found = Resampler(work).drift(np.random.default_rng(0))
    assert np.abs(found[1]).max() > 0.2
    drawn = [Resampler(work).draw(np.random.default_rng(seed), drift=found) for seed in range(40)]
    means = [each.prompt_tokens.mean() for each in drawn]
    assert np.std(np.log(means)) > 0.15
    assert max(each.prompt_tokens.max() for each in drawn) <= 1000
    assert all(np.all(each.output_tokens == 50) for each in drawn)


def test_programs_stay_whole():
    work = parse_workload("agents:kind=bfcl,rate=1,n=20")
    assert work.parent is not None
    sampler = Resampler(work)
    new = sampler.draw(np.random.default_rng(0))
    assert new.parent is not None
    roots = int((new.parent < 0).sum())
    assert roots == int((work.parent < 0).sum()) == len(sampler)
    child = np.flatnonzero(new.parent >= 0)
    assert np.all(new.parent[child] < child)
    if new.session is not None:
        assert np.array_equal(new.session[child], new.session[new.parent[child]])
    for row in child[:50]:  # a child goes on with its parent's text
        up = new.blocks_of(int(new.parent[row]))
        assert new.blocks_of(int(row))[: len(up) - 1] == up[:-1]


def test_a_prompt_that_is_drawn_again_is_another_users():
    work = parse_workload("mooncake-conversation", limit=200)
    new = Resampler(work).draw(np.random.default_rng(1))
    firsts = [new.blocks_of(row) for row in range(len(new))]
    assert len({each for each in firsts if each}) == sum(1 for each in firsts if each)
