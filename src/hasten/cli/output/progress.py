"""A bar on standard error while something takes time, where a person looks on."""

from __future__ import annotations

import sys
from time import monotonic
from types import TracebackType
from typing import Self

WIDTH = 30
EVERY_S = 0.1


class Bar:
    """`bar(done, total)` redraws; a with-statement wipes it at the end. Silent when standard error is no terminal."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._is_seen = sys.stderr.isatty()
        self._began = monotonic()
        self._drawn = self._began  # nothing is drawn for what is over at once
        self._length = 0

    def __call__(self, done: int, total: int) -> None:
        now = monotonic()
        if not self._is_seen or now - self._drawn < EVERY_S:
            return
        self._drawn = now
        filled = WIDTH * done // total if total else WIDTH
        line = f"{self._label} [{'=' * filled}{' ' * (WIDTH - filled)}] {done:,} of {total:,}"
        if done:
            line += f", {(now - self._began) * (total - done) / done:.0f} s left"
        self._write(line)

    def line(self, text: str) -> None:
        """One line that stays, above the bar where there is one; written wherever standard error goes."""
        if self._length:
            self._write("")
            sys.stderr.write("\r")
            self._length = 0
        sys.stderr.write(f"{self._label}: {text}\n")
        sys.stderr.flush()

    def _write(self, line: str) -> None:
        sys.stderr.write("\r" + line.ljust(self._length))
        sys.stderr.flush()
        self._length = len(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._length:
            self._write("")
            sys.stderr.write("\r")
            sys.stderr.flush()
