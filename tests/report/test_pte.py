"""Prefill-token equivalents against costs that can be added by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasten.errors import InputError
from hasten.latency.compiled import LinearCost
from hasten.report.pte import Call, engine_seconds, prefill_token_equivalents

PER_TOKEN = LinearCost(0.0, per_prefill_token=0.001)


def test_a_prompt_is_worth_its_tokens() -> None:
    assert prefill_token_equivalents([Call(3000, 1000, 0)], PER_TOKEN) == pytest.approx(2000)


def test_decoded_tokens_cost_a_share_of_a_step() -> None:
    """Steps of 8 ms + 1 ms per 1,000 tokens of context; the first token comes with the prompt."""
    cost = LinearCost(0.008, per_context=1e-6, per_prefill_token=0.001)
    alone = engine_seconds([Call(100, 0, 11)], cost)
    assert alone == pytest.approx(0.108 + 10 * (0.008 + 1e-6 * 105))
    shared = engine_seconds([Call(100, 0, 11)], cost, batch=4)
    assert shared == pytest.approx(0.108 + 10 * (0.008 / 4 + 1e-6 * 105))


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 50)), min_size=1, max_size=5))
def test_runs_add_up(runs: list[tuple[int, int]]) -> None:
    calls = [Call(prompt, 0, output) for prompt, output in runs]
    parts = sum(prefill_token_equivalents([call], PER_TOKEN) for call in calls)
    assert prefill_token_equivalents(calls, PER_TOKEN) == pytest.approx(parts)


def test_impossible_calls_are_refused() -> None:
    with pytest.raises(InputError, match="cached must be below prompt"):
        Call(10, 10, 1)
    with pytest.raises(InputError, match="batch is 0"):
        engine_seconds([Call(10, 0, 1)], PER_TOKEN, batch=0)
