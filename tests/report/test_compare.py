"""Intervals cover, pairing removes shared noise, and unequal things are not compared."""

import json
import math

import numpy as np
import pytest
from tests.report.build import queue, report, served, three

from hasten.core.request import SLO
from hasten.errors import InputError
from hasten.report import bootstrap
from hasten.report.compare import compare, render
from hasten.report.gaps import Gaps
from hasten.report.records import Records, Status
from hasten.report.report import Report


def slower(records: Records, seconds: float) -> Records:
    """The same run with every first token later."""
    columns = records.columns()
    columns |= {name: columns[name] + seconds for name in ("first_token", "finish")}
    return Records(gaps=records.gaps, **columns)


def test_interval_of_a_percentile_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    covered = sum(
        bootstrap.percentile_interval(rng.exponential(1.0, 400), 50, resamples=100, seed=i).holds(math.log(2))
        for i in range(100)
    )
    # 95 % intervals, 100 trials: fewer than 85 or more than 100 would be a mistake, not bad luck
    assert 85 <= covered <= 100


def test_blocks_widen_the_interval_where_requests_wait_for_each_other() -> None:
    records = queue(2000, rate=0.9, service=1.0, seed=1)
    waits = records.first_token - records.arrival
    alone = bootstrap.percentile_interval(waits, 50, block=1)
    blocks = bootstrap.percentile_interval(waits, 50)
    assert blocks.high - blocks.low > 2 * (alone.high - alone.low)


def test_intervals_are_reproducible_and_settings_are_checked() -> None:
    values = np.arange(50.0)
    assert bootstrap.percentile_interval(values, 90, seed=3) == bootstrap.percentile_interval(
        values, 90, seed=3
    )
    assert bootstrap.percentile_interval(values, 90, seed=3) != bootstrap.percentile_interval(
        values, 90, seed=4
    )
    assert math.isnan(bootstrap.percentile_interval(values[:1], 90).low)
    with pytest.raises(InputError, match="confidence = 95 must lie between 0 and 1"):
        bootstrap.percentile_interval(values, 90, confidence=95)
    with pytest.raises(InputError, match="resamples = 1 is below 2"):
        bootstrap.percentile_interval(values, 90, resamples=1)


def test_pairing_by_request_removes_the_noise_both_sides_share() -> None:
    records = queue(500, rate=0.8, service=1.0, seed=2)
    result = compare({"base": report(records), "slow": report(slower(records, 0.25))}, resamples=50)
    mean = result.find("slow", "ttft_mean")
    assert mean.change == pytest.approx(0.25)
    # the difference is the same for every request, so the interval has no width, though waits vary by seconds
    assert mean.interval.low == pytest.approx(0.25)
    assert mean.interval.high == pytest.approx(0.25)
    assert mean.is_clear
    pace = result.find("slow", "tpot_mean")
    assert pace.change == pytest.approx(0.0, abs=1e-12)
    assert not pace.is_clear
    assert result.paired == 500


def test_a_side_compared_with_itself_differs_in_nothing() -> None:
    records = queue(100, rate=0.8, service=1.0, seed=2)
    result = compare({"a": report(records), "b": report(records)}, resamples=20)
    assert all(each.change == 0 and not each.is_clear for each in result.differences)


def test_rows_are_matched_by_id_not_by_position() -> None:
    records = queue(50, rate=0.8, service=1.0, seed=2)
    shuffled = slower(records, 1.0).select(np.random.default_rng(0).permutation(50)[:40])
    result = compare({"a": report(records), "b": report(shuffled)}, resamples=20)
    assert result.paired == 40
    assert result.find("b", "ttft_mean").change == pytest.approx(1.0)
    assert result.find("b", "ttft_p99").change == pytest.approx(1.0)


def test_requests_one_side_lost_count_for_attainment_only() -> None:
    slo = SLO(ttft=2.0)
    full = served((0.0, 0.5, 1.0, 1, 2), (1.0, 2.0, 3.0, 1, 2), (2.0, 3.0, 4.0, 1, 2))
    result = compare({"full": report(full, slo=slo), "lossy": report(three(), slo=slo)}, resamples=20)
    assert result.paired == 2
    assert result.not_served == {"full": 0, "lossy": 1}
    attainment = result.find("lossy", "attainment")
    assert (attainment.baseline, attainment.value) == pytest.approx((1.0, 2 / 3))
    assert result.find("lossy", "ttft_mean").change == pytest.approx(0.0)
    assert "lossy did not serve 1 requests" in render(result)


def test_seeds_are_paired_and_resampled() -> None:
    base = [report(queue(60, rate=0.7, service=1.0, seed=s)) for s in range(4)]
    rng = np.random.default_rng(0)
    other = [
        report(slower(each.records, float(delay)))
        for each, delay in zip(base, rng.uniform(0, 1, 4), strict=True)
    ]
    result = compare({"base": base, "other": other}, resamples=100)
    assert result.seeds == 4
    mean = result.find("other", "ttft_mean")
    assert 0 < mean.interval.low < mean.change < mean.interval.high < 1


def test_figures_of_whole_runs_are_compared_without_interval() -> None:
    fast = served((0.0, 1.0, 2.0, 10, 11), gaps=Gaps.from_values([0.1] * 10))
    slow = served((0.0, 1.0, 3.0, 10, 11), gaps=Gaps.from_values([0.2] * 10))
    result = compare({"fast": report(fast, price_per_hour=1.0), "slow": report(slow, price_per_hour=1.0)})
    itl = result.find("slow", "itl_p99")
    assert itl.change == pytest.approx(0.1)
    assert math.isnan(itl.interval.low)
    assert result.find("slow", "output_throughput").relative == pytest.approx(-1 / 3)
    assert result.find("slow", "output_cost").relative == pytest.approx(0.5)
    with pytest.raises(KeyError, match="slow: colour"):
        result.find("slow", "colour")


def test_table_and_json_show_units_sources_and_error() -> None:
    records = queue(50, rate=0.8, service=1.0, seed=2)
    result = compare({"fcfs": report(records), "sjf": report(slower(records, 0.5))}, resamples=20)
    text = render(result)
    assert "ttft mean (ms)" in text
    assert "[+500.00, +500.00] *" in text
    assert "fcfs: Origin: analytical. Error: not measured" in text
    figures = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    row = next(each for each in figures["differences"] if each["figure"] == "ttft_mean")
    assert (row["side"], row["unit"], row["change"]) == ("sjf", "ms", pytest.approx(500))


def nothing_served() -> Report:
    records = three()
    columns = records.columns() | {"status": np.full(3, Status.UNFINISHED)}
    return report(Records(**columns))


@pytest.mark.parametrize(
    ("sides", "baseline", "message"),
    [
        ({"a": report(three())}, None, "needs two sides, not 1"),
        ({"a": report(three()), "b": report(three())}, "c", "unknown baseline 'c': choose a, b"),
        ({"a": [report(three())] * 2, "b": report(three())}, None, "one report per seed"),
        ({"a": [], "b": []}, None, "one report per seed"),
        ({"a": report(three(), slo=SLO(ttft=1)), "b": report(three())}, None, "different service levels"),
        ({"a": report(three()), "b": nothing_served()}, None, "no request was served by every side"),
        (
            {"a": report(three()), "b": report(served((0, 1, 2, 1, 1), (0, 1, 2, 1, 1), id=[1, 1]))},
            None,
            "b: request ids are not unique",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(sides: dict, baseline: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare(sides, baseline=baseline)


def test_a_trace_replayed_by_several_seeds_is_evidence_once() -> None:
    records = queue(900, rate=0.8, service=1.0, seed=4)
    noise = np.random.default_rng(0).exponential(0.5, records.arrival.size)
    columns = records.columns()
    later = Records(**(columns | {name: columns[name] + noise for name in ("first_token", "finish")}))
    base, slow = report(records), report(later)

    def width(copies: int) -> float:
        change = (
            compare({"base": [base] * copies, "slow": [slow] * copies}).find("slow", "ttft_mean").interval
        )
        return change.high - change.low

    assert width(5) == pytest.approx(width(1), rel=0.25)


def test_programs_are_compared_as_wholes() -> None:
    # Sessions 7 (two calls, away for 2 s between them), 9 (one call) and 3 (two calls, the second lost on one side).
    session, status = [7, 9, 7, 3, 3], [Status.OK] * 5
    rows = [(0.0, 1.0, 2.0, 5, 10), (1.0, 2.0, 3.0, 5, 10), (4.0, 5.0, 6.0, 5, 30)]
    rows += [(5.0, 6.0, 7.0, 5, 10), (8.0, 9.0, 9.5, 5, 10)]
    late = [*rows[:2], (4.0, 6.0, 8.0, 5, 30), *rows[3:]]
    old = report(served(*rows, session=session, status=status))
    new = report(served(*late, session=session, status=[*status[:4], Status.REJECTED]))
    found = compare({"old": old, "new": new})
    whole, pace = (found.find("new", f"program_{name}_mean") for name in ("completion", "token_latency"))
    assert (whole.baseline, whole.value) == (pytest.approx((6 + 2) / 2), pytest.approx((8 + 2) / 2))
    assert pace.baseline == pytest.approx((4 / 40 + 2 / 10) / 2)
    assert pace.value == pytest.approx((6 / 40 + 2 / 10) / 2)
    assert "program completion mean (ms)" in render(found)


def test_single_calls_are_no_programs() -> None:
    for columns in ({}, {"session": [4, 2, 3]}):
        rows = served(*[(float(at), at + 1.0, at + 2.0, 5, 10) for at in range(3)], **columns)
        found = compare({"old": report(rows), "new": report(slower(rows, 1.0))})
        assert not any(each.figure.startswith("program") for each in found.differences)
