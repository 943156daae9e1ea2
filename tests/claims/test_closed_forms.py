"""What claims compute, against cases that can be worked out by hand or counted."""

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasten.claims import async_lm, mixing, one_bit, skip_predict, token_limit
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.latency.relay import decode_step, tokens_read
from hasten.models import load_model
from hasten.plan.kinetics import attempt_cost, keys_seen
from hasten.plan.token_limit import single_server
from hasten.policies.cache.mixing import FixedShare, Ghost

pages = st.lists(st.integers(0, 7), min_size=1, max_size=60)
times = st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 10)), min_size=1, max_size=5)


# ---- paging ---------------------------------------------------------------------------------------------------


def fewest(touched: list[int], size: int) -> int:
    """Fewest misses of any policy, by trying all victims."""
    states = {frozenset[int](): 0}
    for page in touched:
        after: dict[frozenset[int], int] = {}
        for cache, misses in states.items():
            if page in cache:
                found = [(cache, misses)]
            elif len(cache) < size:
                found = [(cache | {page}, misses + 1)]
            else:
                found = [(cache - {victim} | {page}, misses + 1) for victim in cache]
            for key, count in found:
                after[key] = min(count, after.get(key, count))
        states = after
    return min(states.values())


@given(st.lists(st.integers(0, 5), min_size=1, max_size=18), st.integers(1, 4))
def test_the_optimum_is_the_optimum(touched: list[int], size: int) -> None:
    assert one_bit.belady(touched, one_bit.next_uses(touched), size)[0] == fewest(touched, size)


@given(pages, st.integers(1, 6), st.integers(0, 5))
def test_right_bits_are_optimal_and_wrong_ones_never_beat_it(
    touched: list[int], size: int, seed: int
) -> None:
    later = one_bit.next_uses(touched)
    least, bits = one_bit.belady(touched, later, size)
    rng = np.random.default_rng(seed)
    assert one_bit.one_bit(touched, bits, size, rng) == least
    noise = random.Random(seed)
    wrong = [bit ^ (noise.random() < 0.3) for bit in bits]
    for misses in (one_bit.one_bit(touched, wrong, size, rng), one_bit.lru(touched, size)):
        assert least <= misses <= len(touched)
    assert one_bit.few(touched, later, size, 1) == least
    assert one_bit.few(touched, later, size, 1000) == one_bit.lru(touched, size)


@given(pages, st.integers(1, 6))
def test_without_bits_one_bit_paging_is_lru(touched: list[int], size: int) -> None:
    none = [False] * len(touched)
    assert one_bit.one_bit(touched, none, size, np.random.default_rng(0)) == one_bit.lru(touched, size)


# ---- calls ----------------------------------------------------------------------------------------------------


@given(times)
def test_longest_running_first_is_the_best_order(calls: list[tuple[float, float]]) -> None:
    writing, running = [each[0] for each in calls], [each[1] for each in calls]
    best = min(
        async_lm.scheduled(writing, running, order) for order in itertools.permutations(range(len(calls)))
    )
    found = async_lm.asynchronous(writing, running)
    assert found == pytest.approx(best)
    assert found <= async_lm.together(writing, running) * (1 + 1e-12)
    assert async_lm.together(writing, running) <= async_lm.one_by_one(writing, running) * (1 + 1e-12)


# ---- queues ---------------------------------------------------------------------------------------------------


def test_skip_predict_with_a_huge_threshold_is_first_come_first_served() -> None:
    """All short: M/M/1 at load 0.9 has a mean response of 10."""
    assert skip_predict.skip_predict(0.9, 50.0, is_perfect=True).short == pytest.approx(10.0, rel=0.002)


@pytest.mark.parametrize("is_perfect", [True, False])
def test_skipping_costs_something_and_a_bit_alone_costs_more(is_perfect: bool) -> None:
    every = skip_predict.skip_predict(0.8, 0.0, is_perfect=is_perfect).overall
    skip = skip_predict.skip_predict(0.8, 1.0, is_perfect=is_perfect).overall
    bit = skip_predict.one_bit(0.8, 1.0, is_perfect=is_perfect).overall
    assert every < skip < bit < 5.0


def test_perfect_sprpt_is_srpt() -> None:
    """Mean response of SRPT in M/M/1 at load 0.9, mean size 1: 3.552 (Schrage and Miller's formula)."""
    assert skip_predict.skip_predict(0.9, 0.0, is_perfect=True).overall == pytest.approx(3.552, rel=0.003)


@given(st.floats(0.05, 0.9))
def test_a_constant_answer_waits_as_in_m_d_1(load: float) -> None:
    (row,) = single_server(np.full(10, 100), rate=load, seconds_per_token=0.01)
    assert row.wait == pytest.approx(load / (2 * (1 - load)))
    assert (row.clipped, row.kept) == (0.0, 1.0)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=50), st.integers(1, 5000), st.integers(1, 5000))
def test_a_lower_limit_never_waits_longer_and_never_keeps_more(
    answers: list[int], one: int, two: int
) -> None:
    low, high = single_server(
        np.array(answers), rate=0.01, seconds_per_token=0.01, limits=(min(one, two), max(one, two))
    )
    assert low.wait <= high.wait
    assert low.kept <= high.kept
    assert low.clipped >= high.clipped


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="limit = 0"):
        single_server(np.array([5]), rate=1.0, seconds_per_token=0.01, limits=(0,))
    assert single_server(np.array([500]), rate=1.0, seconds_per_token=0.01)[0].wait == math.inf


def test_batches_by_hand() -> None:
    """Two arrive together: a batch of 2 and 5 tokens; elastic, the short one leaves first."""
    step, member, start = token_limit.STEP, token_limit.STEP_PER_MEMBER, token_limit.START
    whole = start + 5 * (step + 2 * member)
    found = token_limit.batched([0.0, 0.0], [2, 5], size=2, is_full=True, is_elastic=False)
    assert found == pytest.approx(whole)
    first = start + 2 * (step + 2 * member)
    elastic = token_limit.batched([0.0, 0.0], [2, 5], size=2, is_full=True, is_elastic=True)
    assert elastic == pytest.approx((2 * first + 3 * (step + member)) / 2)


# ---- cost models ----------------------------------------------------------------------------------------------


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 7000))
def test_keys_seen_are_a_sum(prompt: int, output: int, budget: int) -> None:
    counted = sum(min(prompt + each + 0.5, budget) for each in range(output))
    assert keys_seen(prompt, output, budget) == pytest.approx(counted, abs=0.2)
    assert keys_seen(prompt, output, budget) <= keys_seen(prompt, output)


def test_attempts_cost_what_the_formula_says() -> None:
    """Llama-2-7B: 32 layers, 32 heads and KV heads of 128."""
    model = load_model("llama-2-7b")
    cost = attempt_cost(model, prompt=100, output=10, trials=3, intensity=2.0)
    width = 32 * 32 * 128
    assert cost.parameters == 2 * model.active_parameters * 10 * 3
    assert cost.attention == 3 * 2 * (2 * 100 + 10) * 10 * width
    assert cost.memory == 2 * (2 * 100 + 10 * 3) * 10 * width * 2.0
    with pytest.raises(InputError, match="output is 0"):
        attempt_cost(model, prompt=1, output=0)


@given(st.integers(1, 64), st.integers(0, 3000), st.integers(1, 1000))
def test_relay_reads_less_and_never_below_the_shared_part(batch: int, prefix: int, own: int) -> None:
    relayed, plain = (tokens_read(batch, prefix, own, relay=relay) for relay in (True, False))
    assert plain - relayed == (batch - 1) * prefix
    assert plain / relayed <= 1 + prefix / own


def test_relay_saves_kv_time_and_pays_launches() -> None:
    cost = Deployment.of("llama-2-7b", "a100-sxm-80g").latency
    plain, relayed = (decode_step(cost, 32, 2048, 256, relay=relay) for relay in (False, True))
    assert relayed.kv < plain.kv / 5
    assert relayed.weights == plain.weights
    assert relayed.launches > plain.launches
    with pytest.raises(InputError, match="windows"):
        decode_step(Deployment.of("mistral-7b-v0.1", "a100-sxm-80g").latency, 2, 8000, 256, relay=True)


@given(pages, st.integers(1, 6))
def test_one_predictor_mixed_with_itself_is_itself(touched: list[int], size: int) -> None:
    recency = mixing.by_recency(touched)
    assert sum(mixing.missed(touched, recency, size)) == one_bit.lru(touched, size)
    assert mixing.mixed(touched, [recency, recency], size) == one_bit.lru(touched, size)


@given(pages, st.integers(1, 6))
def test_right_predictions_are_optimal_and_no_mix_does_better(touched: list[int], size: int) -> None:
    least, _ = one_bit.belady(touched, one_bit.next_uses(touched), size)
    right = mixing.by_prediction(touched, 0.0, 0)
    assert sum(mixing.missed(touched, right, size)) == least
    assert (
        mixing.mixed(touched, [mixing.by_recency(touched), right, mixing.by_frequency(touched)], size)
        >= least
    )


def test_shares_move_to_who_loses_less_and_back() -> None:
    """w <- (1 - share) w exp(-rate loss) / sum + share / 2, by hand; nobody is ever forgotten."""
    mix = FixedShare(2, 0.5, 0.1)
    mix.lose([1.0, 0.0])
    lost = math.exp(-0.5)
    assert mix.weights == pytest.approx([0.9 * lost / (1 + lost) + 0.05, 0.9 / (1 + lost) + 0.05])
    assert mix.leader == 1
    for _ in range(1000):
        mix.lose([3.0, 2.0])
    assert sum(mix.weights) == pytest.approx(1.0)
    assert min(mix.weights) >= 0.05
    for _ in range(10):
        mix.lose([0.0, 1.0])
    assert mix.leader == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), max_size=60), st.integers(1, 20))
def test_a_ghost_holds_no_more_than_its_size(uses: list[tuple[int, int]], size: int) -> None:
    """With scores by time it is LRU by blocks: what was used last is there unless it alone is too large."""
    ghost = Ghost()
    for at, (key, blocks) in enumerate(uses):
        before = ghost.held.get(key, (0, 0))[0]
        assert ghost.touch(key, blocks, float(at), size) == max(0, blocks - before)
        assert sum(held for held, _ in ghost.held.values()) <= size
        assert (key in ghost.held) == (blocks <= size)
