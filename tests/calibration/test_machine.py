"""Micro-benchmarks: factors move towards what was measured, and a machine that is another one is refused."""

from dataclasses import replace

import pytest

from hasten.calibration.machine import Machine, from_machine, measure_machine
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.latency.calibration import relative_error

MADE = Deployment.of("llama-3.1-8b", "h100-sxm", step_times="analytical")
DEVICE = MADE.device
USUAL = Machine(0.9 * DEVICE.memory_bandwidth, 0.7 * DEVICE.peak_flops("bf16"), "bf16", 3e-6, "a GPU")


def test_a_slow_memory_makes_decodes_slow():
    fast = from_machine(MADE, USUAL)
    slow = from_machine(MADE, replace(USUAL, memory_bandwidth=0.5 * USUAL.memory_bandwidth))
    step = ((), 16, 16_000)
    times = [
        replace(MADE, calibration=each.calibration).latency.step_time(*step).seconds for each in (fast, slow)
    ]
    assert 1.2 < times[1] / times[0] < 2.0
    assert slow.calibration.coefficients.memory > 1.2 * fast.calibration.coefficients.memory
    assert relative_error(slow.calibration.decode) > 0.1  # no engine was measured
    assert "no engine" in slow.calibration.notes[1]


def test_another_machine_is_refused():
    with pytest.raises(InputError, match="name the device"):
        from_machine(MADE, replace(USUAL, memory_bandwidth=2.0 * DEVICE.memory_bandwidth))
    with pytest.raises(InputError, match="name the device"):
        from_machine(MADE, replace(USUAL, flops=2.0 * DEVICE.peak_flops("bf16")))
    layers = Deployment.of("llama-3.1-8b", "rtx-pro-6000")
    with pytest.raises(InputError, match="--latency analytical"):
        from_machine(layers, USUAL)


def test_torch_measures_something_plausible():
    pytest.importorskip("torch")
    found = measure_machine(large=1 << 24)
    assert 1e8 < found.memory_bandwidth < 1e14
    assert 1e8 < found.flops < 1e16
    assert 1e-8 < found.kernel_seconds < 0.1
