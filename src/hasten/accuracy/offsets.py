"""Signed seconds per step and per mixed step, from the windows between first tokens of a recorded run.

All requests whose prompt ends in a step share the stamp of their first token, so two successive such stamps
frame a window: some decode-only steps, then one step with those prefills. How many steps there were follows
from the duration, since an error of one millisecond per step is far less than a step. With k decode steps,

    duration - (k decode steps + 1 mixed step of the table) = (k + 1) a + b

and a and b follow from a fit that minimises absolute residuals. Only stamps before `until` are read, so the
rest of the run stays unseen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from hasten.accuracy.recorded import Floats, RecordedRun
from hasten.errors import InputError
from hasten.latency import AnalyticalModel
from hasten.latency.tables import TableModel

MOST_STEPS = 12
"""Decode steps of a window: with more of them their number would be uncertain."""

LARGEST = 0.5
"""Share of a decode step by which a window may differ from a whole number of steps; others are left out."""

LONGEST_EXCHANGE = 8e-3
"""Seconds per step that ranks in lock-step are allowed to lose to each other."""


@dataclass(frozen=True)
class Window:
    """Time between two first-token stamps, in seconds, with what ran in it: decode steps, then a mixed one.

    ``chunks`` are the prefills of the last step; ``decodes`` sequences with contexts that sum to ``context`` at the
    start decode in every step.
    """

    start: float
    duration: float
    decode_steps: int
    expected: float  # seconds of all its steps before any offset
    chunks: tuple[tuple[int, int], ...] = ()
    decodes: int = 0
    context: int = 0


@dataclass(frozen=True)
class FittedOffsets:
    """Seconds per step and, besides, per step with a prefill (`offsets`), with what the fit is worth.

    ``before`` and ``after`` are medians of the relative error of a window's duration, without sign, without and
    with them; four of five windows are within ``error`` with them.
    """

    offsets: tuple[float, float]
    windows: int
    before: float
    after: float
    error: float

    @property
    def is_better(self) -> bool:
        """Whether the fit is worth using: it takes at least a fifth off the median error."""
        return self.after < 0.8 * self.before


def fit_offsets(run: RecordedRun, model: AnalyticalModel, *, until: float = 15.0) -> FittedOffsets:
    """Fit both offsets to the stamps before ``until`` seconds; ``model`` must have none of its own.

    Raises InputError with fewer than six usable windows.
    """
    offsets = (0.0, 0.0)
    for _ in range(3):  # a better offset settles doubtful step counts
        found = list(windows(run, model, offsets, until))
        if len(found) < 6:
            raise InputError(
                f"{run.name}: {len(found)} usable windows before {until:g} s, 6 are needed: raise until"
            )
        offsets = _least_absolute(found)
    before, after = (
        [abs(_residual(each, of)) / each.duration for each in found] for of in ((0.0, 0.0), offsets)
    )
    return FittedOffsets(
        offsets,
        windows=len(found),
        before=float(np.median(before)),
        after=float(np.median(after)),
        error=float(np.percentile(after, 80)),
    )


def fit_lockstep(run: RecordedRun, *, until: float = 15.0) -> tuple[float, float, float]:
    """Seconds that every step of ranks in lock-step takes beyond its layers and offsets, from stamps before ``until``.

    Steps of such a run can't be counted between stamps, as no request ends for seconds and windows are long. But a
    request that hardly waits gets its first token one to two steps after the step it arrived in: so the value is
    that at which the median of log(predicted / measured TTFT) over the requests that had their first token before
    ``until`` is zero (bisection). Returns it with the median TTFT error without sign of those requests, without and
    with it. Raises InputError when the ranks of the run don't step together.
    """
    from hasten.accuracy.replay import replay

    deployment = run.deployment()
    model = deployment.latency
    if not deployment.parallelism.is_lockstep or not isinstance(model, TableModel):
        raise InputError(f"{run.name} has no ranks that step together with measured layers: nothing to fit")
    early = run.stamps["first_token"] < until
    known = replace(model.fitted, lockstep_step=0.0)

    def errors(seconds: float) -> Floats:
        cost = replace(model, measured_offsets=replace(known, lockstep_step=seconds)).compile()
        found = replay(run, cost=cost).predicted.ttft[early]
        return np.asarray(np.log(found / run.measured.ttft[early]))

    low, high = 0.0, LONGEST_EXCHANGE
    while high - low > 5e-5:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if np.median(errors(middle)) < 0.0 else (low, middle)
    fitted = 0.5 * (low + high)
    before, after = (float(np.median(np.abs(errors(seconds)))) for seconds in (0.0, fitted))
    return fitted, before, after


def windows(
    run: RecordedRun, model: AnalyticalModel, offsets: tuple[float, float], until: float
) -> Iterator[Window]:
    """Usable windows of a run before ``until``: no finish inside, prompts that fit one step, a sure step count."""
    every, mixed = offsets
    budget = model.engine_limits.max_num_batched_tokens
    prompts, cached = run.work.prompt_tokens, run.cached_tokens
    stamps, members = np.unique(run.stamps["first_token"], return_inverse=True)
    ends = run.stamps["last_token"]
    finishes = np.sort(ends)
    step_of: dict[int, int] = {}  # request -> number of the step that gave its first token
    count = 0
    for place in range(len(stamps) - 1):
        start, end = float(stamps[place]), float(stamps[place + 1])
        if end >= until:
            return
        for each in np.flatnonzero(members == place):
            step_of[int(each)] = count
        running = [each for each in step_of if ends[each] > start]
        newcomers = np.flatnonzero(members == place + 1)
        chunks = [(int(prompts[i] - cached[i]), int(cached[i])) for i in newcomers]
        n = len(running)
        context = int(sum(prompts[i] + count - step_of[i] for i in running))
        if not n:
            count += 1
            continue
        one = model.step_time([], n, context).seconds + every
        fits = sum(new for new, _ in chunks) + n <= budget
        last = model.step_time(chunks, n, context).seconds + every + mixed if fits else 2.0 * one
        steps = max(0, round((end - start - last) / one))
        count += steps + 1
        quiet = int(np.searchsorted(finishes, end)) == int(np.searchsorted(finishes, start))
        if (
            not fits
            or not quiet
            or steps > MOST_STEPS
            or abs(end - start - last - steps * one) > LARGEST * one
        ):
            continue
        parts = [model.step_time([], n, context + i * n).seconds for i in range(steps)]
        parts.append(model.step_time(chunks, n, context + steps * n).seconds)
        yield Window(start, end - start, steps, sum(parts), tuple(chunks), n, context)


def _residual(window: Window, offsets: tuple[float, float]) -> float:
    return window.duration - window.expected - (window.decode_steps + 1) * offsets[0] - offsets[1]


def _least_absolute(found: list[Window]) -> tuple[float, float]:
    """Offsets with the least sum of absolute residuals: least squares, reweighted until it settles."""
    rows = np.array([[each.decode_steps + 1.0, 1.0] for each in found])
    target = np.array([each.duration - each.expected for each in found])
    weight = np.ones(len(found))
    every = mixed = 0.0
    for _ in range(50):
        every, mixed = np.linalg.lstsq(rows * weight[:, None], target * weight, rcond=None)[0].tolist()
        left = np.abs(target - rows @ np.array([every, mixed]))
        weight = 1.0 / np.sqrt(np.maximum(left, 1e-5))
    return every, mixed
