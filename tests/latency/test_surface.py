"""Measured times over a grid of shapes: physics, outliers, and what is read where nothing was timed."""

import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten.latency.tables import OperatorTables, operator_paths, profile_paths
from hasten.latency.tables.layers import LayerProfile
from hasten.latency.tables.surface import SLOWER, Surface, level_through

SIZES = np.array([1.0, 2.0, 4.0, 8.0, 16.0])


def ideal(m, n):
    return 1e-6 + 1e-9 * np.maximum(m * n, 8.0 * m)


def floor(m, n):
    return 0.5e-9 * m * n


def surface(times):
    return Surface([SIZES, SIZES], times, ideal=ideal, floor=floor)


GRID = ideal(SIZES[:, None], SIZES[None, :])


@given(scale=st.floats(0.5, 3.0), out=st.tuples(st.integers(0, 4), st.integers(0, 4)))
def test_what_is_left_out_of_a_scaled_ideal_comes_back(scale, out):
    """A kernel in proportion to its ideal is known from any two shapes around, corners of the ideal included."""
    times = scale * GRID
    times[out] = np.nan
    found = surface(times).ratio[out]
    inside = 0 < out[0] < 4 or 0 < out[1] < 4
    assert found == pytest.approx(np.log(scale)) if inside else np.isnan(found)


@given(place=st.tuples(st.integers(0, 3), st.integers(0, 4)), factor=st.floats(1.0, 9.0))
def test_only_times_that_a_larger_shape_beats_are_outliers(place, factor):
    times = GRID.copy()
    times[place] *= factor
    larger = min(times[place[0] + 1 :, place[1]].min(), times[place[0], place[1] + 1 :].min(initial=np.inf))
    flagged = surface(times).outliers
    assert flagged[place] == (times[place] > SLOWER * larger)
    assert flagged.sum() <= 1


def test_outliers_neither_stay_nor_spoil_their_neighbours():
    times = GRID.copy()
    times[2, 2] *= 5.0
    assert surface(times).ratio == pytest.approx(np.zeros((5, 5)), abs=1e-12)


@given(
    place=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    factor=st.sampled_from([0.2, 0.6, 1.6, 5.0]),
    away=st.integers(0, 1),
)
def test_slips_either_way_are_replaced_by_what_the_shapes_around_say(place, factor, away):
    """A time alone between smooth ones is no kernel that a model would meet: whether too long or too short."""
    times = GRID * (1.0 + 0.02 * SIZES[:, None])
    expected = np.log(times / GRID)[place]
    times[place] *= factor
    if away:
        times[place[0], place[1] - 1] = np.nan
    assert surface(times).ratio[place] == pytest.approx(expected, abs=0.05)


def test_rough_times_are_not_slips():
    """Where every estimate misses, a time that is missed too says nothing against itself."""
    rough = np.exp(np.random.default_rng(3).normal(0.0, 0.3, GRID.shape))
    assert surface(GRID * rough).ratio == pytest.approx(np.log(rough))


def test_a_slow_kernel_that_neighbours_share_is_believed_and_met_where_it_was_left_out():
    times = GRID.copy()
    times[1:4, :4] *= 5.0
    slow = surface(times)
    assert not slow.outliers[1:4, :3].any()
    assert not slow.outliers[2, :4].any()
    times[2, 1] = np.nan
    assert np.exp(surface(times).ratio[2, 1]) == pytest.approx(5.0, rel=0.1)


def test_estimates_count_where_they_hit_the_shapes_around():
    """Along rows the ratio jumps to and fro, along columns it does not: what is left out comes from its column."""
    jumps = np.where(np.arange(5) % 2 == 0, 1.0, 2.0)
    times = GRID * jumps[:, None]
    times[2, 2] = np.nan
    assert np.exp(surface(times).ratio[2, 2]) == pytest.approx(1.0, rel=0.02)


def test_a_size_that_was_never_timed_is_predicted_from_those_beside_it():
    errors, _ = surface(2.0 * GRID).left_out_along(1)
    assert len(errors) == 15  # all but the first and the last column
    assert np.abs(errors).max() < 1e-6


def test_times_below_the_floor_are_raised_and_counted():
    times = GRID.copy()
    times[4, 4] = 1e-9
    found = surface(times)
    assert found.seconds[4, 4] == floor(16.0, 16.0)
    assert found.impossible.sum() == 1


def test_every_timed_shape_with_neighbours_is_scored_once():
    errors, outliers = surface(2.0 * GRID).left_out(5, seed=1, scored=range(5))
    assert len(errors) == len(outliers) <= 25
    assert len(errors) >= 18  # all but the corners, and those whose neighbours fell into the same part
    assert np.abs(errors).max() < 1e-6


@given(at=st.floats(0.1, 100.0))
def test_levels_go_on_beyond_both_ends(at):
    levels = np.array([0.1, np.nan, 0.3, 0.2, np.nan])
    found = float(level_through(SIZES, levels, np.array([at]))[0])
    assert 0.1 <= found <= 0.3
    if at <= 1.0:
        assert found == pytest.approx(0.1)
    if at >= 8.0:
        assert found == pytest.approx(0.2)


@pytest.mark.parametrize("path", operator_paths(), ids=lambda path: path.stem)
def test_no_table_beats_the_data_sheet(path):
    """Weights are not read faster than the memory, nor arithmetic done faster than the peak: also between shapes."""
    tables = OperatorTables(path)
    device = tables.ideals.device
    tokens = np.array([1.0, 7.0, 100.0, 1000.0, 3000.0])
    shapes = ((4096, 4096), (5000, 3000), (28672, 4096)) if tables.has_attention else ((4096, 4096),)
    for dtype, (n, k) in product(("bf16", "fp8"), shapes):
        found = tables.product_seconds(dtype, tokens, n, k)
        if found is None:
            assert not tables.has(f"gemm-{dtype}")
            continue
        size = {"bf16": 2, "fp8": 1}[dtype]
        assert (found >= size * n * k / device.memory_bandwidth * (1 - 1e-9)).all()
        assert (found >= 2 * tokens * n * k / device.peak_flops(dtype) * (1 - 1e-9)).all()


@settings(max_examples=20, deadline=None)
@given(
    tokens=st.integers(1, 8192),
    n=st.sampled_from([4096, 6144, 28672]),
    k=st.sampled_from([2048, 4096, 14336]),
)
def test_products_lie_between_those_of_the_shapes_around(tokens, n, k):
    tables = OperatorTables(next(path for path in operator_paths() if "h100" in path.stem))
    found = tables.product_seconds("bf16", np.array([float(tokens)]), n, k)
    surface = tables.surface("gemm-bf16")
    ratio = np.log(found / surface.ideal(tokens, n, k))
    known = surface.ratio[~np.isnan(surface.ratio)]
    assert known.min() - 1e-9 <= ratio <= known.max() + 1e-9


def test_a_device_profile_loads_within_50_ms():
    """The best of three, since the machine may be busy: tables are unpacked when they are asked for."""
    loads = [(OperatorTables, path) for path in operator_paths()]
    loads += [(LayerProfile, path) for path in profile_paths()]
    for kind, path in loads:
        best = np.inf
        for _ in range(3):
            start = time.perf_counter()
            kind(path)
            best = min(best, time.perf_counter() - start)
        assert best < 0.05, path.stem
