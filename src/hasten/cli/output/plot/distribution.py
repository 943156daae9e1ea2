"""Cumulative distributions on probability paper: latency by factors across, percentiles upwards, limits as a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hasten.cli.output.plot.canvas import ACROSS, DOWN, Canvas
from hasten.cli.output.plot.frame import GAP, framed, padded, plain
from hasten.cli.output.plot.look import Look
from hasten.cli.output.plot.scale import Scale, log_ticks, logarithmic, of_percentiles
from hasten.cli.output.plot.words import duration, percent

ROWS = 10
MARGIN = 5
"""Columns of the labels on the left."""

_MARKED = (50.0, 99.0)
TICKS = (1.0, 10.0, 50.0, 90.0, 99.0, 99.9)


@dataclass(frozen=True)
class Distribution:
    """Latencies of the served requests in milliseconds, with the limit on them, if there is one.

    `total` counts those that were not served too: the share within the limit refers to it.
    """

    name: str
    values: npt.NDArray[np.float64]
    total: int
    limit: float | None = None

    @property
    def within(self) -> float:
        """Share of all requests within the limit."""
        return float(np.count_nonzero(self.values <= (self.limit or 0.0))) / max(1, self.total)


def distribution(shown: Distribution, look: Look, width: int, rows: int = ROWS) -> list[str]:
    """The distribution as a block `width` columns wide; a line of text when nothing was served."""
    values = np.sort(shown.values)
    if not values.size:
        return [padded(f"{shown.name}: no request has one", width)]
    canvas = Canvas(width - MARGIN - 1, rows)
    y, highest = on_paper(values.size, canvas)
    low, high = span(values, highest, shown.limit)
    x = logarithmic(low, high, canvas.across)
    if shown.limit is not None:
        canvas.upright(x(shown.limit), "red")
    qs = [y.low + (100.0 - 2 * (100.0 - highest)) * k / 400 for k in range(401)]
    places = np.percentile(values, qs)
    line = [(x(float(v)), canvas.down - 1 - y(q)) for q, v in zip(qs, places, strict=True)]
    canvas.line(line, "cyan")
    _mark(canvas, values, x, y, look)
    title = look.paint(shown.name, "strong")
    if shown.limit is not None:
        held = f"{percent(shown.within)} within {duration(shown.limit)}"
        title = f"{padded(title, MARGIN + 1)}{look.paint(held, 'red')}"
    return framed(
        canvas,
        look,
        rows={canvas.rows - 1 - round(y(q)) // DOWN: f"p{q:g}" for q in TICKS if y.low <= q <= y.high},
        columns={
            round(x(value)) // ACROSS: duration(value) for value in log_ticks(low, high, max(3, width // 9))
        },
        title=title,
        margin=MARGIN,
    )


def on_paper(size: int, canvas: Canvas) -> tuple[Scale, float]:
    """The scale of percentiles for so many values, and the highest one that they tell."""
    highest = 99.9 if size >= 1_000 else 99.0 if size >= 100 else 90.0
    return of_percentiles(100.0 - highest, highest, canvas.down), highest


def span(values: npt.NDArray[np.float64], highest: float, limit: float | None) -> tuple[float, float]:
    """Both ends of the axis: what the percentiles shown cover, and the limit."""
    low, high = (max(float(each), 1e-3) for each in np.percentile(values, [100.0 - highest, highest]))
    low, high = min(low, limit or low), max(high, limit or high)
    return low / 1.08, max(high * 1.08, low * 1.5)


def _mark(canvas: Canvas, values: npt.NDArray[np.float64], x: Scale, y: Scale, look: Look) -> None:
    """The median and the 99th percentile as points with their values, on the side where there is room."""
    for q in _MARKED:
        if q > y.high:
            continue
        value = float(np.percentile(values, q))
        column, row = round(x(value)) // ACROSS, (canvas.down - 1 - round(y(q))) // DOWN
        text = duration(value)
        right, left = column + 2, column - 1 - len(text)
        for start, at in ((right, row), (left, row), (right, row + 1), (left, row - 1)):
            if canvas.is_free(start, at, len(text)):
                canvas.letters(text, start, at, "strong")
                break
        canvas.letters(plain("●", look), column, row, "cyan")


def side_by_side(shown: Sequence[Distribution], look: Look) -> list[list[str]]:
    """The distributions as blocks that fill the width together."""
    width = (look.width - GAP * (len(shown) - 1)) // len(shown)
    return [distribution(each, look, width) for each in shown]
