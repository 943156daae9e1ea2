"""Loading KV over a link: by hand, against both ends, and where they meet."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasten.errors import InputError
from hasten.latency.kv_loading import Context, Level, break_even, load, stream

LEVELS = [Level("fine", 0.2), Level("default", 0.15), Level("coarse", 0.1)]


def context(tokens: int = 2500, **options: float) -> Context:
    """1 kB per token; a chunk takes 0.1 ms per token."""
    return Context(tokens=tokens, kv_bytes=1000.0, recompute=lambda chunk, past: 1e-4 * chunk, **options)


def test_chunks_cover_the_context() -> None:
    assert context(2500).chunks == [1000, 1000, 500]
    assert context(1000).chunks == [1000]


def test_one_level_travels_and_is_decoded_behind() -> None:
    raw = load(context(), Level("16 bits", 1.0), 1e6, raw=True)
    assert raw.seconds == pytest.approx(2.5)
    # The last chunk is decoded when it has come; those before, meanwhile.
    coded = load(context(decode_rate=1e7), Level("half", 0.5), 1e6)
    assert coded.seconds == pytest.approx(1.25 + 0.05)
    slow = load(context(decode_rate=1e5), Level("half", 0.5), 1e6)  # decoding is the bottleneck
    assert slow.seconds == pytest.approx(0.5 + 25.0)


def test_text_is_computed_chunk_by_chunk() -> None:
    assert load(context(), None, 1.0).seconds == pytest.approx(0.25)
    assert load(context(), None, 1.0).levels == (None, None, None)


@given(st.lists(st.floats(1e4, 1e9), min_size=3, max_size=3), st.floats(0.01, 10.0), st.integers(0, 2))
def test_the_streamer_is_never_worse_than_the_worst_choice(
    rates: list[float], limit: float, lag: int
) -> None:
    given_ = context()
    found = stream(given_, LEVELS, rates, limit=limit, lag=lag)
    assert len(found.levels) == 3
    slowest = sum(
        max(1e-4 * tokens, tokens * 1000 * 0.2 / rate) + tokens * 1000 / given_.decode_rate
        for tokens, rate in zip(given_.chunks, rates, strict=True)
    )
    assert 0.0 < found.seconds <= slowest * (1 + 1e-9)


@given(st.floats(1e5, 1e8), st.floats(0.01, 10.0))
def test_a_steady_link_that_allows_a_level_keeps_the_limit(rate: float, limit: float) -> None:
    given_ = context(decode_rate=math.inf)
    found = stream(given_, LEVELS, rate, limit=limit)
    if load(given_, LEVELS[-1], rate).seconds <= limit * (1 - 1e-9):
        assert found.seconds <= limit * (1 + 1e-9)


@given(st.sampled_from(LEVELS))
def test_loading_and_computing_meet_at_the_break_even(level: Level) -> None:
    given_ = context(decode_rate=math.inf)
    rate = break_even(given_, level)
    assert load(given_, level, rate).seconds == pytest.approx(load(given_, None, rate).seconds)


def test_bad_input_is_said() -> None:
    with pytest.raises(InputError, match="share is 0"):
        Level("none", 0.0)
    with pytest.raises(InputError, match="tokens is 0"):
        context(0)
    with pytest.raises(InputError, match="2 bandwidths for 3 chunks"):
        load(context(), LEVELS[0], [1.0, 1.0])
    with pytest.raises(InputError, match="give a limit above 0"):
        stream(context(), LEVELS, 1e6, limit=0.0)
