"""Step timings as people write them down: a CSV or JSON file, one step per row.

CSV: a header, then one step per line. Columns: ``ms`` or ``s`` (the duration; required), ``prefill_tokens`` and
``prefill_context`` (several chunks joined by +, as in ``512+256``), ``decodes`` (sequences that get one token) and
``context`` (tokens in KV per decoding sequence, on average). Empty cells count as 0.

JSON: a list of objects with the same keys, or an object with such a list under ``steps``; JSON lines work too.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from typing import Any

from hasten.calibration.sample import Sample, one_step
from hasten.errors import InputError
from hasten.jsontext import parse_json

UNITS = {"ms": 1e-3, "s": 1.0, "us": 1e-6, "seconds": 1.0}
COLUMNS = ("prefill_tokens", "prefill_context", "decodes", "context")
MOST = 1 << 24
"""Largest count that is believed."""


def is_timings(text: str) -> bool:
    """Whether the text looks like a file of step timings."""
    head = text.lstrip()[:4000]
    if head[:1] in "[{":
        return '"decodes"' in head or '"prefill_tokens"' in head
    names = head.partition("\n")[0].replace(" ", "").strip("\r").split(",")
    return bool({"prefill_tokens", "decodes"} & set(names)) and bool(set(names) & set(UNITS))


def read_timings(text: str, name: str) -> list[Sample]:
    """The samples of a file's text; ``name`` stands in errors. Raises InputError for rows that can't be."""
    rows = _json_rows(text, name) if text.lstrip()[:1] in ("[", "{") else _csv_rows(text, name)
    found = [_sample(row, where) for where, row in rows]
    if not found:
        raise InputError(f"{name}: no step timings: give one step per row")
    return found


def _csv_rows(text: str, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    reader = csv.reader(text.splitlines())
    header = [each.strip() for each in next(reader, [])]
    _check_names(header, f"{name}, line 1")
    for row in reader:
        where = f"{name}, line {reader.line_num}"
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            raise InputError(
                f"{where}: {len(row)} fields, the header has {len(header)}: the file is cut or edited"
            )
        yield where, dict(zip(header, row, strict=True))


def _json_rows(text: str, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        raw = parse_json(text)
    except ValueError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        try:
            raw = [parse_json(line) for line in lines] if len(lines) > 1 else None
        except ValueError:
            raw = None
        if raw is None:
            raise InputError(f"{name}: not JSON ({error}): is the file cut?") from None
    rows = raw.get("steps") if isinstance(raw, dict) and "steps" in raw else raw
    if isinstance(rows, dict):
        rows = [rows]
    if not isinstance(rows, list):
        raise InputError(f'{name}: no list of steps: give [{{...}}, ...] or {{"steps": [...]}}')
    for number, row in enumerate(rows, 1):
        where = f"{name}, step {number}"
        if not isinstance(row, dict):
            raise InputError(f"{where}: {row!r} is no object with decodes, context, prefill_tokens and ms")
        _check_names(list(row), where)
        yield where, row


def _check_names(names: list[str], where: str) -> None:
    units = [each for each in names if each in UNITS]
    if len(units) != 1:
        raise InputError(
            f"{where}: {' and '.join(units) or 'no column of durations'}: give one of ms, s or us"
        )
    for each in names:
        if each not in COLUMNS and each not in UNITS and each not in ("note", "engine", "device"):
            raise InputError(f"{where}: column {each!r} is unknown: use {', '.join(COLUMNS)} and ms")


def _sample(row: Mapping[str, Any], where: str) -> Sample:
    unit = next(each for each in row if each in UNITS)
    seconds = duration(row[unit], f"{where}, {unit}") * UNITS[unit]
    tokens = _counts(row.get("prefill_tokens"), f"{where}, prefill_tokens")
    past = _counts(row.get("prefill_context"), f"{where}, prefill_context") or [0] * len(tokens)
    if len(past) != len(tokens):
        raise InputError(f"{where}: {len(tokens)} chunks in prefill_tokens, {len(past)} in prefill_context")
    chunks = [(new, before) for new, before in zip(tokens, past, strict=True) if new]
    decodes = (_counts(row.get("decodes"), f"{where}, decodes") or [0])[0]
    context = _number(row.get("context") or 0, f"{where}, context")
    if not 0.0 <= context <= MOST:
        raise InputError(f"{where}, context: {context:g} is outside 0 to {MOST:,}: give tokens per sequence")
    if decodes and not context:
        raise InputError(f"{where}: {decodes} decodes without context: give their tokens in KV, per sequence")
    return one_step(where, seconds, prefills=chunks, decodes=decodes, mean_context=context)


def duration(value: Any, where: str) -> float:
    """A duration above 0 in whatever unit. Raises InputError for anything else."""
    found = _number(value, where)
    if not found > 0.0:
        raise InputError(f"{where}: {found:g} is not above 0: a step takes time; leave the row out")
    return found


def _number(value: Any, where: str) -> float:
    try:
        found = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        raise InputError(f"{where}: {value!r} is not a number") from None
    if not math.isfinite(found):
        raise InputError(f"{where}: {value!r} is not a finite number: measure it again or leave the row out")
    return found


def _counts(value: Any, where: str) -> list[int]:
    """Whole numbers, several joined by + in text or given as a list."""
    if value is None or value == "":
        return []
    parts = value if isinstance(value, list) else str(value).split("+")
    found = []
    for part in parts:
        number = _number(part, where)
        if number != int(number) or not 0 <= number <= MOST:
            raise InputError(f"{where}: {part!r} is not a whole number from 0 to {MOST:,}")
        found.append(int(number))
    return found
