"""Sides of a comparison in one chart: their distributions over each other, and their figures along a sweep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hasten.cli.output.plot.canvas import ACROSS, DOWN, Canvas
from hasten.cli.output.plot.distribution import MARGIN, TICKS, Distribution, on_paper, span
from hasten.cli.output.plot.frame import framed, padded, wrapped
from hasten.cli.output.plot.look import Look
from hasten.cli.output.plot.scale import Scale, log_ticks, logarithmic, ticks
from hasten.cli.output.plot.words import duration, short

LETTERS = "abcdefghijklmnopqrstuvwxyz"
COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "white")
ROWS, SWEPT_ROWS, SWEPT_MARGIN = 12, 10, 8


def overlaid(shown: Sequence[Distribution], look: Look, width: int, *, title: str) -> list[str]:
    """Distributions of one metric over each other, a block `width` columns wide; each has its letter and its colour."""
    known = [(place, np.sort(each.values)) for place, each in enumerate(shown) if each.values.size]
    if not known:
        return [padded(f"{title}: no request has one", width)]
    limit = shown[0].limit
    canvas = Canvas(width - MARGIN - 1, ROWS)
    y, highest = on_paper(min(values.size for _, values in known), canvas)
    ends = [span(values, highest, limit) for _, values in known]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    x = logarithmic(low, high, canvas.across)
    if limit is not None:
        canvas.upright(x(limit), "red")
    qs = np.linspace(y.low, y.high, 401)
    lines = [
        [
            (x(float(v)), canvas.down - 1 - y(float(q)))
            for q, v in zip(qs, np.percentile(values, qs), strict=True)
        ]
        for _, values in known
    ]
    for (place, _), line in zip(known, lines, strict=True):
        canvas.line(line, _colour(place))
    for (place, _), line in zip(known, lines, strict=True):
        _letter(canvas, place, [line[int(share * 400)] for share in _spots(place, len(known))])
    heading = title if limit is None else f"{title}, limit {duration(limit)}"
    return framed(
        canvas,
        look,
        rows={canvas.rows - 1 - round(y(q)) // DOWN: f"p{q:g}" for q in TICKS if y.low <= q <= y.high},
        columns={round(x(v)) // ACROSS: duration(v) for v in log_ticks(low, high, max(3, width // 9))},
        title=look.paint(heading, "strong"),
        margin=MARGIN,
    )


@dataclass(frozen=True)
class Swept:
    """A figure of one side at every point of a sweep, in milliseconds; infinite or NaN where it has none."""

    name: str
    values: Sequence[float]


def along(
    shown: Sequence[Swept],
    points: Sequence[str],
    look: Look,
    width: int,
    *,
    title: str,
    limit: float | None = None,
) -> list[str]:
    """The sides over the points of a sweep: by value where all are numbers, evenly apart where they are names."""
    finite = [value for each in shown for value in each.values if math.isfinite(value) and value > 0.0]
    if not finite:
        return [padded(f"{title}: nothing to draw", width)]
    if limit is not None:
        finite.append(limit)
    canvas = Canvas(width - SWEPT_MARGIN - 1, SWEPT_ROWS)
    y = logarithmic(min(finite) / 1.2, max(finite) * 1.2, canvas.down)
    places, marks = _places(points, canvas)
    if limit is not None:
        canvas.level(canvas.down - 1 - round(y(limit)), "red")
    lines = []
    for number, each in enumerate(shown):
        line = [
            (at, canvas.down - 1 - y(value) if math.isfinite(value) else -DOWN)
            for at, value in zip(places, each.values, strict=True)
            if value > 0.0
        ]
        canvas.line(line, _colour(number))
        lines.append(line)
    for number, line in enumerate(lines):
        seen = [spot for spot in line if spot[1] >= 0]
        _letter(canvas, number, [*reversed(seen)] if number % 2 else [*seen[1:], *seen[:1]])
    heading = title if limit is None else f"{title}, limit {duration(limit)}"
    return framed(
        canvas,
        look,
        rows={
            (canvas.down - 1 - round(y(value))) // DOWN: duration(value)
            for value in log_ticks(y.low, y.high, 5)
        },
        columns=marks,
        title=look.paint(heading, "strong"),
        margin=SWEPT_MARGIN,
    )


def key(names: Sequence[str], look: Look) -> list[str]:
    """Which letter is which side, in lines no wider than the terminal."""
    entries = [f"{look.paint(_letter_of(place), _colour(place))} {name}" for place, name in enumerate(names)]
    return wrapped(entries, look.width)


def _places(points: Sequence[str], canvas: Canvas) -> tuple[list[float], dict[int, str]]:
    """Dots from the left of every point, and the labels of the axis by column."""
    try:
        at = [float(point) for point in points]
    except ValueError:
        at = []
    if at and max(at) > min(at) and at == sorted(at):
        x = Scale(at[0], at[-1], canvas.across)
        return [x(value) for value in at], {
            round(x(value)) // ACROSS: short(value) for value in ticks(at[0], at[-1], canvas.columns // 8)
        }
    x = Scale(0.0, max(1.0, len(points) - 1.0), canvas.across)
    room = max(4, canvas.columns // max(1, len(points)) - 1)
    return [x(float(place)) for place in range(len(points))], {
        round(x(float(place))) // ACROSS: point[:room] for place, point in enumerate(points)
    }


def _spots(place: int, count: int) -> list[float]:
    """Shares of the height at which a side's letter may stand: sides apart from each other first."""
    first = (place + 0.5) / count
    return sorted((each / 20 for each in range(1, 20)), key=lambda share: abs(share - first))


def _letter(canvas: Canvas, place: int, spots: Sequence[tuple[float, float]]) -> None:
    """The letter of a side on its line, at the first spot that no other letter has."""
    for across, down in spots:
        column, row = round(across) // ACROSS, round(down) // DOWN
        if canvas.has_room(column, row):
            canvas.letters(_letter_of(place), column, row, _colour(place))
            return


def _letter_of(place: int) -> str:
    return LETTERS[place % len(LETTERS)]


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]
