"""Step times of a device from the pool: the compiled form, and what ten samples make of it."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten.accuracy.profiled import compare
from hasten.calibration import Sample, Step, calibrate
from hasten.core.batch import Chunk
from hasten.core.request import Request
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.fewshot.learning import TimedStep
from hasten.fewshot.model import learn_device
from hasten.latency.calibration import load_calibration

DENSE = Deployment.of("llama-3.1-8b", "rtx-4090", step_times="pool", max_model_len=8192)
SPLIT = Deployment.of("qwen3-235b-a22b", "h200-sxm", tp=8, step_times="pool", max_model_len=8192)
WINDOWS = Deployment.of("gpt-oss-120b", "b200-sxm", tp=2, pp=2, step_times="pool", max_model_len=8192)
ALL = pytest.mark.parametrize("deployment", [DENSE, SPLIT, WINDOWS], ids=["dense", "experts", "windows"])
ENGINE = [(1, 1024), (8, 512), (16, 2048), (32, 256), (64, 1024), (128, 512), (64, 256), (2, 4096)]


@ALL
@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 200), context=st.integers(1, 20_000), tokens=st.integers(1, 1700))
def test_the_compiled_form_says_the_same(deployment, n, context, tokens):
    a, b, limit = deployment.cost.decode_line(n, n * context)
    assert b >= 0.0
    assert n * context < limit
    step = deployment.latency.step_time(decodes=n, decode_context=n * context)
    assert a + b * n * context == pytest.approx(step.seconds, rel=1e-9)
    chunk = Chunk(Request(0, 0.0, 1, 1), tokens, context, True)
    mixed = deployment.latency.step_time([(tokens, context)], n, n * context)
    assert deployment.cost.mixed([chunk], n, n * context) == pytest.approx(mixed.seconds, rel=1e-9)
    assert mixed.seconds > 0.0
    assert math.isfinite(mixed.seconds)


@ALL
def test_weights_are_not_read_faster_than_the_memory(deployment):
    model = deployment.latency
    for operator in model.forward.operators:
        if operator.routed_share == 1.0:
            found = float(model.operator_seconds(operator, np.array([1.0]))[0])
            assert found >= operator.weight_bytes / model.device.memory_bandwidth * (1 - 1e-12)


def timings(deployment, slower=1.0):
    """Ten samples: what a deployment's steps take, times a factor."""
    steps = [Step((), n, n * context) for n, context in ENGINE] + [Step(((512, 0),)), Step(((2048, 0),))]
    seconds = [
        slower * deployment.latency.step_time(s.prefills, s.decodes, s.decode_context).seconds for s in steps
    ]
    return [Sample(f"row {i}", t, ((s, 1.0),)) for i, (s, t) in enumerate(zip(steps, seconds, strict=True))]


def test_ten_timings_of_an_unknown_device_calibrate_the_pool(tmp_path):
    """What the layers of an RTX 4090 take, a device that no pool holds: other steps follow, from the file too."""
    measured = Deployment.of("llama-3.1-8b", "rtx-4090", max_model_len=8192)
    made = calibrate(DENSE, timings(measured)).calibration
    assert made.subject.base == "pool"
    assert made.after < made.before
    made.save(tmp_path / "found.json")
    again = load_calibration(tmp_path / "found.json")
    assert again.pool_weights == made.pool_weights
    learnt = Deployment.of("llama-3.1-8b", "rtx-4090", max_model_len=8192, calibration=again)
    assert learnt.latency.origin == "calibrated"
    for n, context in [(4, 1024), (24, 512), (48, 1024), (96, 600)]:
        truth = measured.latency.step_time((), n, n * context).seconds
        assert learnt.latency.step_time((), n, n * context).seconds == pytest.approx(truth, rel=0.08)
        a, b, _ = learnt.cost.decode_line(n, n * context)
        assert a + b * n * context == pytest.approx(truth, rel=0.08)


def test_samples_of_the_prior_itself_change_nothing():
    made = calibrate(DENSE, timings(DENSE)).calibration
    assert made.after < 0.02
    other = replace(DENSE, calibration=made).latency.step_time((), 24, 24_000).seconds
    assert other == pytest.approx(DENSE.latency.step_time((), 24, 24_000).seconds, rel=0.02)


def test_samples_that_are_no_single_steps_are_refused():
    window = Sample("window 3", 1.0, ((Step((), 8, 8000), 50.0), (Step((), 9, 9000), 2.0)))
    with pytest.raises(
        InputError, match="window 3: not a single step: --latency pool learns from step timings"
    ):
        calibrate(DENSE, [window])


def test_an_added_second_is_not_blamed_on_kernels():
    steps = timings(DENSE)
    samples = [
        TimedStep(
            each.seconds + 0.001,
            each.steps[0][0].prefills,
            each.steps[0][0].decodes,
            each.steps[0][0].decode_context,
        )
        for each in steps
    ]
    every, _ = learn_device(DENSE.latency, samples).offsets
    assert 0.0002 < every < 0.0015


def test_ten_chosen_steps_of_a_profiled_device_are_enough():
    """The aim of issue 3, on real layers of a device outside the pool: at most 10 %."""
    found = compare("rtx-4090", "llama-3.1-8b", "chosen")
    assert found.pool < 0.06
