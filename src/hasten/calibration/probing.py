"""An active probe: measure, fit, and measure next what narrows the errors of typical steps most.

A probe sends some prompts at once and lets each answer grow by some tokens. Of the probes still open, the next is the
one with the largest fall of the summed variance of typical step times, per square root of the seconds it takes:
with coefficients of covariance C, noise s and a probe of gradient j, typical steps of gradients R lose
|R C j|^2 / (s^2 + j' C j).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hasten.calibration.calibrate import Calibrated, calibrate, typical_samples
from hasten.calibration.model import Floats, Predictor
from hasten.calibration.sample import Sample, Step
from hasten.deployment import Deployment
from hasten.errors import InputError

TOKENS = 24
"""Output tokens of a probe that decodes, besides those that come while the last of its prompts are prefilled."""

_LARGEST_SHARE = 0.5
"""Share of the time left that one probe may take, as predicted."""


@dataclass(frozen=True)
class Probe:
    """``sequences`` prompts of ``prompt`` tokens at once, each answered with ``output`` tokens."""

    sequences: int
    prompt: int
    output: int

    def expected(self) -> Sample:
        """What it tells, before it is sent: a prefill alone, or steps of the whole batch."""
        n = self.sequences
        if self.output == 1:
            return Sample("", 1.0, ((Step(((self.prompt, 0),)), 1.0),), front_tokens=self.prompt)
        return Sample("", 1.0, ((Step((), n, round(n * (self.prompt + 0.5 * self.output))), 1.0),))

    def seconds(self, predictor: Predictor, theta: Floats | None) -> float:
        """How long it takes, about."""
        alone = Sample("", 1.0, ((Step(((self.prompt, 0),)), 1.0),))
        prefill, step = predictor.seconds([alone, self.expected()], theta).tolist()
        return float(self.sequences * prefill + (self.output - 1) * step)


def candidates(deployment: Deployment) -> list[Probe]:
    """Probes that fit the deployment's limits and KV cache, the first two to begin with."""
    limits, room = deployment.limits, deployment.kv.tokens
    window = limits.max_model_len
    budget = limits.max_num_batched_tokens
    found = [Probe(1, min(64, window // 4), TOKENS), Probe(1, min(512, window // 2), 1)]
    for n in (1, 2, 4, 8, 16, 32, 64, 128, limits.max_num_seqs):
        found += [Probe(n, prompt, TOKENS + (n * prompt - 1) // budget) for prompt in (64, 512, 2048)]
    found += [Probe(1, prompt, 1) for prompt in (16, 128, 256, 1024, 2048, 4096)]
    return [
        each
        for each in dict.fromkeys(found)
        if each.prompt + each.output <= window
        and each.sequences <= limits.max_num_seqs
        and each.sequences * (each.prompt + each.output) <= 0.9 * room
    ]


def run_probes(
    deployment: Deployment,
    measure: Callable[[Probe, int], Sequence[Sample]],
    clock: Callable[[], float],
    *,
    count: int = 10,
    seconds: float = 60.0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Sample]:
    """Send at most ``count`` probes within about ``seconds``; ``measure(probe, number)`` sends one.

    Raises InputError when not even the first fits the time, or nothing came back.
    """
    predictor, begun = Predictor(deployment), clock()
    left, samples = candidates(deployment), list[Sample]()
    current: Calibrated | None = None
    for number in range(count):
        rest = seconds - (clock() - begun)
        theta = None if current is None else current.fit.theta
        open_ = [each for each in left if each.seconds(predictor, theta) <= _LARGEST_SHARE * rest]
        if not open_:
            break
        probe = (
            open_[0] if number < 2 or current is None else most_telling(open_, predictor, current, samples)
        )
        left.remove(probe)
        samples += measure(probe, number)
        if samples:
            current = calibrate(deployment, samples, own_clock=True)
        if progress is not None:
            progress(number + 1, count)
    if not samples:
        raise InputError(f"no probe came back within {seconds:g} s: give more time, or check the server")
    return samples


def most_telling(
    probes: Sequence[Probe], predictor: Predictor, current: Calibrated, samples: Sequence[Sample]
) -> Probe:
    """The probe after which typical steps are surest, for its time."""
    theta, covariance, noise = current.fit.theta, current.fit.covariance, current.fit.noise
    shortest = min(each.seconds for each in samples)
    limits = predictor.deployment.limits
    targets = [*typical_samples(False, limits), *typical_samples(True, limits)]
    expected = [each.expected() for each in probes]
    rows, aims = (
        predictor.derivatives(each, theta, np.log(predictor.seconds(each, theta)), shortest)
        for each in (expected, targets)
    )
    fall = ((aims @ covariance @ rows.T) ** 2).sum(axis=0)
    fall = fall / (noise**2 + np.einsum("ij,jk,ik->i", rows, covariance, rows))
    cost = np.sqrt([each.seconds(predictor, theta) + 0.1 for each in probes])
    return probes[int(np.argmax(fall / cost))]
