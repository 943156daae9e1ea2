"""What a terminal can show: how wide it is, which characters it has, and whether it may be coloured."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

NARROWEST, WIDEST = 60, 120
USUAL = 80
"""Columns where nobody says how many there are: a pipe, a file."""

SGR: Mapping[str, str] = {
    "": "",
    "dim": "2",
    "strong": "1",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "white": "37",
}
"""Our names of the colours that every theme of a terminal defines for itself."""

_PROBE = "⣿█▚▞▓▒░≡·▁│┤└─┬┆●○◆▲►"


@dataclass(frozen=True)
class Look:
    """Columns, whether there are more characters than ASCII, and whether colours are wanted."""

    width: int = USUAL
    is_unicode: bool = True
    has_colour: bool = False

    def paint(self, text: str, colour: str) -> str:
        """The text in a colour (a key of SGR), where colours are wanted."""
        return f"\x1b[{SGR[colour]}m{text}\x1b[0m" if self.has_colour and SGR[colour] and text else text


def look_at(stream: TextIO, environment: Mapping[str, str] | None = None) -> Look:
    """How to draw on `stream`.

    Colours only on a terminal, and not where NO_COLOR is set (https://no-color.org) or TERM is dumb. Characters beyond
    ASCII where the stream's encoding has them. As wide as the terminal or COLUMNS says, 80 where neither does.
    """
    known = os.environ if environment is None else environment
    is_terminal = stream.isatty()
    is_dumb = known.get("TERM") == "dumb"
    width = USUAL
    if is_terminal or known.get("COLUMNS", "").isdigit():
        width = shutil.get_terminal_size((USUAL, 24)).columns
    return Look(
        width=min(max(width, NARROWEST), WIDEST),
        is_unicode=not (is_terminal and is_dumb) and _has_all(stream.encoding),
        has_colour=is_terminal and not is_dumb and not known.get("NO_COLOR"),
    )


def _has_all(encoding: str | None) -> bool:
    try:
        _PROBE.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
