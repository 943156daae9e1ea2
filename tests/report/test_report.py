"""The report of a small run by hand: figures, JSON keys, table."""

import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from tests.report.build import report, served, three

from hasten.core.request import SLO
from hasten.errors import InputError
from hasten.report import definitions
from hasten.report.gaps import Gaps
from hasten.report.records import Records, Status
from hasten.report.report import Report
from hasten.report.stats import ReplicaStats, RunStats
from hasten.report.table import render

STATS = RunStats(
    replicas=[
        ReplicaStats(
            num_blocks=100,
            busy_seconds=1.0,
            steps=20,
            decode_tokens=10,
            kv_block_seconds=20.0,
            kv_peak_blocks=50,
        ),
        ReplicaStats(num_blocks=100, busy_seconds=2.0, steps=5, decode_tokens=15, kv_peak_blocks=80),
    ],
    simulated_seconds=2.0,
    wall_seconds=0.125,
)
FULL = {
    "stats": STATS,
    "slo": SLO(ttft=0.5, tpot=0.2),
    "price_per_hour": 7.2,
    "label": "2 x [h100-sxm tp1]",
    "request_rate": 1.5,
    "max_concurrency": 4,
    "notes": ("one request was rejected",),
}


def test_figures_by_hand() -> None:
    full = report(three(), **FULL)
    assert (full.ttft.mean, full.ttft.median, full.ttft.p99) == pytest.approx((0.75, 0.75, 0.995))
    assert full.engine_ttft.mean == 0.375
    assert (full.itl.count, full.itl.mean) == (10, pytest.approx(0.1))
    assert full.duration == 2.0
    assert (full.attainment, full.goodput) == pytest.approx((1 / 3, 0.5))
    assert full.utilisation == [0.5, 1.0]
    assert full.kv_mean_share == pytest.approx(0.05)  # 0.1 and 0
    assert full.kv_peak_share == 0.8
    assert full.preemptions == 2
    assert full.prefix_hit_share == 0.5
    assert STATS.mean_batch == 1.0
    # 0.2 cents a second over 6 output tokens a second
    assert full.cost_per_million_output_tokens == pytest.approx(0.002 / 6 * 1e6)
    assert full.cost_per_million_total_tokens == pytest.approx(0.002 / 156 * 1e6)
    assert full.count(Status.REJECTED) == 1


def test_json_has_the_keys_of_vllm_bench_serve_and_ours_with_units() -> None:
    figures = json.loads(report(three(), **FULL).to_json())
    vllm = ["duration", "completed", "failed", "total_input_tokens", "total_output_tokens"]
    vllm += ["request_throughput", "request_goodput", "output_throughput", "total_token_throughput"]
    vllm += ["max_output_tokens_per_s", "max_concurrent_requests"]
    vllm += [f"{s}_{m}_ms" for s in ("mean", "median", "std", "p99") for m in ("ttft", "tpot", "itl", "e2el")]
    assert set(vllm) <= figures.keys()
    assert figures["p99_ttft_ms"] == pytest.approx(995)
    assert figures["mean_tpot_ms"] == pytest.approx(100)
    assert (figures["completed"], figures["failed"], figures["rejected"], figures["unfinished"]) == (
        2,
        1,
        1,
        0,
    )
    assert (figures["total_input_tokens"], figures["total_output_tokens"]) == (300, 12)
    assert figures["slo_ttft_ms"] == 500
    assert figures["slo_e2el_ms"] is None
    assert (figures["origin"], figures["error"], figures["definitions"]) == (
        "analytical",
        "not measured",
        "vllm",
    )
    assert not any("wall" in key for key in figures)  # the same run gives the same JSON


def test_figures_that_do_not_exist_are_null_and_not_zero() -> None:
    figures = json.loads(report(served((0.0, 0.0, 0.0, 1, 1))).to_json())
    for key in (
        "request_throughput",
        "request_goodput",
        "mean_tpot_ms",
        "p99_itl_ms",
        "kv_mean_share",
        "attainment",
    ):
        assert figures[key] is None, key
    assert figures["cost_usd_per_million_output_tokens"] is None
    empty = report(three().select(np.zeros(3, dtype=bool)))
    assert json.loads(empty.to_json())["completed"] == 0
    assert "n/a" in render(empty)


def test_table_has_vllms_labels_and_layout() -> None:
    lines = render(report(three(), **FULL)).splitlines()
    assert lines[:16] == [
        "============ Serving Benchmark Result ============",
        "Successful requests:                     2",
        "Failed requests:                         1",
        "Maximum request concurrency:             4",
        "Request rate configured (RPS):           1.50",
        "Benchmark duration (s):                  2.00",
        "Total input tokens:                      300",
        "Total generated tokens:                  12",
        "Request throughput (req/s):              1.00",
        "Request goodput (req/s):                 0.50",
        "Output token throughput (tok/s):         6.00",
        "Peak output token throughput (tok/s):    6.00",
        "Peak concurrent requests:                2.00",
        "Total token throughput (tok/s):          156.00",
        "---------------Time to First Token----------------",
        "Mean TTFT (ms):                          750.00",
    ]
    for line in (
        "Median TTFT (ms):                        750.00",
        "P99 TTFT (ms):                           995.00",
        "-----Time per Output Token (excl. 1st token)------",
        "---------------Inter-token Latency----------------",
        "Mean ITL (ms):                           100.00",
        "----------------End-to-end Latency----------------",
        "P99 E2EL (ms):                           1495.00",
        "Mean utilisation (%):                    75.00",
        "KV cache in use, peak (%):               80.00",
        "Prompt tokens from prefix cache (%):     50.00",
        "Rejected requests:                       1",
        "P99 TTFT within 500 ms:                  NO (inf ms)",
        "Cost ($ per million output tokens):      333.33",
    ):
        assert line in lines
    assert lines[-3:] == [
        "=" * 50,
        "Origin: analytical. Error: not measured",
        "Note: one request was rejected",
    ]


def test_table_leaves_out_what_was_not_asked_for() -> None:
    text = render(report(three()))
    assert not any(word in text for word in ("Deployment", "Cost", "goodput", "configured", "Service Level"))


def test_steady_state_refers_to_its_window() -> None:
    rows = [(float(t), t + 0.5, t + 1.5, 10, 11) for t in range(10)]
    whole = report(served(*rows, gaps=Gaps.from_values([0.1] * 100)), stats=STATS)
    steady = whole.steady(warm_up=2, drain=3)
    assert len(steady.records) == 4
    assert steady.throughput.requests == 1.0
    assert steady.stats is None
    assert "arrivals from 2 to 6 s; ITL left out" in steady.notes[0]


def test_intervals_exist_for_per_request_figures_only() -> None:
    interval = report(three()).interval("ttft", 50)
    assert interval.low <= 0.75 <= interval.high
    with pytest.raises(InputError, match="no interval for 'itl'"):
        report(three()).interval("itl", 50)
    with pytest.raises(InputError, match=r"must lie in \[0, 100\]"):
        report(three(), percentiles=(101,))


def test_pandas_is_used_if_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=dict))
    frame = report(three()).to_pandas()
    assert frame["ttft_s"].tolist()[:2] == [0.5, 1.0]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="pip install pandas"):
        report(three()).to_pandas()


def test_definitions_of_other_tools_by_hand() -> None:
    # 11 tokens: TTFT 0.5 s, E2E 1.5 s
    records = served((0.0, 0.5, 1.5, 100, 11), gaps=Gaps.from_values([0.05] * 5 + [0.15] * 5))
    expected = {
        "vllm": {"ttft": 0.5, "tpot": 0.1, "itl": 0.1, "e2el": 1.5},
        "guidellm": {"ttft": 0.5, "tpot": 1.5 / 11, "itl": 0.1, "request_latency": 1.5},
        "aiperf": {"ttft": 0.5, "itl": 0.1, "icl": 0.1, "request_latency": 1.5},
        "inference-perf": {"ttft": 0.5, "tpot": 0.1, "ntpot": 1.5 / 11, "itl": 0.1, "request_latency": 1.5},
    }
    assert expected.keys() == definitions.DEFINITIONS.keys()
    for tool, figures in expected.items():
        measured = definitions.measure(records, tool)
        assert {name: summary.mean for name, summary in measured.items()} == pytest.approx(figures)
    assert definitions.measure(records, "vllm")["itl"].count == 10
    assert definitions.measure(records, "aiperf")["itl"].count == 1


def test_names_are_translated_by_meaning() -> None:
    assert definitions.translate("itl", source="guidellm", target="vllm") == "tpot"
    assert definitions.translate("tpot", source="vllm", target="aiperf") == "itl"
    assert definitions.translate("itl", source="vllm", target="aiperf") == "icl"
    with pytest.raises(InputError, match="vllm has no such metric"):
        definitions.translate("tpot", source="guidellm", target="vllm")


def test_different_meanings_are_never_mixed() -> None:
    definitions.require_same(["vllm", "inference-perf"], "tpot")
    with pytest.raises(InputError, match="tpot means different things"):
        definitions.require_same(["vllm", "guidellm"], "tpot")
    with pytest.raises(InputError, match="unknown definitions 'genai'"):
        definitions.require_same(["genai"], "ttft")
    with pytest.raises(InputError, match="aiperf defines no 'tpot'"):
        definitions.require_same(["vllm", "aiperf"], "tpot")


def test_per_request_values_convert_there_and_back() -> None:
    ttft, n = np.array([0.5, 0.2]), np.array([11, 1])
    pace = np.array([0.1, math.nan])
    settings = {"ttft": ttft, "output_tokens": n}
    full = definitions.convert(
        "tpot", pace, source="vllm", target="guidellm", target_metric="tpot", **settings
    )
    assert full == pytest.approx([1.5 / 11, 0.2])
    back = definitions.convert(
        "tpot", full, source="guidellm", target="vllm", target_metric="tpot", **settings
    )
    assert back == pytest.approx(pace, nan_ok=True)
    end = definitions.convert("itl", pace, source="guidellm", target="vllm", target_metric="e2el", **settings)
    assert end == pytest.approx([1.5, 0.2])
    with pytest.raises(InputError, match="does not determine"):
        definitions.convert("itl", pace, source="vllm", target="guidellm", target_metric="itl", **settings)


def test_three_clocks_of_the_first_token_are_kept_apart() -> None:
    records = Records(
        arrival=[0.0, 1.0],
        queued=[0.25, 1.5],
        first_token=[1.0, 3.0],
        finish=[2.0, 4.0],
        prompt_tokens=[10, 10],
        output_tokens=[5, 5],
    )
    seen = Report(records=records, origin="made up", error="none", client_seconds=0.125)
    assert seen.engine_ttft.mean == pytest.approx((0.75 + 1.5) / 2)
    assert seen.ttft.mean == pytest.approx((1.0 + 2.0) / 2)
    assert seen.client_ttft.mean == pytest.approx(seen.ttft.mean + 0.125)
    assert Report(records=records, origin="made up", error="none").client_ttft.count == 0
