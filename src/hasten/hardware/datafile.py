"""Strict reading of the package's TOML data files: every key is typed, bounded and known, or it is an error.

One line per mistake, naming the file and the key, so that a user who adds a device or an engine profile is
told what to change. The readers know nothing about devices or engines.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hasten.errors import InputError


def read_toml(path: Path) -> dict[str, Any]:
    """The table held by a TOML file. Raises InputError when it is missing, unreadable or not TOML."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: check the path") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8 text") from None
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}): give a readable TOML file") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}") from None


def normalised(name: str) -> str:
    """A name with case, spaces and punctuation removed, so that `H100_SXM` and `h100-sxm` are one name."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def closest(name: str, known: Iterable[str]) -> str:
    """`: did you mean X?` for the known name nearest to `name`, else the empty string."""
    by_key = {normalised(option): option for option in known}
    near = difflib.get_close_matches(normalised(name), by_key, n=1, cutoff=0.5)
    return f": did you mean {by_key[near[0]]!r}?" if near else ""


class Fields:
    """One TOML table read key by key; `finish` raises for keys that nobody asked for.

    `where` is put in front of every message: the file, and the table inside it.
    """

    def __init__(self, table: Mapping[str, Any], where: str) -> None:
        if not isinstance(table, Mapping):
            raise InputError(f"{where}: is {table!r}, not a table of keys")
        self._table = table
        self.where = where
        self._asked: set[str] = set()

    def _take(self, key: str) -> Any:
        self._asked.add(key)
        return self._table.get(key)

    def _missing(self, key: str, example: object) -> InputError:
        return InputError(f"{self.where}: key {key!r} is missing: add a line such as {key} = {example}")

    def _wrong(self, key: str, value: object, wanted: str) -> InputError:
        return InputError(f"{self.where}: {key} = {value!r} is not {wanted}")

    def holds(self, key: str) -> bool:
        """Whether the table has the key."""
        return key in self._table

    def number(
        self,
        key: str,
        default: float | None = None,
        *,
        low: float = -math.inf,
        high: float = math.inf,
        wanted: str = "a number",
        example: object = 1.0,
    ) -> float:
        """A finite number in [low, high]; `wanted` says what it is and in which unit."""
        value = self._take(key)
        if value is None:
            if default is None:
                raise self._missing(key, example)
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self._wrong(key, value, wanted)
        if not low <= value <= high:
            raise InputError(f"{self.where}: {key} = {value!r} is outside {low:g} to {high:g}: give {wanted}")
        return float(value)

    def integer(
        self,
        key: str,
        default: int | None = None,
        *,
        low: float = 0,
        high: float = 1e18,
        wanted: str = "a whole number",
        example: object = 1,
    ) -> int:
        """A whole number in [low, high]; 8e10 is accepted for 80000000000."""
        value = self.number(key, default, low=low, high=high, wanted=wanted, example=example)
        if value != int(value):
            raise self._wrong(key, value, wanted)
        return int(value)

    def optional_integer(
        self, key: str, *, low: float = 0, high: float = 1e18, wanted: str = "a whole number"
    ) -> int | None:
        """Like `integer`, but None when the key is absent."""
        if key not in self._table:
            self._asked.add(key)
            return None
        return self.integer(key, low=low, high=high, wanted=wanted)

    def text(self, key: str, default: str | None = None, *, example: str = "text") -> str:
        """A string that is not empty."""
        value = self._take(key)
        if value is None:
            if default is None:
                raise self._missing(key, f'"{example}"')
            return default
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(key, value, f'text, such as "{example}"')
        return value

    def optional_text(self, key: str) -> str | None:
        """Like `text`, but None when the key is absent."""
        if key not in self._table:
            self._asked.add(key)
            return None
        return self.text(key)

    def choice(self, key: str, options: tuple[str, ...], default: str | None = None) -> str:
        """One of a few words."""
        value = self.text(key, default, example=options[0])
        if value not in options:
            raise self._wrong(key, value, f"one of {', '.join(options)}{closest(value, options)}")
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        """true or false."""
        value = self._take(key)
        if value is None:
            if default is None:
                raise self._missing(key, "true")
            return default
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings; empty when the key is absent."""
        value = self._take(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise self._wrong(key, value, 'a list of texts, such as ["a", "b"]')
        return tuple(value)

    def table(self, key: str, *, required: bool = False, example: str = "") -> Fields:
        """A nested table; empty when absent, unless it is required."""
        value = self._take(key)
        if value is None:
            if required:
                raise InputError(f"{self.where}: table [{key}] is missing: add {example or f'[{key}]'}")
            value = {}
        if not isinstance(value, Mapping):
            raise self._wrong(key, value, f"a table: write [{key}] and its keys below it")
        return Fields(value, f"{self.where} [{key}]")

    def tables(self, key: str) -> tuple[Fields, ...]:
        """A list of tables ([[key]] in TOML); empty when absent."""
        value = self._take(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
            raise self._wrong(key, value, f"a list of tables: write [[{key}]] and its keys below it")
        return tuple(Fields(item, f"{self.where} [[{key}]] no. {n}") for n, item in enumerate(value, 1))

    def given(self) -> tuple[str, ...]:
        """The keys the file gives, in its order."""
        return tuple(self._table)

    def only(self, known: Iterable[str]) -> None:
        """Raise InputError for a key that is not in `known`."""
        self._asked.update(known)
        self.finish()

    def finish(self) -> None:
        """Raise InputError for a key that is not among those read."""
        for key in self._table:
            if key not in self._asked:
                hint = closest(key, self._asked)
                raise InputError(
                    f"{self.where}: key {key!r} is unknown{hint or ': known keys are '}"
                    f"{'' if hint else ', '.join(sorted(self._asked))}"
                )
