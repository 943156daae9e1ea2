"""From samples to a calibration, with the checks that keep a wrong file from becoming a wrong fit."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hasten.calibration.fit import Fit, fit
from hasten.calibration.model import Floats, Predictor, blank, coefficients_of
from hasten.calibration.pooled import fit_pool
from hasten.calibration.prior import Prior, prior_for
from hasten.calibration.sample import Sample, Step
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.latency.calibration import NAMES, Calibration, Range
from hasten.latency.error import Spread
from hasten.profiles import EngineLimits

FASTER = 0.7
"""Share of the data sheet's least time below which a sample is refused; above it, it is a note."""

ABSURD = 300.0
"""Factor between samples and predictions beyond which their unit is wrong."""

CONTRADICTION = 1.3
"""Factor between two timings of the same step that is reported."""

ROW_SHARE = 0.1
"""Share of the shortest step that one more sequence may cost on a device that is the host itself: its cores compute the
rows of a small batch, choose tokens and answer clients; rows of a GPU come nearly free."""

QUANTILES = (50.0, 80.0, 90.0)


@dataclass(frozen=True)
class Judged:
    """One sample: where it stands, what it is, seconds measured, predicted before, and left out of its own fit."""

    where: str
    kind: str  # decode, prefill or request
    measured: float
    before: float
    after: float
    is_outlier: bool = False


@dataclass(frozen=True)
class Calibrated:
    """A calibration and how every sample fares."""

    calibration: Calibration
    judged: tuple[Judged, ...]
    fit: Fit


def calibrate(
    deployment: Deployment,
    samples: Sequence[Sample],
    *,
    inputs: Sequence[tuple[str, str, str]] = (),
    date: str | None = None,
    notes: Sequence[str] = (),
    prior: Prior | None = None,
    own_clock: bool = False,
) -> Calibrated:
    """Fit a calibration of ``deployment`` (its own is ignored) to ``samples``.

    ``inputs`` are (name, kind, SHA-256) of where they come from, ``date`` is stored as given. With ``own_clock`` the
    times were taken by this program, so that no unit can be wrong. Raises InputError for samples that can't be:
    faster than the data sheet allows, or off by what a wrong unit is off by.
    """
    if not samples:
        raise InputError("no samples to calibrate from: give at least one timing, better ten")
    predictor = Predictor(deployment)
    before = predictor.seconds(samples)
    remarks = [*notes, *_check_plausible(samples, predictor, before, own_clock), *_contradictions(samples)]
    shortest = min(each.seconds for each in samples)
    base = predictor.deployment.latency.base
    weights: tuple[float, ...] = ()
    if base == "pool":
        found, weights = fit_pool(predictor.deployment, samples)
    else:
        logs = statistics.median(
            abs(np.log(each.seconds / p)) for each, p in zip(samples, before, strict=True)
        )
        missed = statistics.median(
            abs(each.seconds - float(p)) for each, p in zip(samples, before, strict=True)
        )
        scale = max(shortest, 5.0 * missed)
        rows = ROW_SHARE * _shortest_step(samples) if predictor.deployment.device.kind == "cpu" else 0.0
        found = fit(samples, predictor, prior or prior_for(base, scale, missed=logs, row_seconds=rows))
    remarks += _remarks(found, samples)
    kept = [i for i in range(len(samples)) if i not in found.outliers]
    after = np.array([each.seconds for each in samples]) / np.exp(found.left_out)
    decode, prefill = (_spread(found, samples, predictor, kept, of) for of in (False, True))
    errors = np.abs(after / [each.seconds for each in samples] - 1.0)
    made = replace(
        blank(predictor.deployment),
        coefficients=coefficients_of(found.theta),
        covariance=tuple(tuple(row) for row in found.covariance.tolist()),
        decode=decode,
        prefill=prefill,
        pool_weights=weights,
        range=_range(samples),
        samples=len(samples),
        before=_mean_error(before, samples, kept),
        after=float(errors[kept].mean()),
        residual_quantiles=tuple((q, float(np.percentile(errors[kept], q))) for q in QUANTILES),
        inputs=tuple(inputs),
        date=date,
        version=_version(),
        notes=tuple(remarks),
    )
    judged = tuple(_judged(found, samples, before, after))
    return Calibrated(made, judged, found)


def _shortest_step(samples: Sequence[Sample]) -> float:
    """Seconds of the shortest mean step."""
    return min(each.seconds / (each.scale * sum(weight for _, weight in each.steps)) for each in samples)


def _remarks(found: Fit, samples: Sequence[Sample]) -> Iterator[str]:
    """What the user should know about the samples."""
    for place in found.outliers:
        each = samples[place]
        yield (
            f"{each.where}: {each.seconds * 1e3:.3f} ms does not fit the others "
            f"({np.exp(found.left_out[place]):.2f} times what they say): left out"
        )
    if len(samples) < len(NAMES):
        yield f"{len(samples)} samples for {len(NAMES)} coefficients: what they leave open stays as on known devices"
    kinds = {each.has_prefill for each in samples}
    if len(kinds) == 1:
        yield f"no sample of {'decodes alone' if True in kinds else 'prefills'}: their error stays wide"


def _judged(found: Fit, samples: Sequence[Sample], before: Floats, after: Floats) -> Iterator[Judged]:
    for i, each in enumerate(samples):
        kind = "prefill" if each.is_prefill else "decode"
        yield Judged(
            each.where,
            kind if each.front_tokens is None else "request",
            each.seconds,
            float(before[i]),
            float(after[i]),
            i in found.outliers,
        )


def _version() -> str:
    from importlib.metadata import version

    return version("hasten")


def _mean_error(predicted: Floats, samples: Sequence[Sample], kept: Sequence[int]) -> float:
    measured = np.array([each.seconds for each in samples])
    return float(np.abs(predicted / measured - 1.0)[list(kept)].mean())


def _check_plausible(
    samples: Sequence[Sample], predictor: Predictor, before: Floats, own_clock: bool
) -> list[str]:
    """Refuse what physics or a wrong unit forbids; say what is only strange."""
    ratio = statistics.median(each.seconds / float(p) for each, p in zip(samples, before, strict=True))
    if not own_clock and (ratio > ABSURD or ratio < 1.0 / ABSURD):
        longer = "longer" if ratio > 1.0 else "shorter"
        factor = max(ratio, 1.0 / ratio)
        raise InputError(
            f"{samples[0].where}: the timings are {factor:,.0f} times {longer} than predicted "
            f"({samples[0].seconds * 1e3:.4g} ms against {before[0] * 1e3:.4g} ms): are they in ms, read as s (or the "
            "other way round), and are device and model right?"
        )
    remarks = []
    for each, predicted in zip(samples, before, strict=True):
        least = each.scale * predictor.least_seconds(each)
        if each.seconds < FASTER * least:
            raise InputError(
                f"{each.where}: {each.seconds * 1e3:.4g} ms is less than reading the weights takes at the data sheet's "
                f"bandwidth ({least * 1e3:.4g} ms): is it one step, in the right unit, of this model and device?"
            )
        if each.seconds < least:
            remarks.append(
                f"{each.where}: {each.seconds * 1e3:.4g} ms is faster than the data sheet's bandwidth"
            )
        if not own_clock and not 1.0 / ABSURD < each.seconds / predicted < ABSURD:
            raise InputError(
                f"{each.where}: {each.seconds * 1e3:.4g} ms is {each.seconds / predicted:.3g} times the prediction, "
                "the others are not: is this row in another unit?"
            )
    return remarks


def _contradictions(samples: Sequence[Sample]) -> list[str]:
    """Pairs of timings of the same step that are far apart."""
    seen: dict[object, Sample] = {}
    found = []
    for each in samples:
        key = (each.steps, each.front_tokens)
        first = seen.setdefault(key, each)
        factor = max(each.seconds / first.seconds, first.seconds / each.seconds)
        if factor > CONTRADICTION:
            found.append(
                f"{first.where} and {each.where} time the same step {factor:.2f} times apart: the error is wider for it"
            )
    return found


def _range(samples: Sequence[Sample]) -> Range:
    steps = [step for each in samples for step, _ in each.steps]
    decodes = [step.decodes for step in steps if step.decodes]
    return Range(
        min(decodes, default=0),
        max(decodes, default=0),
        round(max((step.mean_context for step in steps), default=0)),
        max((step.prefill_tokens for step in steps), default=0),
    )


#: Steps whose error stands for that of their kind: (prefill chunk, decodes, context per sequence).
_DECODES = ((0, 1, 1024), (0, 16, 1024), (0, 64, 1024), (0, 64, 4096))
_PREFILLS = ((256, 0, 0), (1024, 0, 0), (2048, 0, 0), (512, 32, 1024))


def typical_samples(is_prefill: bool, limits: EngineLimits) -> list[Sample]:
    """Steps of one kind within the limits whose errors stand for all of it; their seconds mean nothing."""
    within = (
        (
            min(new, limits.max_num_batched_tokens),
            min(n, limits.max_num_seqs),
            min(context, limits.max_model_len // 2),
        )
        for new, n, context in (_PREFILLS if is_prefill else _DECODES)
    )
    return [
        Sample("", 1.0, ((Step(((new, 0),) if new else (), n, n * context), 1.0),))
        for new, n, context in dict.fromkeys(within)
    ]


def _spread(
    found: Fit, samples: Sequence[Sample], predictor: Predictor, kept: Sequence[int], is_prefill: bool
) -> Spread:
    """Error of one kind of step: what the coefficients leave open on typical steps, and what samples scatter by."""
    typical = typical_samples(is_prefill, predictor.deployment.limits)
    own = [i for i in kept if samples[i].has_prefill == is_prefill]
    inside = _range([samples[i] for i in own]) if own else Range()
    if own:  # errors outside the range are widened when they are asked for
        typical = [each for each in typical if _within(each, inside)] or [samples[own[0]]]
    systematic = open_error(typical, predictor, found.theta, found.covariance)
    scatter = float((found.left_out[own] ** 2).sum()) if own else 0.0
    residual = float(np.sqrt((3.0 * found.noise**2 + scatter) / (3.0 + len(own))))
    return Spread(systematic, residual)


def open_error(samples: Sequence[Sample], predictor: Predictor, theta: Floats, covariance: Floats) -> float:
    """Standard deviation, in logs, that coefficients of this covariance leave open on samples, on average."""
    at = np.log(predictor.seconds(samples, theta))
    rows = predictor.derivatives(samples, theta, at, float(np.exp(at.min())))
    return float(np.sqrt(np.mean(np.einsum("ij,jk,ik->i", rows, covariance, rows))))


def _within(sample: Sample, inside: Range) -> bool:
    step = sample.steps[0][0]
    return inside.doublings_outside(step.prefill_tokens, step.decodes, step.mean_context) == 0.0
