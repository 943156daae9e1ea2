"""Write the tables of docs/how-to/calibrate.md: errors on measurements that a calibration has not seen.

scripts/calibration_table.py            write
scripts/calibration_table.py --check    exit 1 when the page is not up to date
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from pages import agree, filled, table

from hasten.accuracy.offsets import Window, windows
from hasten.accuracy.recorded import RecordedRun, load_run
from hasten.accuracy.replay import Replay, replay
from hasten.calibration import Calibrated, Sample, Step, calibrate
from hasten.calibration.model import blank
from hasten.calibration.prior import prior_for
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.latency import AnalyticalModel
from hasten.latency.calibration import Coefficients, relative_error
from hasten.latency.tables import TableModel
from hasten.latency.tables.offsets import Offsets

PAGE = Path(__file__).resolve().parent.parent / "docs" / "how-to" / "calibrate.md"

#: Steps that are timed: ten of them are drawn, all others are scored.
STEPS = [Step((), n, n * context) for n in (1, 4, 16, 32, 64, 128) for context in (256, 1024, 2048, 4096)]
STEPS += [Step(((tokens, 0),)) for tokens in (64, 128, 256, 512, 1024, 1536, 2048)]
STEPS += [Step(((tokens, 0),), n, n * 1024) for tokens in (128, 512, 1024) for n in (8, 32, 64)]

#: Deployments whose layers or operators were timed: (device, model, tp, step times).
TIMED = (
    ("rtx-4090", "llama-3.1-8b", 1, "auto"),
    ("rtx-pro-6000", "llama-3.1-8b", 1, "auto"),
    ("rtx-pro-6000", "qwen3-32b", 2, "auto"),
    ("rtx-pro-6000", "qwen3-30b-a3b", 1, "auto"),
    ("a100-sxm-80g", "llama-3.1-8b", 1, "table"),
    ("h100-sxm", "llama-3.1-8b", 1, "table"),
    ("h200-sxm", "llama-3.1-70b", 4, "table"),
    ("b200-sxm", "llama-3.1-8b", 1, "table"),
    ("l40s", "llama-3.1-8b", 1, "table"),
)
COUNTS = (2, 5, 10, 20)
DRAWS = 12
RUNS = ("llama-3.1-8b-rtx-4090", "llama-3.1-8b-rtx-pro-6000", "qwen3-30b-a3b-rtx-pro-6000-dp2")
FITTED_UNTIL = 15.0
MOST_WINDOWS = 40
FEWEST_WINDOWS = 20
START_FACTORS, START_MIXED = (0.95, 1.05, 1.15), (0.0, 5e-3)
FIGURES = ("ttft mean", "ttft p99", "tpot mean", "e2e mean", "throughput")


def timed_samples(device: str, model: str, tp: int, kind: str) -> tuple[Deployment, list[Sample]]:
    """A deployment with data sheet step times, and its steps put together from what was timed, offsets left out."""
    made = Deployment.of(model, device, tp=tp, step_times=kind, max_model_len=16384)
    timed = made.latency
    if not isinstance(timed, TableModel):
        raise SystemExit(f"{made.label} was not timed")
    timed = replace(timed, measured_offsets=Offsets(0.0, 0.0, "none", 0.1))
    samples = []
    for step in STEPS:
        seconds = timed.step_time(step.prefills, step.decodes, step.decode_context).seconds
        samples.append(Sample(str(step), seconds, ((step, 1.0),)))
    return replace(made, step_times="analytical"), samples


def step_rows() -> Iterator[list[str]]:
    """Mean error of steps not drawn, by number of samples; the device is left out of the prior."""
    rng = np.random.default_rng(0)
    for device, name, tp, kind in TIMED:
        made, samples = timed_samples(device, name, tp, kind)
        prior = prior_for("analytical", min(each.seconds for each in samples), without=device)
        before = np.abs([gap(made, each) for each in samples])
        cells = [
            device,
            f"{name} tp{tp}",
            "layers" if kind == "auto" else "operators",
            f"{before.mean():.1%}",
        ]
        inside: list[bool] = []
        for count in COUNTS:
            errors: list[float] = []
            for _ in range(DRAWS):
                order = rng.permutation(len(samples))
                try:
                    found = calibrate(made, [samples[i] for i in order[:count]], prior=prior)
                except InputError:
                    continue
                scored = replace(made, calibration=found.calibration)
                rest = [samples[i] for i in order[count:]]
                gaps = [abs(gap(scored, each)) for each in rest]
                errors += gaps
                if count == 10:
                    inside += [abs(g) <= stated(scored, each) for g, each in zip(gaps, rest, strict=True)]
            cells.append(f"{np.mean(errors):.1%}")
        every = replace(made, calibration=calibrate(made, samples, prior=prior).calibration)
        cells.append(f"{np.mean([abs(gap(every, each)) for each in samples]):.1%}")
        yield [*cells, f"{np.mean(inside):.0%}"]


def gap(made: Deployment, sample: Sample) -> float:
    """Predicted / measured - 1."""
    step = sample.steps[0][0]
    return (
        made.latency.step_time(step.prefills, step.decodes, step.decode_context).seconds / sample.seconds
        - 1.0
    )


def stated(made: Deployment, sample: Sample) -> float:
    """The error that the calibration states for a step."""
    step = sample.steps[0][0]
    return made.latency.error_of(step.prefill_tokens, step.decodes, step.decode_context)


# -- recorded runs


def window_sample(window: Window) -> Sample:
    """A window between first tokens as a sum of steps."""
    n, context = window.decodes, window.context
    steps = [(Step((), n, context + i * n), 1.0) for i in range(window.decode_steps)]
    steps.append((Step(window.chunks, n, context + window.decode_steps * n), 1.0))
    return Sample(f"{window.start:.2f} s", window.duration, tuple(steps))


def from_windows(run: RecordedRun, made: Deployment) -> Calibrated:
    """A calibration from the windows of the first seconds.

    How many steps a window held is not recorded, and follows from its duration only once the step time is known. So
    the fit starts from several guesses of it and settles the counts in three rounds; the start after which windows
    scatter least is kept.
    """
    tried = [_settled(run, made, factor, mixed) for factor in START_FACTORS for mixed in START_MIXED]
    return min(tried, key=lambda each: each.fit.noise)


def _settled(run: RecordedRun, made: Deployment, factor: float, mixed: float) -> Calibrated:
    start = Coefficients(memory=factor, compute=factor, mixed_seconds=mixed)
    calibration = replace(blank(made), coefficients=start)
    for _ in range(3):
        model = replace(made, calibration=calibration).latency
        seen = list(windows(run, bare(model), model.offsets, FITTED_UNTIL))
        places = np.linspace(0, len(seen) - 1, min(len(seen), MOST_WINDOWS)).round().astype(int)
        found = calibrate(made, [window_sample(seen[i]) for i in places])
        calibration = found.calibration
    return found


def bare(model: AnalyticalModel) -> AnalyticalModel:
    """The model without offsets, which `windows` adds itself."""
    if isinstance(model, TableModel):
        none = Offsets(0.0, 0.0, "none", 0.1)
        model = replace(model, measured_offsets=none)
    if model.calibration is None:
        return model
    plain = replace(model.calibration.coefficients, step_seconds=0.0, mixed_seconds=0.0)
    return replace(model, calibration=replace(model.calibration, coefficients=plain))


def run_rows() -> Iterator[list[str]]:
    """Errors of the requests after the first seconds, before and after, by kind of step times."""
    for name in RUNS:
        run = load_run(name)
        for kind, label in (("analytical", "data sheet"), ("auto", "measured layers")):
            made = run.deployment(step_times=kind)
            yield [name, label, *cells(replay(run, since=FITTED_UNTIL, step_times=kind)), "", ""]
            if run.about["dp"] > 1:  # windows of ranks in lock-step are not told apart
                continue
            if (
                len(list(windows(run, bare(made.latency), made.latency.offsets, FITTED_UNTIL)))
                < FEWEST_WINDOWS
            ):
                continue
            found = from_windows(run, made)
            after = replay(run, since=FITTED_UNTIL, step_times=kind, calibration=found.calibration)
            errors = [relative_error(each) for each in (found.calibration.decode, found.calibration.prefill)]
            row = [name, f"{label}, calibrated", *cells(after), str(found.calibration.samples)]
            yield [*row, " / ".join(f"{each:.0%}" for each in errors)]


def cells(found: Replay) -> list[str]:
    """Errors of the figures, then the median error of one request's TTFT and E2E."""
    errors = found.errors()
    each = [f"{found.per_request(kind):.1%}" for kind in ("ttft", "e2e")]
    return [*(f"{errors[name]:+.1%}" for name in FIGURES), *each]


def main() -> int:
    """Write the tables, or compare them with the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="exit 1 when the page is not up to date")
    args = parser.parse_args()
    old = page = PAGE.read_text(encoding="utf-8")
    head = [
        "device",
        "model",
        "timed",
        "before",
        *(f"{count} samples" for count in COUNTS),
        "fitted to all",
        "within stated error",
    ]
    page = filled(page, "step table", table(head, step_rows()))
    head = [
        "run",
        "step times",
        *FIGURES,
        "ttft of one request",
        "e2e of one request",
        "windows",
        "stated error",
    ]
    page = filled(page, "run table", table(head, run_rows()))
    if args.check:
        is_same = agree(page, old)
        print("up to date" if is_same else f"{PAGE.name} is out of date: run scripts/calibration_table.py")
        return int(not is_same)
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
