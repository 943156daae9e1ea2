"""Compiled costs are the model itself: same seconds for every step, decode lines that meet at their limits."""

import math
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hasten.core.batch import Chunk
from hasten.errors import InputError
from hasten.hardware import load_device
from hasten.latency import AnalyticalModel, LockstepCost, Parallelism, TableCost
from hasten.models import load_model
from hasten.profiles import GraphRange, load_profile

SEQUENCES, TOKENS = 300, 4096
EAGER = {"graph_ranges": ()}
OFFSETS = {"host_step_seconds": -0.0003, "mixed_step_seconds": 0.004}

CASES = [
    ("llama-3.1-8b", "h100-sxm", Parallelism(), {}),
    ("llama-3.1-8b", "rtx-4090", Parallelism(2), {}),
    ("llama-3.1-8b", "a100-sxm-80g", Parallelism(2, 3), OFFSETS),
    ("llama-3.2-1b", "h100-sxm", Parallelism(4), EAGER),
    (
        "llama-3.2-1b",
        "h200-sxm",
        Parallelism(),
        {"prefill_graph_ranges": (GraphRange(first=100, last=900, step=400),)},
    ),
    ("gemma-3-12b", "l40s", Parallelism(), {}),
    ("gpt-oss-20b", "h100-sxm", Parallelism(), EAGER),
    ("deepseek-v2-lite", "a100-sxm-80g", Parallelism(), {}),
    ("deepseek-v3", "h200-sxm", Parallelism(8, ep=8), {}),
    ("qwen3-30b-a3b", "rtx-pro-6000", Parallelism(dp=2, ep=2), OFFSETS),
    ("mixtral-8x7b", "a100-sxm-80g", Parallelism(2, 2, dp=2, ep=4), {}),
]
CASE = st.integers(0, len(CASES) - 1)


@cache
def compiled(case: int) -> tuple[AnalyticalModel, TableCost]:
    name, device, parallelism, changes = CASES[case]
    profile = replace(load_profile("vllm-0.19"), **changes)
    model = AnalyticalModel(load_model(name), load_device(device), parallelism, profile)
    return model, model.compile(SEQUENCES, TOKENS)


@st.composite
def chunks(draw, most=3):
    count = draw(st.integers(0, most))
    return [(draw(st.integers(1, TOKENS // 4)), draw(st.integers(0, 60_000))) for _ in range(count)]


DECODES = st.integers(0, SEQUENCES - 3)
MEAN = st.floats(0, 20_000)


@settings(max_examples=300)
@given(CASE, chunks(), DECODES, MEAN)
def test_compiled_seconds_are_the_model_s_own(case, prefills, n, mean):
    model, cost = compiled(case)
    assume(prefills or n)
    context = int(n * mean)
    wanted = model.step_time(prefills, n, context).seconds
    if prefills:
        found = cost.mixed([Chunk(None, tokens, past, True) for tokens, past in prefills], n, context)
    else:
        a, b, limit = cost.decode_line(n, context)
        assert context < limit
        found = a + b * context
    assert found == pytest.approx(wanted, rel=1e-9)


@given(CASE, st.integers(1, SEQUENCES))
def test_decode_pieces_rise_and_meet(case, n):
    """The step time of n decodes is continuous in the sum of contexts, and no piece falls."""
    _, cost = compiled(case)
    pieces = cost.lines[n]
    assert pieces[-1][2] == math.inf
    assert all(a > -0.001 and b >= 0 for a, b, _ in pieces)
    for (a, b, limit), (next_a, next_b, next_limit) in pairwise(pieces):
        assert 0 < limit < next_limit
        assert next_a + next_b * limit == pytest.approx(a + b * limit, rel=1e-9)


@given(CASE, st.integers(1, SEQUENCES), MEAN)
def test_a_decode_line_holds_to_its_limit(case, n, mean):
    """Halfway to the limit and just before it, the line is still the model."""
    model, cost = compiled(case)
    start = int(n * mean)
    a, b, limit = cost.decode_line(n, start)
    end = min(limit, start + 1e6)
    for context in {start, (start + math.ceil(end)) // 2, math.ceil(end) - 1}:
        assert a + b * context == pytest.approx(model.step_time((), n, context).seconds, rel=1e-9)


LOCKSTEP = [case for case, (_, _, parallelism, _) in enumerate(CASES) if parallelism.is_lockstep]


@given(st.sampled_from(LOCKSTEP), chunks(), st.integers(1, 120), MEAN)
def test_equal_ranks_in_lockstep_cost_one_rank_with_the_tokens_of_all(case, prefills, n, mean):
    model, cost = compiled(case)
    assert isinstance(cost, LockstepCost)
    dp = model.parallelism.dp
    context = int(n * mean)
    tokens = dp * (n + sum(new for new, _ in prefills))
    wanted = model.step_time(prefills, n, context, group_tokens=tokens).seconds
    if prefills:
        rank = [Chunk(None, new, past, True) for new, past in prefills]
        found = cost.lockstep_mixed([(rank, n, context)] * dp)
    else:
        a, b, limit, leader, _ = cost.lockstep_decode_line([(n, context)] * dp)
        assert leader == 0
        assert context < limit
        found = a + b * context
    assert found == pytest.approx(wanted, rel=1e-9)


@given(st.sampled_from(LOCKSTEP), st.integers(1, SEQUENCES), MEAN, st.booleans())
def test_a_rank_alone_costs_what_one_busy_rank_costs_in_lockstep(case, n, mean, is_first):
    _, cost = compiled(case)
    context = int(n * mean)
    ranks = [(n, context), (0, 0)] if is_first else [(0, 0), (n, context)]
    a, b, _, leader, _ = cost.lockstep_decode_line(ranks)
    assert ranks[leader] == (n, context)
    alone_a, alone_b, _ = cost.decode_line(n, context)
    assert a + b * context == pytest.approx(alone_a + alone_b * context, rel=1e-9)
    chunk = [Chunk(None, 64, 100, True)]
    together = [(chunk, n - 1, context), ([], 0, 0)]
    assert cost.lockstep_mixed(together) == pytest.approx(cost.mixed(chunk, n - 1, context), rel=1e-9)


@given(
    st.sampled_from(LOCKSTEP),
    st.lists(st.tuples(st.integers(1, 150), st.integers(0, 400_000)), min_size=2, max_size=2),
)
def test_the_lockstep_line_says_when_another_rank_takes_over(case, ranks):
    """Stepping both ranks, the leader stays for exactly the steps promised; at equal sums more sequences lead."""
    _, cost = compiled(case)
    _, _, _, leader, steps = cost.lockstep_decode_line(ranks)
    other = 1 - leader
    (lead_n, lead_sum), (n, context) = ranks[leader], ranks[other]

    def leads(step: int) -> bool:
        return (lead_sum + step * lead_n, lead_n) >= (context + step * n, n)

    assert leads(0)
    assert leads(min(steps, 10_000) - 1)
    if n > lead_n:
        assert not leads(steps)


def test_compiling_for_nothing_is_refused():
    model, _ = compiled(0)
    with pytest.raises(InputError, match="at least 1"):
        model.compile(0, 128)
