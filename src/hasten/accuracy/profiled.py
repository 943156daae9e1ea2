"""Devices whose layers were profiled, taken to be unknown: whole steps predicted from ten of them, by both fits.

Steps last what the layer profiles say (small kernels, head, sampler and mixed batches included; no host). The pool
does not hold the device, nor does the calibration's prior; both start from the same data sheet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hasten.calibration import Sample, Step, calibrate
from hasten.calibration.prior import prior_for
from hasten.deployment import Deployment
from hasten.fewshot.learning import TimedStep, most_telling
from hasten.fewshot.model import PoolModel, learn_device, observed
from hasten.fewshot.parts import Floats, uncorrected
from hasten.fewshot.pool import load_pool

#: Device and model of the profiles on one device.
PROFILED = (("rtx-4090", "llama-3.1-8b"), ("rtx-pro-6000", "llama-3.1-8b"), ("rtx-pro-6000", "qwen3-32b"))

LONGEST = 16_384  # tokens of a sequence
DECODES = [
    (n, context)
    for n in (1, 2, 4, 8, 16, 32, 64, 128)
    for context in (256, 1024, 2048, 4096, 8192)
    if n * context <= 100_000
]
STEPS = (
    *(Step((), n, n * context) for n, context in DECODES),
    *(Step(((tokens, 0),)) for tokens in (32, 128, 256, 512, 1024, 2048)),
    *(Step(((t, 0),), n, n * c) for t in (128, 512, 1024) for n in (8, 64) for c in (512, 1024, 4096)),
)


@dataclass(frozen=True)
class Compared:
    """Mean absolute errors of the steps that were not sampled, by the pool and by the calibration's coefficients."""

    pool: float
    coefficients: float


def compare(device: str, model: str, how: str, *, count: int = 10, draws: int = 6) -> Compared:
    """``how`` the samples are picked is "chosen" (by the pool) or "random" (mean over ``draws``)."""
    seconds = _seconds(Deployment.of(model, device, max_model_len=LONGEST, step_times="auto"))
    learner = _learner(device, model)
    steps = [
        observed(learner, TimedStep(1.0, each.prefills, each.decodes, each.decode_context)) for each in STEPS
    ]
    if how == "chosen":
        picks = [most_telling(learner.pool, steps, count)]
    else:
        picks = [
            np.random.default_rng(i).choice(len(STEPS), count, replace=False).tolist() for i in range(draws)
        ]
    errors = []
    for places in picks:
        asked = np.setdiff1d(np.arange(len(STEPS)), places)
        timed = [(STEPS[i], float(seconds[i])) for i in places]
        samples = [TimedStep(t, each.prefills, each.decodes, each.decode_context) for each, t in timed]
        by_pool, _ = learn_device(learner, samples).predict(steps)
        found = by_pool, _by_coefficients(device, model, timed)
        errors.append([float(np.abs(each / seconds - 1.0)[asked].mean()) for each in found])
    return Compared(*(float(each) for each in np.mean(errors, axis=0)))


def _seconds(deployment: Deployment) -> Floats:
    model = deployment.latency
    return np.array(
        [model.step_time(each.prefills, each.decodes, each.decode_context).seconds for each in STEPS]
    )


def _learner(device: str, model: str) -> PoolModel:
    found = Deployment.of(model, device, max_model_len=LONGEST, step_times="pool").latency
    if not isinstance(found, PoolModel):
        raise LookupError(f"step times of {device} are {found.base}")
    return replace(found, devices=tuple(name for name in load_pool().weights if name != device))


def _by_coefficients(device: str, model: str, timed: list[tuple[Step, float]]) -> Floats:
    named = Deployment.of(model, device, max_model_len=LONGEST, step_times="analytical")
    sheet = replace(named, device=uncorrected(named.device))
    samples = [Sample(f"sample {i}", seconds, ((step, 1.0),)) for i, (step, seconds) in enumerate(timed)]
    prior = prior_for("analytical", min(seconds for _, seconds in timed), without=device)
    return _seconds(replace(sheet, calibration=calibrate(sheet, samples, prior=prior).calibration))
