"""The smallest trace: timestamp (s), input_length, output_length (tokens), as CSV with a header or as JSONL.

Optional columns: session (any name), id (any name of the request), parent (the id of the previous turn), think_s (s
after the parent's finish), priority, max_tokens. Empty cells mean none. `timestamp_unit="ms"` reads milliseconds.
"""

from collections.abc import Iterator
from typing import Any

from hasten.errors import InputError
from hasten.workload.heads import csv_columns, first_line, json_keys
from hasten.workload.rows import Row, seconds, tokens, whole
from hasten.workload.source import Source

NAME = "minimal"
OPTIONAL = ("session", "id", "parent", "think_s", "priority", "max_tokens")

_COLUMNS = ("timestamp", "input_length", "output_length")
_UNITS = {"s": 1.0, "ms": 1000.0}


def detect(head: str, path: str) -> bool:
    """True for a CSV header or a first JSON line with the three names and no block ids."""
    names = csv_columns(head) or json_keys(head)
    return names.issuperset(_COLUMNS) and "hash_ids" not in names


def read(source: Source, *, timestamp_unit: str = "s") -> Iterator[Row]:
    """Yield one row per request."""
    if timestamp_unit not in _UNITS:
        raise InputError(f"timestamp_unit = {timestamp_unit!r} is unknown: use s or ms")
    per_second = _UNITS[timestamp_unit]
    source.note(f"timestamps read as {timestamp_unit}")
    for line, cells in _cells(source):
        with source.row(line):
            time, prompt, output, session, name, parent, think_s, priority, max_tokens = cells
            yield Row(
                line,
                seconds("timestamp", time, per_second=per_second),
                tokens("input_length", prompt),
                tokens("output_length", output),
                session=None if session in (None, "") else str(session),
                turn_id=None if name in (None, "") else str(name),
                parent_id=None if parent in (None, "") else str(parent),
                think_s=None if think_s in (None, "") else seconds("think_s", think_s),
                priority=0 if priority in (None, "") else whole("priority", priority),
                max_tokens=None if max_tokens in (None, "") else tokens("max_tokens", max_tokens),
            )


def _cells(source: Source) -> Iterator[tuple[int, list[Any]]]:
    if first_line(source.head()).startswith("{"):
        for line, row in source.json_rows():
            with source.row(line):
                yield line, [row[name] for name in _COLUMNS] + [row.get(name) for name in OPTIONAL]
    else:
        yield from source.csv_rows(_COLUMNS, OPTIONAL)
