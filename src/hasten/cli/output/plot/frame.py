"""Axes around a canvas, and charts beside each other; every line of a block is equally wide on the screen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest

from hasten.cli.output.plot.canvas import Canvas
from hasten.cli.output.plot.look import Look

GAP = 2
"""Columns between neighbours."""

_CODES = re.compile(r"\x1b\[[0-9;]*m")
_PLAIN = str.maketrans("│┤└─┬┆●○◆▲", "||+-+:*o#^")


def visible(text: str) -> int:
    """Columns that a text takes on the screen."""
    return len(_CODES.sub("", text))


def padded(text: str, width: int) -> str:
    """The text with blanks up to a width on the screen."""
    return text + " " * max(0, width - visible(text))


def wrapped(entries: Iterable[str], width: int) -> list[str]:
    """Entries of a key beside each other, in lines no wider than `width` columns."""
    lines = [""]
    for entry in entries:
        if lines[-1] and visible(lines[-1]) + 3 + visible(entry) > width:
            lines.append("")
        lines[-1] += ("   " if lines[-1] else "") + entry
    return lines


def plain(text: str, look: Look) -> str:
    """Lines and marks as ASCII, where there is nothing else."""
    return text if look.is_unicode else text.translate(_PLAIN)


def framed(
    canvas: Canvas,
    look: Look,
    *,
    rows: Mapping[int, str],
    columns: Mapping[int, str],
    title: str = "",
    margin: int = 6,
) -> list[str]:
    """A canvas with labels at some of its rows and columns; labels that would touch a neighbour are left out."""
    lines = [padded(title, margin + 1 + canvas.columns)]
    for row, text in enumerate(canvas.lines(look)):
        label = rows.get(row, "")
        edge = plain("┤" if label else "│", look)
        lines.append(look.paint(f"{label:>{margin}}{edge}", "dim") + text)
    base, words = ["─"] * canvas.columns, [" "] * (margin + 1 + canvas.columns)
    last = 0
    for column, label in sorted(columns.items()):
        start = min(max(margin + 1 + column - len(label) // 2, last), len(words) - len(label))
        if (
            not 0 <= column < canvas.columns
            or start < last
            or abs(start + len(label) // 2 - margin - 1 - column) > 3
        ):
            continue
        base[column] = "┬"
        words[start : start + len(label)] = label
        last = start + len(label) + 1
    lines.append(look.paint(" " * margin + plain("└" + "".join(base), look), "dim"))
    lines.append(look.paint("".join(words), "dim"))
    return lines


def beside(blocks: Sequence[Sequence[str]], gap: int = GAP) -> list[str]:
    """Blocks of lines from left to right."""
    widths = [max(map(visible, block), default=0) for block in blocks]
    return [
        (" " * gap).join(padded(line, width) for line, width in zip(row, widths, strict=True)).rstrip()
        for row in zip_longest(*blocks, fillvalue="")
    ]
