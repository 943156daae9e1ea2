"""Line plots as SVG text, without a plotting library."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape

from hasten.claims.harness.claim import Curve

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 50
# Okabe and Ito's colours, which stay apart for colour-blind readers.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def plot(curve: Curve) -> str:
    """The plot as an SVG document; axes cover the points, y from 0 where that costs at most half of the height."""
    points = [
        (x, y) for line in curve.lines.values() for x, y in line if math.isfinite(x) and math.isfinite(y)
    ]
    if not points:
        raise ValueError(f"{curve.title}: no point to draw")
    by: Callable[[float], float] = math.log10 if curve.is_log_x else float
    x_low, x_high = _range([by(x) for x, _ in points])
    y_low, y_high = _range([y for _, y in points])
    if 0.0 < y_low <= y_high / 2:
        y_low = 0.0

    def place(x: float, y: float) -> tuple[float, float]:
        across = (by(x) - x_low) / (x_high - x_low)
        up = (y - y_low) / (y_high - y_low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    x_ticks = sorted({x for x, _ in points}) if curve.is_log_x else _ticks(x_low, x_high)
    parts = [_frame(curve)]
    parts += [_tick_x(place(x, y_low)[0], x) for x in _thinned(x_ticks)]
    parts += [_tick_y(place(points[0][0], y)[1], y) for y in _ticks(y_low, y_high)]
    for number, (label, line) in enumerate(curve.lines.items()):
        placed = [place(x, y) for x, y in line if math.isfinite(x) and math.isfinite(y)]
        parts.append(_line(label, placed, COLOURS[number % len(COLOURS)], TOP + 8 + 16 * number))
    return "\n".join([*parts, "</svg>", ""])


def _range(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low) * 0.03 or abs(high) * 0.1 or 1.0
    return low - (room if low else 0.0), high + room


def _ticks(low: float, high: float) -> list[float]:
    """Round values between `low` and `high`, at most seven."""
    raw = (high - low) / 6
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * each for each in _STEPS if unit * each >= raw)
    first = math.ceil(low / step)
    return [step * i for i in range(first, math.floor(high / step) + 1)]


def _thinned(ticks: list[float]) -> list[float]:
    """At most eight of them."""
    return ticks[:: math.ceil(len(ticks) / 8)]


def _frame(curve: Curve) -> str:
    middle = (LEFT + WIDTH - RIGHT) / 2
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
            'font-size="12">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}" '
            'fill="none" stroke="#888"/>',
            _text(middle, 22, curve.title, anchor="middle", more=' font-size="14"'),
            _text(middle, HEIGHT - 10, curve.x, anchor="middle"),
            _text(
                -(TOP + HEIGHT - BOTTOM) / 2, 16, curve.y, anchor="middle", more=' transform="rotate(-90)"'
            ),
        ]
    )


def _tick_x(at: float, value: float) -> str:
    bottom = HEIGHT - BOTTOM
    return f'<line x1="{at:.1f}" y1="{bottom}" x2="{at:.1f}" y2="{bottom + 4}" stroke="#888"/>' + _text(
        at, bottom + 17, f"{value:.6g}", anchor="middle"
    )


def _tick_y(at: float, value: float) -> str:
    return f'<line x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}" stroke="#ddd"/>' + _text(
        LEFT - 6, at + 4, f"{value:.6g}", anchor="end"
    )


def _line(label: str, placed: list[tuple[float, float]], colour: str, legend: float) -> str:
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed)
    return (
        f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>{dots}'
        f'<rect x="{LEFT + 10}" y="{legend}" width="12" height="3" fill="{colour}"/>'
        + _text(LEFT + 28, legend + 6, label)
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'
