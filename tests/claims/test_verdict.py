"""Verdicts follow the rule, whatever the figures."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasten.claims.harness.claim import Falsifier, Figure, Findings, Region, equal, gain
from hasten.claims.harness.estimate import Estimate
from hasten.claims.harness.verdict import FAILS, HOLDS, IN_PART, VERDICTS, judge, judge_figure

numbers = st.floats(0.01, 100.0)
ONE = Estimate.exact(1.0)


@st.composite
def estimates(draw: st.DrawFn) -> Estimate:
    value, width = draw(numbers), draw(st.floats(0.0, 1.0))
    return Estimate(value, value * (1 - width), value * (1 + width), 3)


def findings(*figures: Figure, falsified: bool = False) -> Findings:
    return Findings(
        figures=figures,
        falsifiers=[Falsifier(setting="equal lengths", ours=ONE, high=0.5 if falsified else 1.5)],
        regions=[Region(where="low load", ours=ONE)],
        origin="a test",
    )


def better(figure: Figure, factor: float) -> Figure:
    ours = figure.ours
    return replace(
        figure, ours=Estimate(ours.value * factor, ours.low * factor, ours.high * factor, ours.seeds)
    )


@given(estimates(), numbers, st.floats(0, 0.5), st.floats(1, 10))
def test_a_larger_gain_is_never_judged_worse(
    ours: Estimate, paper: float, slack: float, factor: float
) -> None:
    figure = gain("throughput", ours, paper=paper, tolerance=slack)
    before, after = judge_figure(figure), judge_figure(better(figure, factor))
    assert VERDICTS.index(after) <= VERDICTS.index(before)


@given(estimates(), numbers, st.booleans())
def test_a_mirrored_figure_is_judged_the_same(ours: Estimate, paper: float, has_paper: bool) -> None:
    """A time ratio of 1/2 says the same as a speed-up of 2, without tolerance."""
    if ours.low <= 0:
        return
    published = paper if has_paper else None
    if published is not None and abs(ours.value - published) < 1e-9 * published:
        return  # rounding decides
    mirrored = Estimate(1 / ours.value, 1 / ours.high, 1 / ours.low, ours.seeds)
    up = gain("speed", ours, paper=published, tolerance=0.0)
    down = Figure(
        name="time",
        ours=mirrored,
        paper=None if published is None else 1 / published,
        tolerance=0.0,
        neutral=1.0,
        is_higher_better=False,
    )
    assert judge_figure(up) == judge_figure(down)


@given(st.lists(estimates(), min_size=1, max_size=4), numbers)
def test_a_violated_falsifier_refutes_whatever_the_figures_say(ours: list[Estimate], paper: float) -> None:
    figures = [gain(str(i), each, paper=paper) for i, each in enumerate(ours)]
    assert judge(findings(*figures, falsified=True)) == FAILS
    verdicts = {judge_figure(each) for each in figures}
    assert judge(findings(*figures)) == (verdicts.pop() if len(verdicts) == 1 else IN_PART)


@pytest.mark.parametrize(
    ("ours", "paper", "expected"),
    [
        (Estimate(2.0, 1.9, 2.1), 2.2, HOLDS),  # 2.0 reaches 0.9 x 2.2
        (Estimate(1.9, 1.1, 2.7), 2.2, IN_PART),  # a wide interval is no help
        (Estimate(1.5, 1.4, 1.6), 2.2, IN_PART),
        (Estimate(1.1, 0.9, 1.3), 2.2, FAILS),  # 1 lies within the interval
        (Estimate(0.8, 0.7, 0.9), 2.2, FAILS),
        (Estimate(1.1, 1.05, 1.15), None, HOLDS),
        (Estimate(1.1, math.nan, math.nan), None, FAILS),  # one seed shows nothing
    ],
)
def test_gains(ours: Estimate, paper: float | None, expected: str) -> None:
    assert judge_figure(gain("throughput", ours, paper=paper)) == expected


def test_values_have_to_come_out_on_both_sides() -> None:
    verdicts = [
        judge_figure(equal("wait", Estimate.exact(ours), 10.0, unit="s", tolerance=0.03))
        for ours in (9.6, 9.8, 10.0, 10.2, 10.4)
    ]
    assert verdicts == [FAILS, HOLDS, HOLDS, HOLDS, FAILS]


def test_a_loss_is_one_only_when_the_interval_says_so() -> None:
    assert Region(where="low load", ours=Estimate(0.8, 0.7, 0.9)).is_loss
    assert not Region(where="low load", ours=Estimate(0.9, 0.7, 1.1)).is_loss
    assert Region(where="low load", ours=Estimate(1.2, 1.1, 1.3), is_higher_better=False).is_loss


def test_findings_without_falsifier_or_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="falsifiers"):
        Findings(figures=[gain("x", ONE)], falsifiers=[], regions=[Region(where="y", ours=ONE)], origin="z")
    with pytest.raises(ValueError, match="refuse nothing"):
        Falsifier(setting="anything", ours=ONE)
    with pytest.raises(ValueError, match="judged by"):
        Figure(name="nothing to judge", ours=ONE)
