"""The data of a run's page says what the run says."""

import numpy as np
import pytest
from tests.page.build import agents, large, played, split

from hasten.explain.labels import LABELS
from hasten.page import causes, columns, steps
from hasten.page.document import document
from hasten.page.run import Heading, run_data
from hasten.report import metrics
from hasten.report.records import Records
from hasten.report.report import Report

HEADING = Heading(model="m", deployment="d", workload="w")


def data():
    report, found, log = played()
    return run_data(HEADING, report, found=found, log=log)


def test_requests_are_those_of_the_report():
    report, rows = played()[0], data()["requests"]
    read = {name: columns.read(column) for name, column in rows["columns"].items()}
    by_id = np.argsort(read["id"])
    assert rows["count"] == len(report.records)
    of_report = report.records.select(np.argsort(report.records.id))
    np.testing.assert_allclose(read["ttft_ms"][by_id], metrics.ttft(of_report) * 1e3, rtol=1e-6)
    np.testing.assert_allclose(read["e2e_ms"][by_id], metrics.e2e(of_report) * 1e3, rtol=1e-6)
    np.testing.assert_array_equal(read["output_tokens"][by_id], of_report.output_tokens)
    assert (np.diff(read["arrival_s"]) >= 0.0).all()


def test_every_label_has_one_family():
    known = {each["family"] for each in causes.families()}
    assert [each["label"] for each in causes.labels()] == list(LABELS)
    assert {each["family"] for each in causes.labels()} == known


def test_a_band_is_made_of_its_labels_and_bands_of_all_requests():
    found = played()[1]
    for metric, bands in data()["composition"].items():
        known = int((~np.isnan(found.latency(metric))).sum())
        assert sum(band["requests"] for band in bands) == known
        for band in bands:
            assert sum(band["labels_ms"].values()) == pytest.approx(band["mean_ms"], rel=1e-9)
        means = [band["mean_ms"] for band in bands]
        assert means == sorted(means)


def test_programs_have_bars_of_their_own():
    report, found, programs, log = agents()
    whole = run_data(HEADING, report, found=found, programs=programs, log=log)
    bands = whole["composition"]["program"]
    assert sum(band["requests"] for band in bands) == len(programs.session) == whole["figures"]["programs"]
    assert any(band["labels_ms"].get("tool", 0.0) > 0.0 for band in bands)
    for band in bands:
        assert sum(band["labels_ms"].values()) == pytest.approx(band["mean_ms"], rel=1e-9)
    assert "program" not in run_data(HEADING, report, found=found)["composition"]


def test_what_is_on_its_way_between_pools_is_counted():
    report, found, log = split()
    whole = run_data(HEADING, report, found=found, log=log)["timeline"]
    assert [each["name"] for each in whole["ranks"]] == ["prefill 0", "decode 1"]
    times, counts = (columns.read(whole["moving"][name]) for name in ("begin_s", "requests"))
    ways = [way for way in log.handovers.values() if way.travels]
    assert (np.diff(times) >= 0.0).all()
    assert counts.min() == counts[-1] == 0
    middle = times[len(times) // 2] + 1e-6
    assert counts[np.searchsorted(times, middle) - 1] == sum(
        way.pulled < middle < way.arrives for way in ways
    )
    assert "moving" not in data()["timeline"]


def test_shares_of_a_life_sum_to_one():
    report, found, _ = played()
    lives = data()["lives"]
    whole = sum(columns.read(each) for each in lives["to_first"])
    np.testing.assert_allclose(whole, 1.0, atol=len(LABELS) / 65535)
    later = sum(columns.read(each) for each in lives["after_first"])
    several = report.records.select(np.argsort(report.records.arrival, kind="stable")).output_tokens > 1
    np.testing.assert_allclose(later[several], 1.0, atol=len(LABELS) / 65535)
    assert found.records.id.size == whole.size


@pytest.mark.parametrize("most", [10**6, 64])
def test_a_timeline_keeps_the_time_that_replicas_worked(most):
    report, _, log = played()
    blocks = [each.num_blocks for each in report.stats.replicas]
    ranks = steps.timeline(log, blocks, most=most)["ranks"]
    for rank, stats in zip(ranks, report.stats.replicas, strict=True):
        begin, end = columns.read(rank["begin_s"]), columns.read(rank["end_s"])
        worked = columns.read(rank["prefill_share"]) + columns.read(rank["decode_share"])
        assert (worked * (end - begin)).sum() == pytest.approx(stats.busy_seconds, rel=0.01)
        assert columns.read(rank["kv_share"]).max() == pytest.approx(stats.kv_peak_share, abs=0.01)
        assert rank["merged"] == (most == 64)
        assert rank["cells"] <= most


def test_without_a_log_there_is_neither_timeline_nor_composition():
    found = run_data(HEADING, played()[0])
    assert not found.keys() & {"timeline", "composition", "lives"}


def test_requests_that_were_not_served_have_a_row_without_times():
    records = Records(
        arrival=[0.0, 1.0],
        first_token=[0.5, np.nan],
        finish=[0.9, np.nan],
        prompt_tokens=[10, 10],
        output_tokens=[5, 0],
        status=[0, 1],
    )
    rows = run_data(HEADING, Report(records=records, origin="measured", error="none"))["requests"]
    assert columns.read(rows["columns"]["status"]).tolist() == [0, 1]
    assert np.isnan(columns.read(rows["columns"]["ttft_ms"])[1])


def test_a_page_of_100_000_requests_is_below_8_mb():
    assert len(document("big", large())) < 8e6


def test_ranks_are_counted_within_their_replica():
    log = played()[2]
    rank = log.ranks[0]
    both = type(log)()
    for replica in (0, 0, 1, 1):
        copy = type(rank)(replica, None)
        copy.rows = rank.rows
        both.ranks.append(copy)
    names = [each["name"] for each in steps.timeline(both, [100] * 4)["ranks"]]
    assert names == ["replica 0, rank 0", "replica 0, rank 1", "replica 1, rank 0", "replica 1, rank 1"]
