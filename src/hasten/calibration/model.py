"""The step-time model as a function of its coefficients, for the fit: logs of seconds and their derivatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hasten.calibration.sample import Sample, Step
from hasten.deployment import Deployment
from hasten.latency import AnalyticalModel
from hasten.latency.calibration import FACTORS, NAMES, Calibration, Coefficients, Subject
from hasten.latency.error import Spread

Floats = npt.NDArray[np.float64]

WIDTH = len(NAMES)

_LEAST = 1e-9
"""Seconds that a prediction does not fall below, whatever the coefficients."""

#: Change of a coefficient for its derivative: of a log, then of seconds relative to the shortest sample.
_NUDGE_LOG, _NUDGE_SECONDS = 0.02, 0.01


def inverse(matrix: Floats) -> Floats:
    """The inverse of a matrix."""
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def blank(deployment: Deployment) -> Calibration:
    """A calibration of the deployment that changes nothing, to be filled."""
    subject = Subject(
        deployment.model.name,
        deployment.device.name,
        deployment.parallelism.label,
        deployment.profile.name,
        replace(deployment, calibration=None).latency.base,
    )
    return Calibration(
        subject=subject,
        coefficients=Coefficients(),
        covariance=tuple((0.0,) * WIDTH for _ in range(WIDTH)),
        decode=Spread(0.0, 0.0),
        prefill=Spread(0.0, 0.0),
    )


def coefficients_of(theta: Floats) -> Coefficients:
    """Coefficients from a vector: logs of factors, and seconds."""
    values = {
        name: math.exp(value) if name in FACTORS else float(value)
        for name, value in zip(NAMES, theta.tolist(), strict=True)
    }
    return Coefficients(**values)


class Predictor:
    """Seconds of samples on ``deployment`` (taken without its calibration) under any coefficients."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = replace(deployment, calibration=None)
        self._blank = blank(self.deployment)

    def model(self, theta: Floats | None = None) -> AnalyticalModel:
        """The step-time model; without ``theta`` the one that nothing corrects."""
        model = self.deployment.latency
        if theta is None:
            return model
        return replace(model, calibration=replace(self._blank, coefficients=coefficients_of(theta)))

    def seconds(self, samples: Sequence[Sample], theta: Floats | None = None) -> Floats:
        """Predicted seconds of every sample."""
        model = self.model(theta)
        known: dict[Step, float] = {}
        for sample in samples:
            for step, _ in sample.steps:
                if step not in known:
                    known[step] = model.step_time(step.prefills, step.decodes, step.decode_context).seconds
        profile, extra = self.deployment.profile, (0.0, 0.0)
        if theta is not None:
            extra = (float(theta[NAMES.index("front_end_seconds")]), float(theta[WIDTH - 1]))
        front = max(0.0, profile.front_end_seconds + extra[0])
        per_token = max(0.0, profile.front_end_seconds_per_prompt_token + extra[1])
        found = []
        for sample in samples:
            total = sample.scale * sum(weight * known[step] for step, weight in sample.steps)
            if sample.front_tokens is not None:
                total += front + per_token * sample.front_tokens
            found.append(max(total, _LEAST))
        return np.array(found)

    def derivatives(self, samples: Sequence[Sample], theta: Floats, at: Floats, shortest: float) -> Floats:
        """Derivatives of log seconds by every coefficient, one row per sample; ``at`` are the logs at theta."""
        columns = []
        for i, name in enumerate(NAMES):
            nudge = _NUDGE_LOG if name in FACTORS else _NUDGE_SECONDS * shortest
            if name == "sequence_seconds":
                nudge /= 64.0
            elif name == "front_end_token_seconds":
                nudge /= 1024.0
            moved = theta.copy()
            moved[i] += nudge
            columns.append((np.log(self.seconds(samples, moved)) - at) / nudge)
        return np.stack(columns, axis=1)

    @cached_property
    def ideal(self) -> AnalyticalModel:
        """Steps at the figures of the data sheet: what no device can beat."""
        own = self.deployment.latency
        device = replace(
            own.device,
            memory_efficiency=1.0,
            compute_efficiency=1.0,
            compute_by_dtype={},
            kernel_seconds=0.0,
            launch_seconds=0.0,
        )
        profile = replace(own.profile, host_step_seconds=0.0, mixed_step_seconds=0.0)
        limits: Any = own.limits
        return AnalyticalModel(
            own.model,
            device,
            own.parallelism,
            profile,
            limits=limits,
            kv_dtype_bytes=own.kv_dtype_bytes,
            sigma=0.0,
        )

    def least_seconds(self, sample: Sample) -> float:
        """Seconds below which no device can be: weights and KV at full bandwidth, arithmetic at the peak."""
        total = 0.0
        for step, weight in sample.steps:
            work = self.ideal.work(step.prefills, step.decodes, step.decode_context)
            reading = sum(kernel.weight_bytes for kernel in work.kernels) / self.ideal.device.memory_bandwidth
            total += weight * reading
        return total
