"""Tables and plots of published closed-loop points for docs/accuracy.md, and the errors to expect of step times.

Everything here follows from docs/accuracy-points.csv (scripts/closed_loop_points.py) and the recorded runs.
`errors_toml` is src/hasten/latency/errors.toml, `plots` are the SVG files beside the page.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean, median

import numpy as np
from interval_tables import interval_table
from pages import table

from hasten.accuracy.offsets import windows
from hasten.accuracy.recorded import RecordedRun, load_run, run_names
from hasten.accuracy.replay import FIGURES, figure, replay
from hasten.accuracy.spread import (
    Coverage,
    Seen,
    coverage,
    fit_spreads,
    group_kind,
    leave_one_out,
    split,
    unseen_factor,
)
from hasten.latency.error import LEVEL, Spread, conformal_spread
from hasten.latency.scaled import adjusted
from hasten.models import load_model

ROOT = Path(__file__).resolve().parent.parent
POINTS = ROOT / "docs" / "accuracy-points.csv"
ERRORS = ROOT / "src" / "hasten" / "latency" / "errors.toml"
FITTED_UNTIL = 15.0
RESIDUAL = 0.037
"""Of single steps: four of five windows of a recorded run lie within 4.7 % (offsets.toml), which is 1.28 spreads."""

Row = dict[str, str]


def read() -> list[Row]:
    """The simulated points."""
    with POINTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def error(row: Row, kind: str, name: str = "") -> float:
    """Predicted / measured - 1 of ``ttft`` or ``tpot``."""
    return float(row[f"{kind}{name}_ms"]) / float(row[f"{kind}_measured_ms"]) - 1.0


def is_mixture(row: Row) -> bool:
    return load_model(row["model"]).is_mixture


def scored(rows: Iterable[Row], engine: str | None = None, mode: str = "agg") -> list[Row]:
    """Rows that count, of one engine or all."""
    return [
        row
        for row in rows
        if row["mode"] == mode and not row["left_out"] and row["tpot_ms"] and engine in (None, row["engine"])
    ]


def grouped(rows: Iterable[Row], *names: str) -> dict[tuple[str, ...], list[Row]]:
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] or "bf16" for name in names), []).append(row)
    return dict(sorted(found.items()))


def figures(rows: list[Row], kinds: Iterable[str] = ("tpot", "ttft"), name: str = "") -> list[str]:
    """Mean error without sign and median error with it, of each kind."""
    cells = []
    for kind in kinds:
        errors = [error(row, kind, name) for row in rows if row[f"{kind}{name}_ms"]]
        cells += [f"{fmean(map(abs, errors)):.1%}", f"{median(errors):+.0%}"] if errors else ["", ""]
    return cells


HEAD = ["model", "device", "type", "split", "points", "TPOT", "bias", "TTFT", "bias"]


def summary_table(rows: list[Row]) -> str:
    """vLLM: dense models and mixtures of experts, before and after ten points."""
    lines = []
    for kind, wanted in (("dense", False), ("experts", True)):
        some = [row for row in scored(rows, "vllm") if is_mixture(row) == wanted]
        lines.append([kind, "none", str(len(some)), *figures(some)])
        after = [row for row in some if row["tpot_after_ten_ms"]]
        lines.append([kind, "ten points", str(len(after)), *figures(after, name="_after_ten")])
    return table(["models", "calibration", "points scored", "TPOT", "bias", "TTFT", "bias"], lines)


def vllm_table(rows: list[Row]) -> str:
    """vLLM by model, device, type and split."""
    names = ("model", "device", "precision", "split")
    found = grouped(scored(rows, "vllm"), *names)
    return table(HEAD, ([*key, str(len(some)), *figures(some)] for key, some in found.items()))


def ten_table(rows: list[Row]) -> str:
    """The points that a calibration with ten others of their deployment did not see."""
    names = ("model", "device", "precision")
    lines = []
    for key, some in grouped(scored(rows, "vllm"), *names).items():
        after = [row for row in some if row["tpot_after_ten_ms"]]
        if after:
            lines.append([*key, str(len(after)), *figures(after), *figures(after, name="_after_ten")])
    head = ["model", "device", "type", "points", "TPOT before", "bias", "TTFT before", "bias"]
    return table([*head, "TPOT after", "bias", "TTFT after", "bias"], lines)


def others_table(rows: list[Row]) -> str:
    """Other engines, and split deployments."""
    lines = []
    for engine in ("sglang", "trtllm"):
        for key, some in grouped(scored(rows, engine), "engine", "model", "device", "precision").items():
            lines.append([*key, "together", str(len(some)), *figures(some)])
    for key, some in grouped(scored(rows, mode="disagg"), "engine", "model", "device", "precision").items():
        lines.append([*key, "split", str(len(some)), *figures(some)])
    return table(["engine", *HEAD[:3], "prefill and decode", *HEAD[4:]], lines)


def left_out_table(rows: list[Row]) -> str:
    """Points that are not scored, by engine and reason."""
    counts = Counter((row["engine"], row["mode"], row["left_out"]) for row in rows)
    lines = [[*key[:2], key[2] or "scored", str(number)] for key, number in sorted(counts.items())]
    return table(["engine", "mode", "why not", "points"], lines)


# -- errors to expect -----------------------------------------------------------------------------------


def seen_points(rows: list[Row], mixture: bool) -> list[Seen]:
    """What the points say about step times; TTFT counts where the engine's launch settings are known (vLLM)."""
    found = []
    for row in scored(rows):
        if is_mixture(row) != mixture:
            continue
        measured = {
            kind: math.log1p(-error(row, kind) / (1.0 + error(row, kind))) for kind in ("ttft", "tpot")
        }
        found.append(
            Seen(
                (row["model"], row["device"], row["engine"], row["precision"]),
                **measured,
                ttft_share=float(row["ttft_prefill_share"]),
                tpot_share=float(row["tpot_prefill_share"]),
                counts_ttft=row["engine"] == "vllm",
            )
        )
    return found


def recorded_errors() -> dict[str, tuple[float, float]]:
    """log(measured / predicted) of mean TPOT and mean TTFT of every recorded run, arrivals after the fitted part."""
    found = {}
    for name in run_names():
        errors = replay(load_run(name), since=FITTED_UNTIL).errors()
        found[name] = (-math.log1p(errors["tpot mean"]), -math.log1p(errors["ttft mean"]))
    return found


def errors_toml(rows: list[Row]) -> str:
    """errors.toml: spreads of step times by where they come from."""
    parts = [
        "# Errors to expect of step times that nobody calibrated. Written by scripts/accuracy_table.py.\n"
    ]
    runs = list(recorded_errors().values())
    for kind, mixture in (("dense", False), ("experts", True)):
        points = seen_points(rows, mixture)
        decode, prefill = fit_spreads(points)
        both = [each for each in points if each.counts_ttft]
        correlation = float(np.corrcoef([p.tpot for p in both], [p.ttft for p in both])[0, 1])
        groups = len({each.group for each in points})
        timed = len({each.group for each in both})
        source = (
            f"{len(points)} published closed-loop points of {groups} deployments for decodes, "
            f"{len(both)} of {timed} for prefills (docs/accuracy.md)"
        )
        parts.append(
            _entry("analytical", kind, (decode, prefill), RESIDUAL, correlation, len(points), source)
            + f"measured = {json.dumps(sorted({group_kind(each.group) for each in points}))}\n"
            + f"unseen = {unseen_factor(points):.2f}\n"
        )
    spreads = tuple(conformal_spread([each[i] for each in runs]) for i in (0, 1))
    source = f"held-out parts of {len(runs)} recorded runs (docs/accuracy.md)"
    parts += [
        _entry("layers", kind, spreads, RESIDUAL, 1.0, len(runs), source) for kind in ("dense", "experts")
    ]
    return "\n".join(parts)


def _entry(
    base: str,
    kind: str,
    spreads: tuple[float, ...],
    residual: float,
    correlation: float,
    samples: int,
    source: str,
) -> str:
    return (
        f'[[errors]]\nbase = "{base}"\nkind = "{kind}"\n'
        f"decode_systematic = {spreads[0]:.3f}\ndecode_residual = {residual:.3f}\n"
        f"prefill_systematic = {spreads[1]:.3f}\nprefill_residual = {residual:.3f}\n"
        f"correlation = {correlation:.2f}\nsamples = {samples}\n"
        f'origin = "{"table" if base == "layers" else base}"\nsource = "{source}"\n'
    )


def after_ten(rows: list[Row]) -> list[Seen]:
    """The same for points after a calibration with ten others."""
    found = []
    for row in scored(rows, "vllm"):
        if row["tpot_after_ten_ms"]:
            errors = {kind: -math.log1p(error(row, kind, "_after_ten")) for kind in ("ttft", "tpot")}
            shares = {f"{kind}_share": float(row[f"{kind}_prefill_share"]) for kind in ("ttft", "tpot")}
            group = (row["model"], row["device"], row["engine"], row["precision"])
            found.append(Seen(group, **errors, **shares))
    return found


def coverage_table(rows: list[Row]) -> str:
    """Intervals of 90 %, each deployment by spreads of all others."""
    lines = []
    for label, points in (
        ("dense, data sheets", seen_points(rows, False)),
        ("experts, data sheets", seen_points(rows, True)),
        ("after ten points", after_ten(rows)),
    ):
        found = leave_one_out(points)
        lines += [[label, " ".join(group), *_coverage(each)] for group, each in found.items()]
        lines.append([label, "**all, deployments counted the same**", *_mean(list(found.values()))])
    head = ["step times", "left out", "points", "TPOT covered", "TTFT covered", "TPOT width", "TTFT width"]
    return table(head, lines)


def unseen_table(rows: list[Row]) -> str:
    """Intervals of 90 % for kinds of deployments left out at once, by spreads of all others and by those widened."""
    lines = []
    for label, points in (
        ("dense, data sheets", seen_points(rows, False)),
        ("experts, data sheets", seen_points(rows, True)),
    ):
        plain, wide = [], []
        for name in sorted({group_kind(each.group) for each in points}):
            own, others = split(points, name)
            if not any(each.counts_ttft for each in others):
                continue
            spreads, factor = fit_spreads(others), unseen_factor(others)
            wider = (spreads[0] * factor, spreads[1] * factor)
            for group in sorted({each.group for each in own}):
                asked = [each for each in own if each.group == group]
                plain.append(coverage(asked, spreads))
                wide.append(coverage(asked, wider))
                cells = [*_coverage(plain[-1]), f"{factor:.2f}", *_coverage(wide[-1])[1:]]
                lines.append([label, " ".join(group), *cells])
        lines.append([label, "**all, deployments counted the same**", *_mean(plain), "", *_mean(wide)[1:]])
    head = ["step times", "left out with all of its kind", "points"]
    head += [f"{figure} {what}" for what in ("covered", "width") for figure in ("TPOT", "TTFT")]
    head += ["factor", *(f"{each}, widened" for each in head[3:])]
    return table(head, lines)


def _coverage(found: Coverage) -> list[str]:
    values = (found.tpot, found.ttft, found.tpot_width, found.ttft_width)
    return [str(found.points), *("" if math.isnan(each) else f"{each:.0%}" for each in values)]


def _mean(found: list[Coverage]) -> list[str]:
    cells = [str(sum(each.points for each in found))]
    for name in ("tpot", "ttft", "tpot_width", "ttft_width"):
        known = [value for each in found if not math.isnan(value := getattr(each, name))]
        cells.append(f"**{fmean(known):.0%}**" if known else "")
    return cells


def recorded_table() -> str:
    """Recorded runs: how many figures lie inside intervals by the spreads of the other runs, and step windows."""
    errors = recorded_errors()
    lines = []
    for name in errors:
        others = [each for other, each in errors.items() if other != name]
        spreads = [Spread(conformal_spread([each[i] for each in others]), RESIDUAL) for i in (0, 1)]
        run = load_run(name)
        z = 0.5 + 0.5 * LEVEL
        ends = [
            replay(
                run,
                since=FITTED_UNTIL,
                cost=adjusted(run.deployment().cost, *(each.factor(share) for each in spreads)),
            )
            for share in (1.0 - z, z)
        ]
        inside, widths = [], []
        for _, kind, q in FIGURES:
            low, high = sorted(figure(each.predicted, kind, q, each.scored) for each in ends)
            inside.append(low <= figure(run.measured, kind, q, ends[0].scored) <= high)
            widths.append(high / low - 1.0)
        lines.append(
            [name, f"{sum(inside)} of {len(inside)}", f"{fmean(widths):.0%}", *_windows(run, spreads[0])]
        )
    head = ["run", "figures covered", "mean width", "step windows covered", "width"]
    return table(head, lines)


def _windows(run: RecordedRun, spread: Spread) -> list[str]:
    """Windows of a run with few steps inside the interval of single steps."""
    deployment = run.deployment()
    if deployment.parallelism.is_lockstep:
        return ["", ""]
    found = [
        each for each in windows(run, deployment.latency, (0.0, 0.0), math.inf) if each.start >= FITTED_UNTIL
    ]
    low, high = spread.interval(LEVEL, single=True)
    inside = [low <= each.duration / each.expected <= high for each in found]
    return [f"{fmean(inside):.0%} of {len(inside)}", f"{high / low - 1.0:.0%}"]


# -- plots ----------------------------------------------------------------------------------------------

SIZE, EDGE = 320, 46
COLOURS = {"dense": "#1f6fb4", "experts": "#d9742b"}


def scatter(rows: list[Row]) -> str:
    """Predicted against measured TPOT and TTFT of vLLM's points, before calibration, on log axes."""
    panels = []
    for place, kind in enumerate(("tpot", "ttft")):
        some = scored(rows, "vllm")
        values = [(float(r[f"{kind}_measured_ms"]), float(r[f"{kind}_ms"]), is_mixture(r)) for r in some]
        low = 10 ** math.floor(math.log10(min(min(v[:2]) for v in values)))
        high = 10 ** math.ceil(math.log10(max(max(v[:2]) for v in values)))
        marks = "".join(
            f'<circle cx="{_at(x, low, high):.1f}" cy="{SIZE - _at(y, low, high):.1f}" r="2.2" '
            f'fill="{COLOURS["experts" if mixture else "dense"]}" fill-opacity="0.6"/>'
            for x, y, mixture in values
        )
        panels.append(_panel(place, kind.upper(), (low, high), marks))
    return _svg(2, panels, "vLLM, uncalibrated: blue dense, orange experts")


def _at(value: float, low: float, high: float) -> float:
    return SIZE * math.log(value / low) / math.log(high / low)


def _panel(place: int, name: str, ends: tuple[float, float], marks: str) -> str:
    low, high = ends
    ticks = ""
    decade = low
    while decade <= high * 1.001:
        at = _at(decade, low, high)
        ticks += f'<line x1="{at:.1f}" y1="0" x2="{at:.1f}" y2="{SIZE}" stroke="#ddd"/>'
        ticks += f'<line x1="0" y1="{SIZE - at:.1f}" x2="{SIZE}" y2="{SIZE - at:.1f}" stroke="#ddd"/>'
        ticks += _text(at, SIZE + 14, f"{decade:g}") + _text(-6, SIZE - at + 4, f"{decade:g}", "end")
        decade *= 10
    diagonal = f'<line x1="0" y1="{SIZE}" x2="{SIZE}" y2="0" stroke="#444"/>'
    title = _text(SIZE / 2, SIZE + 32, f"{name} measured, ms") + _text(SIZE / 2, -8, f"{name} predicted, ms")
    x = EDGE + place * (SIZE + 2 * EDGE)
    return f'<g transform="translate({x},{EDGE})">{ticks}{diagonal}{marks}{title}</g>'


def reliability(rows: list[Row]) -> str:
    """Share of held-out points inside intervals against the confidence asked for; the diagonal is right."""
    sources: list[tuple[str, str, Callable[[], list[Seen]]]] = [
        ("dense", COLOURS["dense"], lambda: seen_points(rows, False)),
        ("experts", COLOURS["experts"], lambda: seen_points(rows, True)),
        ("after ten points", "#3a9a5b", lambda: after_ten(rows)),
    ]
    panels = []
    for place, kind in enumerate(("tpot", "ttft")):
        marks = "".join(
            _curve(_held_out(points()), kind, colour)
            + _text(SIZE - 8, SIZE - 44 + 14 * i, name, "end", colour)
            for i, (name, colour, points) in enumerate(sources)
        )
        ticks = "".join(
            _text(SIZE * share, SIZE + 14, f"{share:.0%}")
            + _text(-6, SIZE * (1 - share) + 4, f"{share:.0%}", "end")
            for share in (0.0, 0.5, 0.9, 1.0)
        )
        frame = f'<rect width="{SIZE}" height="{SIZE}" fill="none" stroke="#ddd"/>'
        frame += f'<line x1="0" y1="{SIZE}" x2="{SIZE}" y2="0" stroke="#444"/>'
        title = _text(SIZE / 2, SIZE + 32, "confidence") + _text(SIZE / 2, -8, f"{kind.upper()} covered")
        x = EDGE + place * (SIZE + 2 * EDGE)
        panels.append(f'<g transform="translate({x},{EDGE})">{frame}{ticks}{marks}{title}</g>')
    return _svg(2, panels, "each deployment by the spreads of all others")


def _held_out(points: list[Seen]) -> list[tuple[list[Seen], tuple[float, float]]]:
    groups = sorted({each.group for each in points})
    return [
        ([p for p in points if p.group == group], fit_spreads([p for p in points if p.group != group]))
        for group in groups
    ]


def _curve(parts: list[tuple[list[Seen], tuple[float, float]]], kind: str, colour: str) -> str:
    path = []
    for confidence in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99):
        found = [getattr(coverage(points, spreads, confidence), kind) for points, spreads in parts]
        share = fmean(each for each in found if not math.isnan(each))
        path.append(f"{SIZE * confidence:.1f},{SIZE * (1 - share):.1f}")
    return f'<polyline points="{" ".join(path)}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _text(x: float, y: float, text: str, anchor: str = "middle", colour: str = "#222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{text}</text>'


def _svg(panels: int, parts: list[str], caption: str) -> str:
    width, height = panels * (SIZE + 2 * EDGE), SIZE + 2 * EDGE + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
        f"{''.join(parts)}{_text(width / 2, height - 8, caption)}</svg>\n"
    )


def plots(rows: list[Row]) -> dict[Path, str]:
    """Files beside the page, by path."""
    folder = ROOT / "docs"
    return {
        folder / "accuracy-points.svg": scatter(rows),
        folder / "accuracy-coverage.svg": reliability(rows),
    }


def tables(rows: list[Row]) -> dict[str, str]:
    """Tables of the page by their marks."""
    return {
        "closed-loop table": summary_table(rows),
        "vllm table": vllm_table(rows),
        "ten table": ten_table(rows),
        "others table": others_table(rows),
        "left out table": left_out_table(rows),
        "coverage table": coverage_table(rows),
        "unseen table": unseen_table(rows),
        "interval table": interval_table(
            {"dense, data sheets": seen_points(rows, False), "experts, data sheets": seen_points(rows, True)}
        ),
    }
