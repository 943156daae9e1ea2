"""What deployments trade against each other: points with letters, the front that nothing beats, a key below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hasten.cli.output.plot.canvas import ACROSS, DOWN, Canvas
from hasten.cli.output.plot.frame import framed, plain
from hasten.cli.output.plot.look import Look
from hasten.cli.output.plot.scale import Scale, ticks
from hasten.cli.output.plot.words import short

ROWS, MARGIN = 12, 7


@dataclass(frozen=True)
class Point:
    """A deployment: its letter ("" for none), both figures, and whether it holds or is the chosen one."""

    letter: str
    x: float
    y: float
    holds: bool
    is_best: bool = False


@dataclass(frozen=True)
class Axis:
    """What an axis says: its name, how to write a value."""

    name: str
    text: Callable[[float], str] = short


def front(points: Sequence[Point], *, less: bool) -> list[Point]:
    """Points that no other one beats in x, where more is better, and in y, where `less` or more is."""
    sign = 1.0 if less else -1.0
    found: list[Point] = []
    for point in sorted(points, key=lambda each: (-each.x, sign * each.y)):
        if not found or sign * point.y < sign * found[-1].y:
            found.append(point)
    return found


def scatter(
    points: Sequence[Point], look: Look, width: int, *, title: str, across: Axis, upwards: Axis, less: bool
) -> list[str]:
    """The points, one at least, as a block `width` columns wide; the front is one of those that hold."""
    canvas = Canvas(width - MARGIN - 1, ROWS)
    x = Scale(0.0, max(each.x for each in points) * 1.08, canvas.across)
    y = Scale(0.0, max(each.y for each in points) * 1.12, canvas.down)
    edge = front([each for each in points if each.holds], less=less)
    canvas.line([(x(each.x), canvas.down - 1 - y(each.y)) for each in edge], "dim")
    for point in sorted(points, key=lambda each: (each.is_best, each.holds)):
        column = round(x(point.x)) // ACROSS
        row = (canvas.down - 1 - round(y(point.y))) // DOWN
        mark, colour = ("◆", "green") if point.is_best else ("●", "cyan") if point.holds else ("○", "dim")
        canvas.letters(plain(mark, look), column, row, colour)
        if point.letter:
            for start, at in ((column + 1, row), (column - 1, row), (column, row - 1), (column, row + 1)):
                if canvas.has_room(start, at):
                    canvas.letters(point.letter, start, at, "strong")
                    break
    return framed(
        canvas,
        look,
        rows={
            (canvas.down - 1 - round(y(value))) // DOWN: upwards.text(value)
            for value in ticks(0.0, y.high, 4)
        },
        columns={round(x(value)) // ACROSS: across.text(value) for value in ticks(0.0, x.high, width // 8)},
        title=look.paint(title, "strong"),
        margin=MARGIN,
    )
