"""Figures with intervals: the value is the mean over runs, and copies of one run are no evidence."""

import math

import numpy as np
import pytest
from tests.report.build import queue, report, three

from hasten.core.request import SLO
from hasten.errors import InputError
from hasten.report.figures import attainment_figure, percentile_figure


def test_the_value_is_the_mean_over_runs() -> None:
    runs = [report(queue(400, 0.8, 1.0, seed)) for seed in range(3)]
    found = percentile_figure(runs, "ttft", 99.0)
    assert found.value == pytest.approx(np.mean([each.ttft.p99 for each in runs]))
    assert found.interval.holds(found.value)
    assert percentile_figure(runs, "ttft", 99.0) == found


def test_copies_of_a_run_do_not_narrow_its_interval() -> None:
    one = report(queue(900, 0.8, 1.0, 7))
    alone, copies = percentile_figure([one], "e2e", 90.0), percentile_figure([one] * 5, "e2e", 90.0)
    assert copies.value == pytest.approx(alone.value)
    narrow, wide = (each.interval.high - each.interval.low for each in (copies, alone))
    assert narrow == pytest.approx(wide, rel=0.3)


def test_more_independent_runs_narrow_the_interval() -> None:
    runs = [report(queue(300, 0.8, 1.0, seed)) for seed in range(48)]
    few, many = percentile_figure(runs[:3], "ttft", 50.0), percentile_figure(runs, "ttft", 50.0)
    assert many.interval.high - many.interval.low < 0.6 * (few.interval.high - few.interval.low)


def test_attainment_counts_every_request() -> None:
    found = attainment_figure([report(three(), slo=SLO(ttft=0.6))])
    assert found.value == pytest.approx(1 / 3)
    with pytest.raises(InputError, match="needs limits"):
        attainment_figure([report(three())])


def test_what_is_not_there_has_no_figure() -> None:
    nothing = percentile_figure([report(three().select(np.array([2])))], "ttft", 99.0)
    assert math.isnan(nothing.value)
    assert math.isnan(nothing.interval.low)
    with pytest.raises(InputError, match="choose ttft"):
        percentile_figure([report(three())], "speed", 99.0)
    with pytest.raises(InputError, match="needs a report"):
        percentile_figure([], "ttft", 99.0)
