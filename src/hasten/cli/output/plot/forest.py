"""Effects with their intervals on one axis: better to the left of no change, worse to the right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hasten.cli.output.plot.frame import plain
from hasten.cli.output.plot.look import Look
from hasten.cli.output.plot.scale import Scale, ticks

LEAST, MOST = -1.0, 1.0
"""Relative changes that the axis reaches at most: what is worse than twice as much is cut off with an arrow."""

_WORDS = 36


@dataclass(frozen=True)
class Span:
    """One change: its words, its relative effect and the ends of the interval; NaN where there are none."""

    text: str
    value: float
    low: float
    high: float

    @property
    def colour(self) -> str:
        """Green where the whole interval is better, red where it is worse."""
        if self.high < 0.0:
            return "green"
        return "red" if self.low > 0.0 else "dim"


def forest(spans: Sequence[Span], look: Look, *, title: str) -> list[str]:
    """A line per change with a finite effect, in the order given, and the axis below them."""
    known = [each for each in spans if math.isfinite(each.value)]
    if not known:
        return [look.paint(f"{title}: nothing to draw", "strong")]
    words = min(max(len(each.text) for each in known), _WORDS)
    room = look.width - words - 2 - 7
    ends = [end for each in known for end in (each.low, each.value, each.high, 0.0) if math.isfinite(end)]
    low, high = max(min(ends), LEAST), min(max(ends), MOST)
    x = Scale(low, max(high, low + 0.1), room)
    lines = [look.paint(title, "strong")]
    lines += [
        f"{_cut(each.text, words):<{words}}  {_line(each, x, room, look)}{_amount(each.value):>7}"
        for each in known
    ]
    marks = {round(x(value)): f"{value:+.0%}" if value else "0" for value in ticks(x.low, x.high, 5)}
    lines.append(look.paint(" " * (words + 2) + _axis(marks, room, look), "dim"))
    lines.append(look.paint(" " * (words + 2) + _labels(marks, room), "dim"))
    return [line.rstrip() for line in lines]


def _amount(value: float) -> str:
    """A relative change in percent, as a factor where it is large."""
    if value >= 9.995:
        return f"x{value + 1:,.0f}"
    return f"{value:+.0%}" if abs(value) >= 0.005 else "0%"


def _line(each: Span, x: Scale, room: int, look: Look) -> str:
    cells = [" "] * room
    zero = round(x(0.0))
    cells[zero] = "┆"
    ends = [each.value if math.isnan(end) else end for end in (each.low, each.high)]
    first, last = (min(max(round(x(end)), 0), room - 1) for end in ends)
    cells[first : last + 1] = "─" * (last + 1 - first)
    place = round(x(each.value))
    if place >= room:
        cells[-1] = "►" if look.is_unicode else ">"
    else:
        cells[max(place, 0)] = "●"
    low, high = min(first, place, room - 1), min(max(last, place), room - 1)
    text = plain("".join(cells), look)
    return text[:low] + look.paint(text[low : high + 1], each.colour) + text[high + 1 :]


def _axis(marks: dict[int, str], room: int, look: Look) -> str:
    return plain("".join("┬" if at in marks else "─" for at in range(room)), look)


def _labels(marks: dict[int, str], room: int) -> str:
    words = [" "] * room
    for at, label in marks.items():
        start = min(max(at - len(label) // 2, 0), room - len(label))
        words[start : start + len(label)] = label
    return "".join(words)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3].rstrip() + "..."
