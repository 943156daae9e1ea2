"""The standard-library half of the latency package: closed forms of attention, lines and their pieces."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hasten.core.batch import Chunk
from hasten.latency.compiled import UNLIMITED, LinearCost, causal_pairs, floored, piece_at, tokens_seen
from hasten.latency.compiling import raised

COUNT = st.integers(0, 60)


@given(st.integers(1, 60), COUNT, st.integers(1, 80) | st.just(UNLIMITED))
def test_pairs_and_keys_of_a_causal_chunk_match_a_count_one_by_one(tokens, context, window):
    seen = [range(max(0, query + 1 - window), query + 1) for query in range(context, context + tokens)]
    assert causal_pairs(tokens, context, window) == sum(len(keys) for keys in seen)
    assert tokens_seen(tokens, context, window) == len(set().union(*seen))


@given(st.lists(st.tuples(st.integers(1, 9), COUNT), max_size=4), COUNT, st.integers(0, 5000))
def test_a_linear_cost_is_the_sum_of_its_rates(prefills, n, context_sum):
    cost = LinearCost(1.0, per_sequence=2.0, per_context=0.5, per_prefill_token=8.0, per_prefill_context=0.25)
    a, b, limit = cost.decode_line(n, context_sum)
    assert (a, b, limit) == (1.0 + 2.0 * n, 0.5, math.inf)
    chunks = [Chunk(None, tokens, context, True) for tokens, context in prefills]
    prefill = sum(8.0 * tokens + 0.25 * context for tokens, context in prefills)
    assert cost.mixed(chunks, n, context_sum) == pytest.approx(a + b * context_sum + prefill, rel=1e-12)


LINES = st.tuples(st.floats(0, 10), st.floats(0, 1), st.floats(1, 1e4) | st.just(math.inf))


@given(LINES, st.floats(0, 30), st.integers(0, 20000))
def test_a_floored_line_is_the_larger_of_line_and_floor_up_to_its_limit(line, floor, at):
    assume(at < line[2])
    a, b, limit = floored(line, at, floor)
    assert at < limit <= line[2]
    for place in (at, at + 0.999 * (min(limit, 1e5) - at)):
        assert a + b * place == pytest.approx(max(floor, line[0] + line[1] * place), rel=1e-9, abs=1e-9)


@given(
    st.lists(st.tuples(st.floats(0, 1e-3), st.floats(1, 1000)), min_size=1, max_size=4),
    st.floats(0, 1),
    st.floats(0, 2),
    st.floats(-0.01, 0.01),
    st.integers(0, 5000),
)
def test_raised_pieces_are_the_larger_of_pieces_and_floor(shape, base, floor, offset, at):
    """The pieces of a continuous rising line, raised, keep every value and every order."""
    pieces, start, value = [], 0.0, 0.0
    for slope, length in shape:
        pieces.append((value - slope * start, slope, start + length))
        value += slope * length
        start += length
    pieces[-1] = (*pieces[-1][:2], math.inf)
    found = raised(pieces, base, floor=floor, offset=offset)
    limits = [limit for _, _, limit in found]
    assert limits == sorted(set(limits))
    assert limits[-1] == math.inf
    a, b, _ = piece_at(found, at)
    below_a, below_b, _ = piece_at(pieces, at)
    wanted = max(floor, base + below_a + below_b * at) + offset
    assert a + b * at == pytest.approx(wanted, rel=1e-9, abs=1e-9)
