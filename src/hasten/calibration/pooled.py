"""The fit of step times that come from the pool of measured devices: weights of every kernel instead of factors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hasten.calibration.fit import Fit
from hasten.calibration.model import WIDTH
from hasten.calibration.sample import Sample
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.fewshot.learning import Learned, TimedStep
from hasten.fewshot.model import PoolModel, learn_device, observed
from hasten.latency.calibration import NAMES


def fit_pool(deployment: Deployment, samples: Sequence[Sample]) -> tuple[Fit, tuple[float, ...]]:
    """A fit whose only coefficients are seconds per step, and the weights of the pool's kernels.

    What the weights leave open stands in the covariance as if it were an error of the factors on memory (decodes) and
    arithmetic (prefills). Raises InputError for samples that are not single steps of an engine.
    """
    model = deployment.latency
    if not isinstance(model, PoolModel):
        raise InputError(f"step times of {deployment.device.name} are {model.base}: use --latency pool")
    timed = [_timed(each) for each in samples]
    learned = learn_device(model, timed)
    left_out = [_left_out(model, timed, i) for i in range(len(timed))]
    theta, covariance = np.zeros(WIDTH), np.zeros((WIDTH, WIDTH))
    theta[[NAMES.index("step_seconds"), NAMES.index("mixed_seconds")]] = learned.offsets
    seen = np.isin(NAMES, ("step_seconds", "mixed_seconds"))
    _, spread = learned.predict([observed(model, each) for each in timed])
    for name, is_prefill in (("memory", False), ("compute", True)):
        own = [s for s, each in zip(spread, timed, strict=True) if bool(each.prefills) == is_prefill]
        place = NAMES.index(name)
        covariance[place, place] = float(np.mean(np.square(own if own else spread)))
    noise = float(np.sqrt(learned.noise))
    return Fit(theta, covariance, noise, np.array(left_out), seen), tuple(learned.weights.tolist())


def _timed(sample: Sample) -> TimedStep:
    if len(sample.steps) != 1 or sample.front_tokens is not None:
        raise InputError(f"{sample.where}: not a single step: --latency pool learns from step timings alone")
    step, weight = sample.steps[0]
    seconds = sample.seconds / (sample.scale * weight)
    return TimedStep(seconds, step.prefills, step.decodes, step.decode_context, sample.where)


def _left_out(model: PoolModel, timed: Sequence[TimedStep], place: int) -> float:
    """Log of measured over predicted seconds of one sample, learnt from the others."""
    others: Learned = learn_device(model, [each for i, each in enumerate(timed) if i != place])
    every, mixed = model.own_offsets
    found, _ = others.predict([observed(model, timed[place])])
    offset = every + mixed * bool(timed[place].prefills)
    return float(np.log(timed[place].seconds / (found[0] + offset)))
