"""Intervals through the simulator: they frame the prediction, widen with confidence, and close where all is sure."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten.core.request import SLO
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.latency.error import Spread, StepTimeError
from hasten.latency.expected import UNTESTED, expected_error
from hasten.models import load_model
from hasten.models.quantisation import Quantisation
from hasten.report.metrics import Summary
from hasten.sim.run import simulate
from hasten.uncertainty import cost_at, simulate_intervals
from hasten.workload.spec import parse_workload as spec

ONE = Deployment.of("llama-3.1-8b", "h100-sxm", max_model_len=8192)
WORK = spec("poisson:rate=4,prompt=uniform:200:1500,output=60,n=60,seed=1")


def test_intervals_frame_the_prediction() -> None:
    found = simulate_intervals(ONE, WORK, slo=SLO(ttft=0.2, tpot=0.02))
    for kind in ("ttft", "tpot", "itl", "e2e"):
        for q in (None, 50.0, 99.0):
            span = found.latency(kind, q)
            assert span.low < span.value < span.high
            summary: Summary = getattr(found.middle, kind)
            assert span.value == (summary.mean if q is None else summary.percentile(q))
    assert found.span(lambda each: each.goodput).low <= found.middle.goodput
    shown = found.to_dict()
    assert shown["p99_ttft"]["high_ms"] == pytest.approx(found.latency("ttft", 99.0).high * 1e3)
    assert set(shown) >= {"confidence", "goodput", "attainment", "output_throughput"}


def test_more_confidence_is_wider() -> None:
    narrow, wide = (simulate_intervals(ONE, WORK, confidence=share) for share in (0.5, 0.95))
    for kind in ("ttft", "tpot"):
        inner, outer = narrow.latency(kind, None), wide.latency(kind, None)
        assert outer.low < inner.low < inner.high < outer.high


@settings(max_examples=20)
@given(st.floats(0.05, 0.95), st.integers(1, 64), st.integers(1, 2000))
def test_costs_at_a_share_are_quantiles(share: float, n: int, context: int) -> None:
    a, b, _ = ONE.cost.decode_line(n, n * context)
    slow_a, slow_b, _ = cost_at(ONE, share).decode_line(n, n * context)
    factor = ONE.latency.step_error.decode.factor(share)
    assert slow_a + slow_b * n * context == pytest.approx(factor * (a + b * n * context))


def test_the_middle_run_is_taken_as_it_is() -> None:
    middle = simulate(ONE, WORK)
    assert simulate_intervals(ONE, WORK, middle=middle).middle is middle


def test_unknown_figures_and_confidences_are_refused() -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        simulate_intervals(ONE, WORK, confidence=90.0)
    with pytest.raises(InputError, match="no interval of 'queue'"):
        simulate_intervals(ONE, WORK).latency("queue", None)


def test_errors_follow_from_where_step_times_come_from() -> None:
    dense = expected_error("analytical", is_mixture=False)
    eight_bits = replace(load_model("llama-3.1-8b"), quantisation=Quantisation("fp8", 8))
    seen = Deployment.of(eight_bits, "h100-sxm").latency
    assert seen.step_error == dense.error
    assert not seen.is_extrapolated
    usual = dense.error.decode.systematic
    assert ONE.latency.extrapolation == "of such weights on a device like h100-sxm"  # 16 bits: none published
    assert ONE.latency.step_error.decode.systematic == pytest.approx(dense.unseen * usual)
    old = Deployment.of(eight_bits, "l40s").latency
    assert old.extrapolation == "on a device like l40s"
    assert old.step_error.decode.systematic == pytest.approx(max(UNTESTED, dense.unseen) * usual)
    layers = Deployment.of("llama-3.1-8b", "rtx-pro-6000").latency
    assert not layers.is_extrapolated
    assert layers.step_error.decode.systematic < usual
    with pytest.raises(InputError, match="no known error"):
        expected_error("guesswork", is_mixture=False)


def test_a_certain_model_has_no_interval() -> None:
    certain = StepTimeError(Spread(0.0), Spread(0.0))
    assert certain.quantile(0.99) == (1.0, 1.0)
    assert math.isclose(replace(certain, decode=Spread(0.1)).quantile(0.5)[0], 1.0)
