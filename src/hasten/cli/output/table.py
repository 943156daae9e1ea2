"""Aligned text tables, and numbers as people read them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

WIDTH = 110
MISSING = "-"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Rows under a header, columns two spaces apart; columns in `right` are aligned to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(padded).rstrip()

    return "\n".join(line(row) for row in (header, *rows))


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Label and text, one below the other; long texts are wrapped under themselves, empty ones left out."""
    shown = [(label, text) for label, text in pairs if text]
    width = max((len(label) for label, _ in shown), default=0) + 2
    lines = []
    for label, text in shown:
        room = max(40, WIDTH - width)
        parts = [piece for part in text.split("\n") for piece in _wrapped(part, room)]
        lines += [f"{label if i == 0 else '':<{width}}{part}" for i, part in enumerate(parts)]
    return "\n".join(lines)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def number(value: float | None, digits: int = 2) -> str:
    """A number with thousands separators and `digits` decimals; a dash for None and NaN."""
    return MISSING if value is None or math.isnan(value) else f"{value:,.{digits}f}"


def significant(value: float | None, digits: int = 3) -> str:
    """A number to so many significant digits, never in powers of ten; a dash for None and NaN."""
    if value is None or math.isnan(value):
        return MISSING
    if value == 0 or math.isinf(value):
        return f"{value:g}"
    return f"{value:,.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"
