"""Pooled gaps: every statistic equals numpy on the gaps written out one by one."""

import resource
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasten.report import gaps as module
from hasten.report.gaps import Gaps

PERCENTILES = [0, 1, 25, 50, 90, 99, 99.9, 100]

seconds = st.one_of(
    st.sampled_from([0.0, 0.01, 0.02]),  # ties within and between stretches
    st.floats(0, 10, allow_subnormal=False),
)
increments = st.one_of(
    st.sampled_from([0.0, 1e-18, 1e-17, 1e-5, 0.01]), st.floats(0, 1, allow_subnormal=False)
)
entries = st.lists(
    st.tuples(seconds, increments, st.integers(0, 40), st.integers(0, 5)), min_size=0, max_size=30
).map(lambda rows: Gaps(*np.array(rows, dtype=float).reshape(-1, 4).T))


def written_out(gaps: Gaps) -> np.ndarray:
    columns = zip(gaps.first, gaps.increment, gaps.count, gaps.weight, strict=True)
    parts = [np.repeat(first + step * np.arange(count), weight) for first, step, count, weight in columns]
    return np.concatenate([np.zeros(0), *parts])


@given(entries)
def test_percentiles_equal_numpy_on_every_gap(gaps: Gaps) -> None:
    values = written_out(gaps)
    assert gaps.total == values.size
    if values.size:
        assert gaps.percentiles(PERCENTILES) == list(np.percentile(values, PERCENTILES))


@given(entries, st.integers(1, 20), st.integers(1, 4), st.sampled_from([0.0, 0.01, 0.3]))
def test_percentiles_are_the_same_when_they_are_narrowed_down(
    gaps: Gaps, limit: int, sample: int, margin: float
) -> None:
    values = written_out(gaps)
    if not values.size:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "EXPANSION_LIMIT", limit)
        patch.setattr(module, "SAMPLE", sample)
        patch.setattr(module, "MARGIN", margin)
        patch.setattr(module, "CHUNK", 7)
        assert gaps.percentiles(PERCENTILES) == list(np.percentile(values, PERCENTILES))


@given(entries)
def test_mean_and_deviation_equal_numpy_on_every_gap(gaps: Gaps) -> None:
    values = written_out(gaps)
    if values.size:
        assert gaps.mean() == pytest.approx(values.mean(), rel=1e-12, abs=1e-300)
        assert gaps.std() == pytest.approx(values.std(), rel=1e-6, abs=1e-7)


@given(st.lists(entries, max_size=4))
def test_pooling_keeps_every_gap(parts: list[Gaps]) -> None:
    pooled = Gaps.pooled(parts)
    values = np.concatenate([np.zeros(0), *map(written_out, parts)])
    assert sorted(written_out(pooled)) == sorted(values)


def test_one_decode_stretch_by_hand() -> None:
    # three sequences, four steps of 10, 12, 14, 16 ms: twelve gaps
    gaps = Gaps([0.010], [0.002], [4], [3])
    assert gaps.total == 12
    assert gaps.mean() == pytest.approx(0.013)
    assert gaps.percentiles([0, 50, 100]) == pytest.approx([0.010, 0.013, 0.016])
    assert gaps.std() == pytest.approx(np.sqrt(5) * 1e-3)


def test_a_window_holds_the_stretches_that_start_in_it() -> None:
    gaps = Gaps([0.01, 0.02, 0.03], [0, 0, 0], [1, 1, 1], [1, 1, 1], start=[0.0, 1.0, 2.0])
    assert gaps.between(1.0, 2.0).percentiles([50]) == [0.02]
    with pytest.raises(ValueError, match="no start times"):
        Gaps.from_values([0.01]).between(0, 1)


def test_statistics_of_nothing_are_undefined() -> None:
    empty = Gaps([], [], [], [])
    assert np.isnan([empty.mean(), empty.std(), *empty.percentiles([50, 99])]).all()


@pytest.mark.parametrize(
    "columns",
    [([0.1], [0.0, 0.0], [1], [1]), ([-0.1], [0.0], [1], [1]), ([np.nan], [0.0], [1], [1]), ([[0.1]],) * 4],
)
def test_columns_that_are_no_gaps_are_refused(columns: tuple[list[float], ...]) -> None:
    with pytest.raises(ValueError, match="gap columns"):
        Gaps(*columns)
    with pytest.raises(ValueError, match="percentiles"):
        Gaps.from_values([0.1]).percentiles([101])


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts kilobytes on Linux only")
def test_many_long_stretches_need_little_memory() -> None:
    rng = np.random.default_rng(0)
    size = 1_000_000  # about 20 million steps, hundreds of millions of gaps
    gaps = Gaps(
        rng.gamma(4, 0.005, size),
        rng.exponential(1e-6, size),
        rng.geometric(0.05, size),
        rng.integers(1, 64, size),
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    median, tail = gaps.percentiles([50, 99])
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    # the definition of a percentile, by counting
    for value, share in ((median, 0.5), (tail, 0.99)):
        below = sum(int(np.dot(module._index_below(chunk, value), chunk.weight)) for chunk in gaps._chunks())
        assert below / gaps.total == pytest.approx(share, abs=1e-6)
    assert grown < 100
