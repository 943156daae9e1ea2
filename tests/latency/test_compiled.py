"""The standard-library half of the latency package: closed forms of attention, lines and their pieces."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hasten.core.batch import Chunk
from hasten.latency.compiled import (
    UNLIMITED,
    LinearCost,
    MeasuredAttention,
    between,
    causal_pairs,
    floored,
    piece_at,
    tokens_seen,
)
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


KNOTS = [0, 4, 16]
CHUNKS = [2, 4, 8]
MEASURED = MeasuredAttention(
    KNOTS,
    [[n * each for each in (1.0, 2.0, 5.0)] for n in range(5)],
    beside=(CHUNKS, [[[n * c * each for each in (1.0, 3.0, 7.0)] for c in CHUNKS] for n in range(5)]),
    prefill=(KNOTS, [[t * each for each in (1.0, 1.5, 4.0)] for t in range(21)]),
)


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 40)), max_size=4),
    st.integers(0, 4),
    st.integers(0, 100),
)
def test_measured_attention_is_interpolated_in_the_past_the_context_and_the_log_of_the_chunk(
    prefills, n, total
):
    expected = sum(between(KNOTS, MEASURED.prefill[tokens], past) for tokens, past in prefills)
    tokens = sum(each for each, _ in prefills)
    if n and tokens:
        rows = [between(KNOTS, row, total / n) for row in MEASURED.beside[n]]
        place = min(max(math.log2(max(tokens, 1) / CHUNKS[0]), 0.0), len(CHUNKS) - 1.0)
        low = min(int(place), len(CHUNKS) - 2)
        expected += rows[low] + (rows[low + 1] - rows[low]) * (place - low)
    elif n:
        expected += between(KNOTS, MEASURED.decode[n], total / n)
    chunks = [Chunk(None, tokens, past, True) for tokens, past in prefills]
    assert MEASURED.seconds(chunks, n, total) == pytest.approx(expected, rel=1e-12)
    assert MEASURED.seconds_of(prefills, n, total) == pytest.approx(expected, rel=1e-12)
