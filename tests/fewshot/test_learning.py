"""Step times of a new device from a few timed steps: laws of the fit, and a device left out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten.accuracy.leave_device_out import PREDICTORS, leave_out
from hasten.accuracy.unseen import MODELS, measured_kernels, measured_steps
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.fewshot.learning import Learned, Observed, TimedStep, learn, most_telling
from hasten.fewshot.parts import step_parts, uncorrected
from hasten.fewshot.pool import load_pool
from hasten.fewshot.rivals import Roofline
from hasten.latency import AnalyticalModel

POOL = load_pool()
OWN = measured_steps("h100-sxm", *MODELS[0])
STEPS = OWN.steps


def truth(weights, steps=STEPS):
    """Exact seconds of steps under some weights."""
    zero = np.zeros((POOL.size + 2, POOL.size + 2))
    return Learned(POOL, np.concatenate([weights, np.zeros(2)]), zero, 0.0).predict(steps)[0]


def test_without_samples_the_prior_itself():
    found = learn(POOL, [], np.zeros(0))
    assert found.weights == pytest.approx(POOL.mean)
    assert found.offsets == (0.0, 0.0)


@settings(max_examples=10, deadline=None)
@given(name=st.sampled_from(sorted(POOL.weights)), factor=st.floats(0.7, 1.5))
def test_a_known_device_is_recognised_even_if_it_is_faster(name, factor):
    """Six samples of a device of the pool, all its kernels slower by one factor: the rest follows."""
    seconds = factor * truth(POOL.weights[name])
    places = most_telling(POOL, STEPS, 6)
    found = learn(POOL, [STEPS[i] for i in places], seconds[places], has_offsets=False)
    assert found.predict(STEPS)[0] == pytest.approx(seconds, rel=0.1)
    assert np.abs(found.predict(STEPS)[0] / seconds - 1.0).mean() < 0.04


def test_more_samples_are_surer():
    spreads = []
    for count in (2, 5, 20):
        places = most_telling(POOL, STEPS, count)
        found = learn(POOL, [STEPS[i] for i in places], OWN.seconds[places], has_offsets=False)
        spreads.append(found.predict(STEPS)[1].mean())
    assert spreads[0] > spreads[1] > spreads[2] > 0.0


def test_seconds_added_to_every_step_are_told_from_slow_kernels():
    steps = [Observed(step.parts, step.has_prefill) for step in STEPS]
    seconds = truth(POOL.weights["h200-sxm"]) + 0.0015
    places = most_telling(POOL, steps, 12)
    every, mixed = learn(POOL, [steps[i] for i in places], seconds[places]).offsets
    assert 0.0003 < every < 0.0020
    assert abs(mixed) < 0.002


@pytest.mark.parametrize("seconds", [[0.0], [-1.0], [float("nan")], [1.0, 2.0], []])
def test_times_that_cannot_be(seconds):
    with pytest.raises(InputError, match="give one time above 0 s for each"):
        learn(POOL, STEPS[:1], np.array(seconds))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"seconds": 0.0, "decodes": 1}, "give seconds above 0"),
        ({"seconds": float("nan"), "decodes": 1}, "give seconds above 0"),
        ({"seconds": 0.1}, "the step is empty"),
    ],
)
def test_samples_that_cannot_be(given, reason):
    with pytest.raises(InputError, match=reason):
        TimedStep(**given)


def test_the_pool_describes_the_devices_it_was_fitted_to():
    for device, weights in POOL.weights.items():
        missed = [
            np.log(seconds / parts.seconds) - POOL.log_factor(parts, weights)
            for parts, seconds in measured_kernels(device, *MODELS[0])
        ]
        assert np.abs(np.concatenate(missed)).mean() < 0.08, device


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 256), context=st.integers(1, 20_000), tokens=st.integers(1, 2000))
def test_parts_of_a_step_are_the_data_sheet_s_step(n, context, tokens):
    """The kernels to be corrected sum to the analytical step of the same device, host aside."""
    own = Deployment.of("llama-3.1-8b", "h100-sxm", step_times="analytical").latency
    model = AnalyticalModel(
        own.model, uncorrected(own.device), own.parallelism, own.profile, limits=own.limits
    )
    for prefills, decodes in (((), n), ([(tokens, 0)], 0)):
        parts = step_parts(model, prefills, decodes, decodes * context)
        work = model.work(prefills, decodes, decodes * context)
        total = sum(float(part.seconds.sum()) for part in parts)
        assert total == pytest.approx(model.device_time(work).seconds, rel=1e-9)


def test_a_roofline_finds_its_own_coefficients():
    slower = [0.4, 0.2, -0.1, 0.3]
    roofline = Roofline(STEPS[:1], np.array([1.0]))
    roofline.factors = np.array(slower)
    again = Roofline(STEPS, roofline.predict(STEPS))
    assert again.factors == pytest.approx(slower, abs=0.1)  # the prior pulls
    assert again.shares == pytest.approx((0.7 / np.exp(0.2), 0.8 / np.exp(-0.1)), rel=0.05)


def test_step_times_of_devices_left_out_are_within_ten_percent():
    """The aim of issue 3: leave one device out, ten samples, mean absolute error at most 10 %."""
    found = leave_out(PREDICTORS["device pool"], 10, "chosen")
    for device, outcome in found.items():
        assert outcome.own < 0.05, device
        assert outcome.others < 0.10, device
    assert 0.85 <= np.mean([each.covered for each in found.values()]) <= 0.95
