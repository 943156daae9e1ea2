"""Definitions by hand, and laws that hold for any run."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report.build import served, three

from hasten.core.request import SLO
from hasten.errors import InputError
from hasten.report import metrics
from hasten.report.records import Records, Status

rows = st.lists(
    st.tuples(
        st.floats(0, 100),
        st.floats(0, 10),
        st.floats(0, 10),
        st.integers(1, 500),
        st.integers(1, 50),
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)


def build(drawn: list[tuple[float, float, float, int, int, bool]]) -> Records:
    arrival, wait, rest, prompt, output, ok = map(np.array, zip(*drawn, strict=True))
    first = arrival + wait
    return Records(
        arrival=arrival,
        first_token=first,
        finish=np.where(output > 1, first + rest, first),
        prompt_tokens=prompt,
        output_tokens=output,
        status=np.where(ok, Status.OK, Status.UNFINISHED),
    )


def test_latencies_by_hand() -> None:
    records = three()
    assert metrics.ttft(records).tolist() == [0.5, 1.0]
    assert metrics.engine_ttft(records).tolist() == [0.25, 0.5]
    assert metrics.tpot(records) == pytest.approx([0.1])
    assert metrics.e2e(records).tolist() == [1.5, 1.0]
    assert metrics.queue_time(records).size == 0


def test_summary_is_numpys() -> None:
    values = np.array([3.0, 1.0, 2.0, 10.0])
    summary = metrics.summarise(values, (25, 99))
    assert (summary.count, summary.mean, summary.median) == (4, 4.0, 2.5)
    assert summary.std == np.std(values)
    assert summary.percentile(25) == np.percentile(values, 25)
    assert summary.p99 == np.percentile(values, 99)
    with pytest.raises(InputError, match=r"percentile 95 was not computed \(only 25, 99\)"):
        _ = summary.p95


def test_summary_of_nothing_is_undefined() -> None:
    for summary in (metrics.summarise(np.zeros(0)), metrics.summarise_gaps(None)):
        assert summary.count == 0
        assert all(
            map(
                math.isnan, (summary.mean, summary.median, summary.std, summary.p90, summary.p95, summary.p99)
            )
        )


@pytest.mark.parametrize(
    ("slo", "good"),
    [
        (SLO(), [True, True, False]),
        (SLO(ttft=0.5), [True, False, False]),  # met at equality
        (SLO(ttft=0.499), [False, False, False]),
        (SLO(tpot=0.05), [False, True, False]),  # one token counts as TPOT 0
        (SLO(tpot=0.11, e2e=1.2), [False, True, False]),
        (SLO(ttft=1, tpot=0.11, e2e=1.5), [True, True, False]),
    ],
)
def test_goodput_follows_vllms_rules(slo: SLO, good: list[bool]) -> None:
    records = three()
    assert metrics.is_good(records, slo).tolist() == good
    assert metrics.attainment(records, slo) == sum(good) / 3


@given(rows, st.floats(0, 10), st.floats(0, 1), st.floats(0, 20))
def test_a_request_is_good_when_each_limit_alone_is_met(
    drawn: list, ttft: float, tpot: float, e2e: float
) -> None:
    records = build(drawn)
    alone = [metrics.is_good(records, slo) for slo in (SLO(ttft=ttft), SLO(tpot=tpot), SLO(e2e=e2e))]
    together = metrics.is_good(records, SLO(ttft=ttft, tpot=tpot, e2e=e2e))
    assert together.tolist() == np.logical_and.reduce(alone).tolist()


@given(rows, st.floats(0, 100))
def test_percentile_constraint_counts_lost_requests_as_infinitely_late(
    drawn: list, percentile: float
) -> None:
    records = build(drawn)
    lost = int(np.count_nonzero(~records.is_ok))
    value = metrics.percentile_with_losses(metrics.ttft(records), lost, percentile)
    late = np.sort(np.concatenate([metrics.ttft(records), np.full(lost, np.inf)]))
    if late[math.ceil((late.size - 1) * (percentile / 100))] == np.inf:
        assert value == math.inf
    else:
        finite = np.where(np.isinf(late), 1e9, late)
        assert value == pytest.approx(np.percentile(finite, percentile), rel=1e-12)


def test_percentile_slo_and_goodput_share_are_different_constraints() -> None:
    # Each limit is missed by a different half percent: both p99 hold, yet 1 % of requests are not good.
    first = np.full(1000, 0.1)
    first[:5] = 2.0
    pace = np.full(1000, 0.01)
    pace[-5:] = 1.0
    records = served(*((0.0, f, f + p * 10, 1, 11) for f, p in zip(first, pace, strict=True)))
    slo = SLO(ttft=0.5, tpot=0.05)
    checks = metrics.check_percentiles(records, slo, 99)
    assert [check.holds for check in checks] == [True, True]
    assert metrics.attainment(records, slo) == 0.99
    assert [check.holds for check in metrics.check_percentiles(records, slo, 99.9)] == [False, False]
    assert str(checks[0]) == "p99 ttft 100.0 ms <= 500 ms"


def test_throughput_counts_served_requests_only() -> None:
    rates = metrics.throughput(three(), 2.0)
    assert (rates.requests, rates.output_tokens, rates.total_tokens) == (1.0, 6.0, 156.0)
    assert math.isnan(metrics.throughput(three(), 0.0).requests)


@given(rows)
def test_concurrency_never_exceeds_requests_and_matches_a_count(drawn: list) -> None:
    records = build(drawn)
    end = np.where(records.is_ok, records.finish, np.inf)
    inside = [(records.arrival <= t) & (t < end) for t in records.arrival]
    # a request that ends as it arrives is inside for no time, but does arrive
    counted = max(int(np.count_nonzero(mask)) for mask in inside)
    assert counted <= metrics.peak_concurrency(records) <= len(records)
    if np.all(end > records.arrival):
        assert metrics.peak_concurrency(records) == counted


def tokens_by_second(records: Records) -> float:
    """Most output tokens in a second, request by request: each request's later tokens evenly spread."""
    seconds: dict[int, float] = {}
    for row in np.flatnonzero(records.is_ok):
        begin, end = np.array([records.first_token[row], records.finish[row]]) - records.arrival.min()
        rest = records.output_tokens[row] - 1
        seconds[int(begin)] = seconds.get(int(begin), 0.0) + 1
        for second in range(int(begin), int(end) + 1):
            inside = min(second + 1, end) - max(second, begin)
            share = inside / (end - begin) if int(end) > int(begin) else 1.0
            seconds[second] = seconds.get(second, 0.0) + rest * share
    return max(seconds.values(), default=0.0)


@given(rows)
def test_peak_output_throughput_matches_a_count(drawn: list) -> None:
    records = build(drawn)
    assert metrics.peak_output_throughput(records) == pytest.approx(
        tokens_by_second(records), rel=1e-9, abs=1e-9
    )


def test_peak_output_throughput_of_a_trace_that_is_silent_for_years() -> None:
    rows = [(0.0, 0.0, 3.0, 5, 31), (9e8, 9e8, 9e8 + 3.0, 5, 41)]
    assert metrics.peak_output_throughput(served(*rows)) == pytest.approx(1 + 40 / 3)


def test_peak_output_throughput_by_hand() -> None:
    # tokens at 0.0 and then 10 per second for 3 seconds
    assert metrics.peak_output_throughput(served((0.0, 0.0, 3.0, 5, 31))) == pytest.approx(11)


def test_steady_window_leaves_out_both_ends() -> None:
    records = served(*((float(t), t + 1.0, t + 2.0, 1, 2) for t in range(10)))
    begin, end = metrics.steady_window(records, warm_up=2, drain=3)
    assert records.between(begin, end).arrival.tolist() == [2, 3, 4, 5]
    with pytest.raises(InputError, match="leave nothing of 9 s"):
        metrics.steady_window(records, warm_up=5, drain=5)


@pytest.mark.parametrize("figure", [metrics.ttft, metrics.tpot, metrics.e2e])
@given(drawn=rows)
def test_latencies_are_never_negative(figure: Callable[[Records], np.ndarray], drawn: list) -> None:
    assert (figure(build(drawn)) >= 0).all()
