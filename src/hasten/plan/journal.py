"""Results of a plan kept in a file as they come, so that a plan that was killed goes on where it was."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from hasten.errors import InputError
from hasten.jsontext import parse_json
from hasten.plan.bisection import CapacityEstimate
from hasten.plan.bounds import Bounds
from hasten.plan.constraints import Check
from hasten.plan.identity import digest, inputs_of
from hasten.plan.probe import Outcome, Setting
from hasten.plan.tasks import Weighed
from hasten.plan.workers import Done, Task

FORMAT = "hasten plan, 1"
_BEGINNING = b'{"journal": "hasten plan'
_RESULTS: dict[str, type] = {
    kind.__name__: kind for kind in (Bounds, CapacityEstimate, Check, Outcome, Weighed)
}


class Journal:
    """A JSONL file: a line about the plan, then one line per task that ended, on disk before anything else happens.

    A context manager. Goes on with a file of the same plan; a last line cut short is dropped. Raises InputError for
    a file that is no journal, belongs to another plan (naming what differs), is damaged, or is in use.
    """

    def __init__(self, path: str | Path, setting: Setting) -> None:
        self.path = Path(path)
        self._lines: dict[str, bytes] = {}
        try:
            self._file = os.open(
                self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666
            )
        except OSError as error:
            raise InputError(f"--journal {self.path}: can't be opened: {error.strerror}") from error
        try:
            _lock(self._file, self.path)
            self._read({"journal": FORMAT, **inputs_of(setting)})
        except BaseException:
            os.close(self._file)
            raise
        self.found = len(self._lines)

    def of(self, setting: Setting) -> Results:
        """The results of one setting of the plan (a plan at a confidence has two)."""
        return Results(self, setting)

    def _read(self, header: dict[str, str]) -> None:
        with open(self._file, "rb", closefd=False) as stream:
            text = stream.read()
        if not (text.startswith(_BEGINNING) or _BEGINNING.startswith(text[: len(_BEGINNING)])):
            raise InputError(f"--journal {self.path}: is no journal of a plan: give another file")
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            os.ftruncate(self._file, whole)
        first, *lines = text[:whole].split(b"\n")
        if not first:
            self._write(json.dumps(header))
            return
        self._check(first, header)
        for number, line in enumerate(lines[:-1], start=2):
            if line[:8] != b'{"key": ' or line[-1:] != b"}":
                raise InputError(f"--journal {self.path}, line {number}: is damaged: give another file")
            self._lines[line[9:73].decode("ascii", "replace")] = line

    def _check(self, first: bytes, header: dict[str, str]) -> None:
        try:
            known = parse_json(first)
        except ValueError as error:
            raise InputError(f"--journal {self.path}, line 1: is damaged: give another file") from error
        differ = [name for name, value in header.items() if known.get(name) != value]
        if differ:
            raise InputError(
                f"--journal {self.path}: belongs to another plan: differs in {'; '.join(differ)}: "
                "give another file, or the same plan"
            )

    def line(self, key: str) -> bytes | None:
        """The line of a task by its key."""
        return self._lines.get(key)

    def append(self, key: str, entry: dict[str, Any]) -> None:
        """One more line, on disk when this returns."""
        line = json.dumps({"key": key, **entry}, allow_nan=False)
        self._write(line)
        self._lines[key] = line.encode()

    def _write(self, line: str) -> None:
        left = memoryview(line.encode() + b"\n")
        try:
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except OSError as error:
            raise InputError(f"--journal {self.path}: can't be written: {error.strerror}") from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)


class Results:
    """Results of one setting in a journal, by task."""

    def __init__(self, journal: Journal, setting: Setting) -> None:
        self._journal = journal
        self._inputs = digest(inputs_of(setting))

    def _key(self, task: Task) -> str:
        function, arguments = task
        named = json.dumps([self._inputs, function.__module__, function.__qualname__, _plain(arguments)])
        return hashlib.sha256(named.encode()).hexdigest()

    def __contains__(self, task: Task) -> bool:
        return self._journal.line(self._key(task)) is not None

    def get(self, task: Task) -> Done | None:
        """What the task returned, None when it is not in the journal. Raises InputError for a damaged line."""
        line = self._journal.line(self._key(task))
        if line is None:
            return None
        try:
            entry = parse_json(line)
            return Done(_made(entry["result"]), float(entry["seconds"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"--journal {self._journal.path}: the line of key {self._key(task)[:12]} is damaged: give another file"
            ) from error

    def append(self, task: Task, done: Done) -> None:
        """Keep what a task returned. Raises InputError when it can't be written."""
        function, arguments = task
        entry = {"task": function.__name__, "arguments": _plain(arguments), "seconds": round(done.seconds, 6)}
        self._journal.append(self._key(task), {**entry, "result": _plain(done.value)})


def _plain(value: Any) -> Any:
    """For JSON: floats digit for digit, those that are no numbers by name, results with the name of their class."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if is_dataclass(value):
        named = {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
        return {"is": type(value).__name__, **named}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a journal has no place for {type(value).__name__}")


def _made(value: Any) -> Any:
    """The inverse of `_plain`; lists become tuples."""
    if isinstance(value, list):
        return tuple(_made(each) for each in value)
    if not isinstance(value, dict):
        return value
    if "float" in value:
        return float(value["float"])
    named = {name: _made(each) for name, each in value.items() if name != "is"}
    return _RESULTS[value["is"]](**named)


def _lock(file: int, path: Path) -> None:
    """Two plans must not write to one journal. The lock ends with the process, and forked workers don't inherit it."""
    with contextlib.suppress(ImportError):  # not on Windows
        import fcntl

        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"--journal {path}: another plan writes to it: give another file") from error
