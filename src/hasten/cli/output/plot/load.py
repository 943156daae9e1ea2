"""Latency against load, up to saturation, with the interval of its error and the limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hasten.cli.output.plot.canvas import ACROSS, DOWN, Canvas
from hasten.cli.output.plot.frame import framed, plain
from hasten.cli.output.plot.look import Look
from hasten.cli.output.plot.scale import Scale, log_ticks, logarithmic, ticks
from hasten.cli.output.plot.words import duration, short

ROWS, MARGIN = 14, 7


def load(
    points: Sequence[Mapping[str, Any]],
    metric: str,
    look: Look,
    *,
    percentile: float,
    limit: float | None,
    marks: Mapping[str, float],
    title: str,
) -> list[str]:
    """`points` as `hasten.page.load.load_curve` gives them; `limit` in ms; `marks` are rates (requests/s) by name."""
    canvas = Canvas(look.width - MARGIN - 1, ROWS)
    shown = [
        value
        for point in points
        for value in (point[f"{metric}_ms"], point[f"median_{metric}_ms"], limit)
        if value is not None and 0.0 < value < float("inf")
    ]
    if not shown:
        return [look.paint(f"{title}: nothing to draw", "strong")]
    x = Scale(0.0, float(points[-1]["rate_req_per_s"]), canvas.across)
    y = logarithmic(min(shown) / 1.2, max(shown) * 1.2, canvas.down)
    _shade(canvas, points, metric, x, y, is_solid=look.is_unicode)
    for rate in marks.values():
        for dot in range(0, canvas.down, 2):
            canvas.dot(round(x(rate)), dot, "dim")
    if limit is not None:
        canvas.level(_down(canvas, y, limit), "red")
    for key, colour in ((f"median_{metric}_ms", "blue"), (f"{metric}_ms", "cyan")):
        canvas.line(
            [
                (x(point["rate_req_per_s"]), _down(canvas, y, point[key]))
                for point in points
                if point[key] is not None
            ],
            colour,
        )
    for key, name in ((f"{metric}_ms", f"p{percentile:g}"), (f"median_{metric}_ms", "median")):
        _name(canvas, name, x(points[1]["rate_req_per_s"]), _down(canvas, y, points[1][key] or y.high))
    if limit is not None:
        _name(canvas, f"limit {duration(limit)}", 0.0, _down(canvas, y, limit), "red")
    lines = framed(
        canvas,
        look,
        rows={_down(canvas, y, value) // DOWN: duration(value) for value in log_ticks(y.low, y.high, 6)},
        columns={round(x(value)) // ACROSS: short(value) for value in ticks(0.0, x.high, 8)},
        title=look.paint(title, "strong"),
        margin=MARGIN,
    )
    return [line.rstrip() for line in [*lines, *_below(marks, x, look)]]


def _below(marks: Mapping[str, float], x: Scale, look: Look) -> list[str]:
    """The names of the marked rates under the axis, beside each other where there is room."""
    lines: list[str] = []
    for name, rate in sorted(marks.items(), key=lambda each: each[1]):
        at = MARGIN + 1 + round(x(rate)) // ACROSS
        words = f"{name} {short(rate)} req/s"
        is_left = at + len(words) + 2 > look.width
        start = at - len(words) - 1 if is_left else at
        if not lines or len(lines[-1]) >= start:
            lines.append("")
        lines[-1] = lines[-1].ljust(start) + plain(f"{words} ▲" if is_left else f"▲ {words}", look)
    return [look.paint(line, "dim") for line in lines]


def _down(canvas: Canvas, y: Scale, value: float | None) -> int:
    """The dot of a latency from the top; what has no end lies above it."""
    if value is None or value == float("inf"):
        return -DOWN
    return canvas.down - 1 - round(y(max(value, y.low)))


def _shade(
    canvas: Canvas,
    points: Sequence[Mapping[str, Any]],
    metric: str,
    x: Scale,
    y: Scale,
    *,
    is_solid: bool,
) -> None:
    """Sparse dots between the lower and the upper end; at both ends only, where ASCII would hide the lines."""
    places = [x(point["rate_req_per_s"]) for point in points]
    ends = [[_down(canvas, y, point[f"{metric}_{end}_ms"]) for point in points] for end in ("high", "low")]
    for across in range(0, canvas.across, ACROSS):
        at = next((k for k in range(1, len(places)) if places[k - 1] <= across <= places[k]), None)
        if at is None:
            continue
        part = (across - places[at - 1]) / ((places[at] - places[at - 1]) or 1.0)
        top, bottom = (each[at - 1] + part * (each[at] - each[at - 1]) for each in ends)
        first, last = round(top), round(bottom)
        for down in range(max(0, first), min(canvas.down, last + 1)):
            if down % DOWN == 2 * (across // ACROSS % 2) if is_solid else down in (first, last):
                canvas.dot(across, down, "dim")


def _name(canvas: Canvas, text: str, across: float, down: int, colour: str = "strong") -> None:
    """The name of a line, above it where there is room, else below it."""
    column, row = round(across) // ACROSS, down // DOWN
    for start, at in ((column, row - 1), (column, row + 1), (column + 8, row - 1), (column + 8, row + 1)):
        if canvas.is_free(start, at, len(text)):
            canvas.letters(text, start, at, colour)
            return
