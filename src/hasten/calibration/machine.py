"""Micro-benchmarks of this machine by torch: large products, long reads, and the cost of a launch.

They measure kernels, not an engine: host time per step, graphs and attention kernels are left to the prior, and the
error says so. Better than a data sheet where there is no engine yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hasten.calibration.calibrate import Calibrated, open_error, typical_samples
from hasten.calibration.fit import NOISE, Fit
from hasten.calibration.model import Predictor, blank, coefficients_of
from hasten.calibration.prior import prior_for
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.latency.calibration import NAMES
from hasten.latency.error import Spread

REPEATS = 7
ROUGH = 0.15
"""Standard deviation in logs with which a micro-benchmark tells what an engine's kernels reach."""


@dataclass(frozen=True)
class Machine:
    """What torch reaches: bytes/s of a long read, FLOP/s of a large product in a dtype, seconds per small kernel."""

    memory_bandwidth: float
    flops: float
    dtype: str
    kernel_seconds: float
    name: str


def measure_machine(dtype: str = "auto", *, large: int = 1 << 27) -> Machine:
    """Measure the GPU torch sees, else the CPU; ``large`` bytes are read at once. Takes a few seconds."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = {"auto": "bf16" if device.type == "cuda" else "fp32"}.get(dtype, dtype)
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[chosen]
    sync: Callable[[], Any] = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)

    def best(work: Callable[[], Any], count: int) -> float:
        for _ in range(2):
            work()
        sync()
        found = []
        for _ in range(REPEATS):
            begun = time.perf_counter()
            for _ in range(count):
                work()
            sync()
            found.append((time.perf_counter() - begun) / count)
        return min(found)

    size = 4096 if device.type == "cuda" else 1024
    one, other = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    product = best(lambda: one @ other, 10 if device.type == "cuda" else 2)
    long = torch.empty(large // 4, dtype=torch.float32, device=device).fill_(1.0)
    read = best(long.sum, 4)
    small = torch.zeros(64, device=device)
    launch = best(lambda: small.add_(1.0), 1000)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return Machine(long.numel() * 4 / read, 2.0 * size**3 / product, chosen, launch, str(name))


def from_machine(deployment: Deployment, found: Machine, *, date: str | None = None) -> Calibrated:
    """A calibration whose memory, compute and kernel factors come from micro-benchmarks, the rest from the prior.

    Raises InputError when step times are not those of data sheets, or the machine beats the data sheet: it is another.
    """
    predictor = Predictor(deployment)
    if predictor.deployment.latency.base != "analytical":
        raise InputError("micro-benchmarks correct data sheets: add --latency analytical")
    device = deployment.device
    reached = device.memory_efficiency * device.memory_bandwidth
    logs = {
        "memory": np.log(reached / found.memory_bandwidth),
        "compute": np.log(device.reached_flops(found.dtype) / found.flops),
    }
    for name, most in (("memory", device.memory_bandwidth), ("compute", device.peak_flops(found.dtype))):
        value = found.memory_bandwidth if name == "memory" else found.flops
        if value > 1.15 * most:
            raise InputError(
                f"{found.name} reaches {value:.3g} {'B/s' if name == 'memory' else 'FLOP/s'}, the data sheet of "
                f"{device.name} ends at {most:.3g}: name the device that this is with --device"
            )
    if device.kind == "cpu":  # without graphs every kernel is launched by the host
        logs["kernel"] = np.log(found.kernel_seconds / device.kernel_seconds)
    prior = prior_for("analytical", 1e-3)
    rows = np.zeros((len(logs), len(NAMES)))
    for i, name in enumerate(logs):
        rows[i, NAMES.index(name)] = 1.0
    target = np.array(list(logs.values()))
    gain = (
        prior.covariance
        @ rows.T
        @ np.linalg.inv(rows @ prior.covariance @ rows.T + ROUGH**2 * np.eye(len(logs)))
    )
    theta = prior.mean + gain @ (target - rows @ prior.mean)
    covariance = prior.covariance - gain @ rows @ prior.covariance
    theta[[i for i, name in enumerate(NAMES) if name.startswith("front")]] = 0.0
    decode, prefill = (
        Spread(
            open_error(typical_samples(kind, predictor.deployment.limits), predictor, theta, covariance),
            NOISE,
        )
        for kind in (False, True)
    )
    made = replace(
        blank(predictor.deployment),
        coefficients=coefficients_of(theta),
        covariance=tuple(tuple(row) for row in covariance.tolist()),
        decode=decode,
        prefill=prefill,
        inputs=((f"torch on {found.name}", "micro-benchmarks", ""),),
        date=date,
        notes=(
            f"{found.name}: {found.memory_bandwidth / 1e9:,.1f} GB/s, {found.flops / 1e12:,.3g} TFLOP/s in "
            f"{found.dtype}, {found.kernel_seconds * 1e6:.1f} us per small kernel",
            "kernels were measured, no engine: host time and attention stay as on known devices",
        ),
    )
    seen = np.array([name in logs for name in NAMES])
    return Calibrated(made, (), Fit(theta, covariance, 0.0, np.zeros(0), seen))
