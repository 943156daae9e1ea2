"""Tokens to text while they come: no half characters, nothing that may still become a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

_HALF = "�"  # what decoders put where bytes of a character are missing
_LONGEST = 8  # tokens that one character may take; what is broken for longer is broken for good
_WINDOW = 6  # tokens before the new ones that may change how these are spelled


class Decodes(Protocol):
    """What is needed of a tokenizer."""

    def decode(self, tokens: Sequence[int]) -> str: ...


class Detokenizer:
    """Grows a text by tokens. Text is handed out once it can't change: a character may span tokens."""

    def __init__(self, tokenizer: Decodes) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._start = 0  # of the window that is decoded
        self._told = 0  # tokens whose text was handed out

    def add(self, token: int) -> str:
        """Text that became certain with `token`."""
        self._tokens.append(token)
        return self._fresh(final=False)

    def rest(self) -> str:
        """What is left when no more tokens come, half characters included."""
        return self._fresh(final=True) if self._told < len(self._tokens) else ""

    def _fresh(self, final: bool) -> str:
        before = self._tokenizer.decode(self._tokens[self._start : self._told])
        whole = self._tokenizer.decode(self._tokens[self._start :])
        waits = whole.endswith(_HALF) and not final and len(self._tokens) - self._told < _LONGEST
        if len(whole) <= len(before) or waits:
            return ""
        self._start = max(self._start, self._told - _WINDOW)
        self._told = len(self._tokens)
        return whole[len(before) :]


class StopFinder:
    """A detokenizer that holds text back while it may be the beginning of a stop string."""

    def __init__(self, tokenizer: Decodes, stops: tuple[str, ...] = ()) -> None:
        self._text = Detokenizer(tokenizer)
        self._stops = stops
        self._held = ""
        self._longest = max((len(stop) for stop in stops), default=0)

    def add(self, token: int | None, *, check: bool = True) -> tuple[str, bool]:
        """Text to hand out after `token` (None: a token without text), and whether a stop string was met.

        Without `check` (too early to stop) text is handed out whatever it holds.
        """
        fresh = "" if token is None else self._text.add(token)
        if not self._stops:
            return fresh, False
        held = self._held + fresh
        if not check:
            self._held = ""
            return held, False
        found = [at for stop in self._stops if (at := held.find(stop)) >= 0]
        if found:
            self._held = ""
            return held[: min(found)], True
        keep = self._possible(held)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep], False

    def rest(self) -> str:
        """What was held back, when no more tokens come. A stop string met only now is cut off too."""
        held = self._held + self._text.rest()
        self._held = ""
        found = [at for stop in self._stops if (at := held.find(stop)) >= 0]
        return held[: min(found)] if found else held

    def _possible(self, text: str) -> int:
        """Characters at the end of `text` that begin a stop string."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            tail = text[-length:]
            if any(stop.startswith(tail) for stop in self._stops):
                return length
        return 0
