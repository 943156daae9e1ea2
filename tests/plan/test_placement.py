"""Placement of phases: by hand, by enumeration, and queues against their closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasten.core.batch import Chunk
from hasten.core.request import Request
from hasten.errors import InputError
from hasten.latency.fitted import FittedCost, PhaseFit
from hasten.plan.placement import (
    Placement,
    Split,
    best_ratio,
    mean_ttft,
    pipeline_ttft,
    place,
    place_near,
    splits,
)

FIT = PhaseFit(prefill=(0.02, 1e-4, 1e-8), decode=(0.02, 1e-6, 4e-5), decode_large=(0.007, 1e-6, 1.6e-4))
ANYONE = Request(0, 0.0, 1, 1)
goodputs = st.dictionaries(
    st.builds(Split, st.integers(1, 8), st.integers(1, 4)), st.floats(0.01, 100.0), min_size=1
)


@given(goodputs, goodputs, st.floats(0.1, 1000.0))
def test_a_placement_carries_the_rate_and_no_instance_is_spare(
    prefill: dict[Split, float], decode: dict[Split, float], rate: float
) -> None:
    found = place(rate, prefill, decode)
    assert found.rate >= rate * (1 - 1e-12)
    for split, number, known in (
        (found.prefill, found.num_prefill, prefill),
        (found.decode, found.num_decode, decode),
    ):
        assert (number - 1) * known[split] < rate
        best = max(value / each.devices for each, value in known.items())
        assert known[split] / split.devices == best


def test_a_placement_counts_its_devices() -> None:
    found = place(10.0, {Split(1): 3.0, Split(2): 7.0}, {Split(1, 2): 4.0, Split(1): 1.9})
    assert found == Placement(
        prefill=Split(2), num_prefill=2, decode=Split(1, 2), num_decode=3, rate=pytest.approx(12.0)
    )
    assert found.devices == 2 * 2 + 3 * 2
    assert found.rate_per_device == pytest.approx(1.2)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan])
def test_a_rate_has_to_be_one(rate: float) -> None:
    with pytest.raises(InputError, match="rate is"):
        place(rate, {Split(): 1.0}, {Split(): 1.0})
    with pytest.raises(InputError, match="rate is"):
        place_near(rate, lambda first, second: 1.0, heads=4, layers=4, node_devices=4)


def test_nothing_within_limits_is_said() -> None:
    with pytest.raises(InputError, match="no split of decode"):
        place(1.0, {Split(): 1.0}, {Split(): 0.0})
    with pytest.raises(InputError, match="no pair of splits"):
        place_near(1.0, lambda first, second: 0.0, heads=4, layers=4, node_devices=4)


def test_splits_divide_heads_and_layers() -> None:
    assert splits(4, 6, 4) == [Split(1, 1), Split(1, 2), Split(1, 3), Split(2, 1), Split(2, 2), Split(4, 1)]


def test_near_pairs_share_a_node() -> None:
    asked: list[tuple[Split, Split]] = []

    def goodput(first: Split, second: Split) -> float:
        asked.append((first, second))
        return first.devices + second.devices - (0.5 if first.tp == 1 else 0.0)

    found = place_near(30.0, goodput, heads=4, layers=2, node_devices=4)
    assert found.prefill.tp > 1
    assert found.num_prefill == found.num_decode == math.ceil(30.0 / goodput(found.prefill, found.decode))
    # Two segments: pipelines twice as deep, still at most four devices per node.
    assert (Split(2, 2), Split(2, 2)) in asked
    assert all(first.devices + second.devices <= 8 for first, second in asked)
    assert (Split(2, 1), Split(1, 2)) in asked
    assert (Split(4, 1), Split(1, 1)) not in asked


def test_the_best_ratio_matches_both_sides() -> None:
    assert best_ratio(lambda one, other: min(one * 2.0, other * 1.0), 6) == (1, 2)
    assert best_ratio(lambda one, other: float(one), 4) == (3, 1)
    with pytest.raises(InputError, match="most is 1"):
        best_ratio(lambda one, other: 1.0, 1)


def test_equal_prompts_wait_as_the_formulas_say() -> None:
    assert mean_ttft(0.1, 5.0) == pytest.approx(0.1 + 5 * 0.01 / (2 * 0.5))
    assert mean_ttft(0.1, 5.0, pp=2) == pytest.approx(0.1 + 5 * 0.01 / (4 * (2 - 0.5)))
    assert mean_ttft(0.1, 5.0, speed_up=1.6) == pytest.approx(0.1 / 1.6 + 5 * 0.01 / (2 * 1.6 * (1.6 - 0.5)))
    assert mean_ttft(0.1, 10.0) == math.inf


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_a_pipeline_is_the_queue_of_the_formula(stages: int) -> None:
    arrivals = np.cumsum(np.random.default_rng(1).exponential(1 / 7.0, 60_000)).tolist()
    waits = pipeline_ttft(
        arrivals, [100] * len(arrivals), lambda batch: 0.1 / stages, stages=stages, saturation=100
    )
    assert np.mean(waits) == pytest.approx(mean_ttft(0.1, 7.0, pp=stages), rel=0.05)


def test_batches_hold_whole_prompts_up_to_saturation() -> None:
    seen: list[list[int]] = []

    def seconds(batch: list[int]) -> float:
        seen.append(batch)
        return 1.0

    waits = pipeline_ttft([0.0, 0.1, 0.2, 0.3], [900, 200, 300, 100], seconds, stages=2, saturation=512)
    assert seen == [[900], [200, 300], [100]]
    assert waits == pytest.approx([2.0, 2.9, 2.8, 3.7])


@given(st.lists(st.integers(1, 500), min_size=1, max_size=5))
def test_chunks_add_up_to_their_prompt(sizes: list[int]) -> None:
    cost, done, whole = FittedCost(FIT), 0, sum(sizes)
    pieces = 0.0
    for size in sizes:
        if size == 1 and done:  # one token behind others is an answer
            size = 2
            whole += 1
        pieces += cost.mixed([Chunk(ANYONE, size, done, False)], 0, 0) - FIT.prefill[0]
        done += size
    assert pieces == pytest.approx(FIT.stage_seconds([whole]) - FIT.prefill[0])


@given(st.integers(1, 300), st.integers(0, 10_000))
def test_answers_beside_a_prompt_share_its_weights(n: int, context: int) -> None:
    cost = FittedCost(FIT)
    chunk = Chunk(ANYONE, 300, 0, True)
    fixed, slope, _ = cost.decode_line(n, context)
    alone, answers = cost.mixed([chunk], 0, 0), fixed + slope * context
    assert cost.mixed([chunk], n, context) == pytest.approx(alone + answers - FIT.decode[0])
    joined = Chunk(ANYONE, 1, 50, True)
    fixed, slope, _ = cost.decode_line(n + 1, context + 50)
    assert cost.mixed([joined], n, context) == pytest.approx(fixed + slope * (context + 50))


def test_a_pipeline_divides_work_and_adds_hops() -> None:
    assert FIT.stage_seconds([100], 2) == pytest.approx(FIT.stage_seconds([100]) / 2 + 2e-3)
    fixed, slope, _ = FittedCost(FIT, 2).decode_line(40, 0)
    assert (fixed, slope) == pytest.approx((0.02 + 4e-5 * 20 + 4e-3, 0.5e-6))
    at_knee = FittedCost(FIT, 2).decode_line(190, 0)[0]
    assert at_knee == pytest.approx(0.007 + 1.6e-4 * 95 + 4e-3)
    with pytest.raises(InputError, match="stages is 0"):
        FittedCost(FIT, 0)
