"""Errors of a recorded run by part: step windows, TTFT without a queue, TPOT by batch size, KV capacity.

A mean can be right because two wrong terms cancel; these can't cancel each other.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from hasten.accuracy.offsets import windows
from hasten.accuracy.recorded import Floats, RecordedRun
from hasten.accuracy.replay import Replay

UNQUEUED = 0.1
"""Seconds between intake and first scheduling up to which a request counts as one that did not wait."""


@dataclass(frozen=True)
class Part:
    """Relative errors (predicted / measured - 1) of one part: how many, their median, and that without sign."""

    name: str
    count: int
    median: float
    size: float

    @classmethod
    def of(cls, name: str, errors: Floats) -> Part:
        """From the errors themselves; NaN ones are left out."""
        known = errors[np.isfinite(errors)]
        if not known.size:
            return cls(name, 0, math.nan, math.nan)
        return cls(name, int(known.size), float(np.median(known)), float(np.median(np.abs(known))))


def parts_of(found: Replay, since: float) -> list[Part]:
    """Errors of a replayed run by part, of what came ``since`` seconds after the first arrival."""
    run = found.run
    parts = [*_windows(run, since), *_unqueued(found), *_by_batch(found)]
    measured = run.kv_cache_tokens
    if measured is not None:
        error = run.deployment().kv.tokens / measured - 1.0
        parts.append(Part("KV capacity", 1, error, abs(error)))
    return parts


def _windows(run: RecordedRun, since: float) -> list[Part]:
    """Time between successive first-token stamps: a few decode steps, then one with a prefill."""
    deployment = run.deployment()
    if deployment.parallelism.is_lockstep:
        return []  # steps of several ranks can't be told apart by stamps
    model = deployment.latency
    # Offsets are part of the model here: windows then expect what the simulator would take.
    kept = [each for each in windows(run, model, (0.0, 0.0), math.inf) if each.start >= since]
    errors = np.array([each.expected / each.duration - 1.0 for each in kept])
    return [Part.of("step windows", errors)]


def _unqueued(found: Replay) -> list[Part]:
    """TTFT of requests that the engine scheduled at once; of the whole run where none that is scored was."""
    stamps = found.run.stamps
    at_once = stamps["scheduled"] - stamps["queued"] < UNQUEUED
    name, rows = "TTFT without a queue", found.scored & at_once
    if not rows.any():
        name, rows = f"{name}, whole run", at_once
    errors = found.predicted.ttft[rows] / found.run.measured.ttft[rows] - 1.0
    return [Part.of(name, errors)]


def _by_batch(found: Replay) -> list[Part]:
    """TPOT of requests by how many others decoded while they did, in thirds."""
    stamps, scored = found.run.stamps, found.scored
    first, last = stamps["first_token"], stamps["last_token"]
    overlap = np.minimum(last[:, None], last[None, :]) - np.maximum(first[:, None], first[None, :])
    with np.errstate(divide="ignore", invalid="ignore"):
        batch = np.maximum(overlap, 0.0).sum(axis=1) / (last - first)
        errors = found.predicted.tpot / found.run.measured.tpot - 1.0
    usable = scored & np.isfinite(batch) & np.isfinite(errors)
    edges = np.quantile(batch[usable], [0.0, 1 / 3, 2 / 3, 1.0])
    parts = []
    for i, (low, high) in enumerate(itertools.pairwise(edges)):
        rows = usable & (batch >= low) & ((batch <= high) if i == 2 else (batch < high))
        parts.append(Part.of(f"TPOT beside {low:.0f} to {high:.0f} others", errors[rows]))
    return parts
