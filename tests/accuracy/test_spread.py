"""Spreads of step times from errors of points: they come back from what they made, and cover what they did not see."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hasten.accuracy.closed_loop import load_points, simulate_point
from hasten.accuracy.spread import (
    Seen,
    coverage,
    factors,
    fit_spreads,
    group_kind,
    leave_one_out,
    see,
    split,
    unseen_factor,
)
from hasten.errors import InputError

DEVICES = (("h100-sxm", "fp8"), ("b200-sxm", "fp8"), ("b200-sxm", "fp4"))


def made(groups: int, each: int, decode: float, prefill: float, seed: int = 0) -> list[Seen]:
    """Points with normal errors of decodes and prefills, independent of each other."""
    rng = np.random.default_rng(seed)
    found = []
    for group in range(groups):
        for u, v in zip(rng.normal(0, decode, each), rng.normal(0, prefill, each), strict=True):
            share = float(rng.uniform(0.6, 0.95))
            found.append(
                Seen((str(group), "", "", ""), (1 - share) * u + share * v, 0.95 * u + 0.05 * v, share, 0.05)
            )
    return found


def test_spreads_come_back() -> None:
    decode, prefill = fit_spreads(made(20, 50, 0.1, 0.3))
    assert decode == pytest.approx(0.1, rel=0.2)
    assert prefill == pytest.approx(0.3, rel=0.2)


def test_held_out_groups_are_covered_as_often_as_asked() -> None:
    found = leave_one_out(made(12, 60, 0.1, 0.3))
    for figure in ("ttft", "tpot"):
        assert 0.85 <= np.mean([getattr(each, figure) for each in found.values()]) <= 0.95


def test_a_kind_left_out_is_covered_by_spreads_that_cover_the_worst_kind_left_out() -> None:
    """Kinds: B200 in fp8, H100 in fp8 and one twice as far off, B200 in fp4, which the others know nothing of."""
    groups = [("llama-3.1-70b", device, "vllm", precision) for device, precision in DEVICES]
    points = [
        replace(each, group=group, tpot=size * each.tpot, ttft=size * each.ttft)
        for group, size in zip(groups, (1.0, 1.0, 2.0), strict=True)
        for each in made(1, 300, 0.1, 0.2, seed=len(group[1]) + len(group[3]))
    ]
    assert [group_kind(each) for each in groups] == ["9/8", "10/8", "10/4"]
    factor = unseen_factor(points)
    assert factor == pytest.approx(2.0, rel=0.25)
    own, others = split(points, "10/4")
    assert {each.group for each in own} == {groups[2]}
    assert len(own) + len(others) == len(points)
    spreads = fit_spreads(others)
    assert coverage(own, spreads).tpot < 0.75
    wide = coverage(own, (factor * spreads[0], factor * spreads[1]))
    assert wide.tpot >= 0.895
    assert wide.ttft >= 0.895


def test_kinds_that_are_covered_ask_for_no_more() -> None:
    """One kind alone has no others to be left out of."""
    group = ("llama-3.1-70b", "b200-sxm", "vllm", "fp8")
    assert unseen_factor([replace(each, group=group) for each in made(1, 9, 0.1, 0.1)]) == 1.0


def test_coverage_and_width_grow_with_confidence() -> None:
    points = made(5, 40, 0.2, 0.2)
    spreads = fit_spreads(points)
    shares = [coverage(points, spreads, confidence) for confidence in (0.3, 0.6, 0.9)]
    assert shares[0].tpot < shares[1].tpot < shares[2].tpot
    assert shares[0].ttft_width < shares[1].ttft_width < shares[2].ttft_width


def test_groups_count_the_same_however_many_points_they_have() -> None:
    many = [Seen(("a", "", "", ""), 0.1, 0.1, 0.8, 0.0)] * 900
    few = [Seen(("b", "", "", ""), 0.5, 0.5, 0.8, 0.0)] * 9
    assert fit_spreads([*many, *few])[0] == pytest.approx(0.5 / 1.6449, rel=0.01)


def test_without_ttft_there_is_no_spread_of_prefills() -> None:
    with pytest.raises(InputError, match="no points"):
        fit_spreads([Seen(("a", "", "", ""), 0.1, 0.1, 0.8, 0.0, counts_ttft=False)])
    alone = coverage([Seen(("a", "", "", ""), 0.1, 0.1, 0.8, 0.0, counts_ttft=False)], (1.0, 1.0))
    assert alone.tpot == 1.0
    assert math.isnan(alone.ttft)


def test_first_order_intervals_are_those_of_the_simulator() -> None:
    """What coverage computes from elasticities is what simulating both ends gives, within a few percent."""
    point = next(
        each
        for each in load_points()
        if (each.model, each.device, each.engine, each.tp) == ("llama-3.1-70b", "h100-sxm", "vllm", 4)
        and (each.input_tokens, each.output_tokens, each.concurrency) == (1024, 1024, 8)
    )
    spreads = (0.08, 0.2)
    found, base = see(point), simulate_point(point)
    for sign, end in zip((-1, 1), factors(spreads), strict=True):
        simulated = end.simulate(point)
        for kind in ("ttft", "tpot"):
            share = getattr(found, f"{kind}_share")
            first_order = math.exp(sign * 1.6449 * ((1 - share) * spreads[0] + share * spreads[1]))
            assert getattr(simulated, kind) / getattr(base, kind) == pytest.approx(first_order, rel=0.06)
