"""A canvas of dots and letters: eight dots to a character where there is Braille, two where there is ASCII only."""

from __future__ import annotations

from collections.abc import Iterable

from hasten.cli.output.plot.look import Look

ACROSS, DOWN = 2, 4
"""Dots of one character cell."""

_BRAILLE = 0x2800
_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row, then column
_UPPER = 0x01 | 0x08 | 0x02 | 0x10

Dot = tuple[float, float]


class Canvas:
    """`columns` x `rows` character cells. Dots count from the left and from the top; letters lie above dots."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns = columns
        self.rows = rows
        self._dots = [[0] * columns for _ in range(rows)]
        self._colours = [[""] * columns for _ in range(rows)]
        self._letters: dict[tuple[int, int], tuple[str, str]] = {}

    @property
    def across(self) -> int:
        """Dots from left to right."""
        return self.columns * ACROSS

    @property
    def down(self) -> int:
        """Dots from top to bottom."""
        return self.rows * DOWN

    def dot(self, x: int, y: int, colour: str = "") -> None:
        """One dot; outside of the canvas nothing happens. The last colour of a cell wins."""
        if 0 <= x < self.across and 0 <= y < self.down:
            row, column = y // DOWN, x // ACROSS
            self._dots[row][column] |= _BITS[y % DOWN][x % ACROSS]
            self._colours[row][column] = colour

    def line(self, points: Iterable[Dot], colour: str = "") -> None:
        """Straight lines from point to point, in dots."""
        last: tuple[int, int] | None = None
        for x, y in points:
            here = (round(x), round(y))
            for each in _between(last or here, here):
                self.dot(*each, colour)
            last = here

    def upright(self, x: float, colour: str) -> None:
        """A dashed line from top to bottom."""
        for dot in range(self.down):
            if dot % DOWN < DOWN // 2:
                self.dot(round(x), dot, colour)

    def level(self, y: int, colour: str) -> None:
        """A dashed line from left to right."""
        for dot in range(self.across):
            if dot % (2 * ACROSS) < ACROSS:
                self.dot(dot, y, colour)

    def letters(self, text: str, column: int, row: int, colour: str = "") -> None:
        """A text from a cell on; what lies outside of the canvas is cut off."""
        for at, letter in enumerate(text, column):
            if 0 <= at < self.columns and 0 <= row < self.rows:
                self._letters[at, row] = (letter, colour)

    def is_free(self, column: int, row: int, size: int) -> bool:
        """Whether `size` cells from here on lie on the canvas and hold no letters, and no dots but dim ones."""
        if not (0 <= row < self.rows and column >= 0 and column + size <= self.columns):
            return False
        return not any(
            (at, row) in self._letters or (self._dots[row][at] and self._colours[row][at] != "dim")
            for at in range(column, column + size)
        )

    def has_room(self, column: int, row: int) -> bool:
        """Whether a cell lies on the canvas and holds no letter; a line may run behind one."""
        return 0 <= row < self.rows and 0 <= column < self.columns and (column, row) not in self._letters

    def lines(self, look: Look) -> list[str]:
        """The rows as text, each `columns` wide."""
        return [
            "".join(self._cell(column, row, look) for column in range(self.columns))
            for row in range(self.rows)
        ]

    def _cell(self, column: int, row: int, look: Look) -> str:
        if (column, row) in self._letters:
            letter, colour = self._letters[column, row]
            return look.paint(letter, colour)
        bits = self._dots[row][column]
        if not bits:
            return " "
        return look.paint(
            chr(_BRAILLE + bits) if look.is_unicode else _plain(bits), self._colours[row][column]
        )


def _plain(bits: int) -> str:
    """ASCII for dots in the upper half, the lower half, or both."""
    upper, lower = bits & _UPPER, bits & ~_UPPER
    return ":" if upper and lower else "'" if upper else "."


def _between(one: tuple[int, int], other: tuple[int, int]) -> Iterable[tuple[int, int]]:
    """Dots from one to the other, both included."""
    wide, high = other[0] - one[0], other[1] - one[1]
    steps = max(abs(wide), abs(high), 1)
    return ((one[0] + round(wide * k / steps), one[1] + round(high * k / steps)) for k in range(steps + 1))
