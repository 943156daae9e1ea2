"""Workloads to trace files that our readers, and others, read back."""

import csv
import gzip
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hasten.errors import InputError
from hasten.workload.columns import Columns
from hasten.workload.readers import mooncake
from hasten.workload.workload import Workload

_MINIMAL = ("timestamp", "input_length", "output_length")


def write(workload: Workload, path: Path, format: str | None) -> None:
    """Write a trace file whole or not at all; see `Workload.save`."""
    format = format or ("mooncake" if workload.block_tokens else "minimal")
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    allowed = {"minimal": (".csv", ".jsonl"), "mooncake": (".jsonl",)}
    if format not in allowed:
        raise InputError(f"{path}: format = {format!r} can't be written: use {' or '.join(allowed)}")
    if suffix not in allowed[format]:
        raise InputError(
            f"{path}: a {format} trace ends in {' or '.join(allowed[format])} (and .gz): rename it"
        )
    if workload.closed_loop is not None:
        raise InputError(f"{path}: a trace file can't hold a closed loop: call open_loop() first")
    if format == "minimal" and workload.block_tokens:
        raise InputError(f"{path}: the minimal format can't hold prefix blocks: save as mooncake (.jsonl)")
    if workload.joins is not None or workload.tool is not None:
        raise InputError(
            f"{path}: a {format} trace can't hold joins and tools: replaced(joins=None, tool=None)"
        )
    if workload.block_spans is not None:
        raise InputError(
            f"{path}: a {format} trace can't hold runs of blocks: make the workload from programs again"
        )
    columns = workload.columns_as_lists()
    if format == "mooncake":
        kept = ("session", "parent", "think_s", "priority", "max_tokens")
        lost = [name for name in kept if getattr(columns, name) is not None]
        if lost:
            raise InputError(
                f"{path}: the mooncake format can't hold {lost[0]}: set it to None with replaced()"
            )
        lines = _mooncake_lines(columns, workload.block_tokens)
    else:
        lines = _csv_lines(columns) if suffix == ".csv" else _jsonl_lines(columns)
    _write_whole(path, lines)


def _csv_lines(columns: Columns) -> Iterator[str]:
    names, rows = _minimal_rows(columns)
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(names)
    for row in rows:
        table.writerow(["" if value is None else value for value in row])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def _jsonl_lines(columns: Columns) -> Iterator[str]:
    names, rows = _minimal_rows(columns)
    for row in rows:
        yield (
            json.dumps({name: value for name, value in zip(names, row, strict=True) if value is not None})
            + "\n"
        )


def _minimal_rows(columns: Columns) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """Column names and rows; a row number serves as id where turns refer to each other."""
    names = list(_MINIMAL)
    values: list[Any] = [columns.arrival, columns.prompt_tokens, columns.output_tokens]
    optional: list[tuple[str, list[Any] | None, Callable[[Any], bool]]] = [
        ("session", columns.session, lambda value: value >= 0),
        ("id", None if columns.parent is None else list(range(len(columns.arrival))), lambda value: True),
        ("parent", columns.parent, lambda value: value >= 0),
        ("think_s", columns.think_s, lambda value: True),
        ("priority", columns.priority, lambda value: True),
        ("max_tokens", columns.max_tokens, lambda value: value > 0),
    ]
    for name, column, is_given in optional:
        if column is not None:
            names.append(name)
            values.append([value if is_given(value) else None for value in column])
    return names, zip(*values, strict=True)


def _mooncake_lines(columns: Columns, block_tokens: int) -> Iterator[str]:
    """Upstream's layout; another block size than upstream's is written into each row, never left to a guess."""
    for row, arrival in enumerate(columns.arrival):
        milliseconds = arrival * 1000.0
        record: dict[str, Any] = {
            "timestamp": int(milliseconds) if milliseconds.is_integer() else milliseconds,
            "input_length": columns.prompt_tokens[row],
            "output_length": columns.output_tokens[row],
            "hash_ids": list(columns.block_ids[row]) if columns.block_ids else [],
        }
        if block_tokens != mooncake.BLOCK_TOKENS:
            record["block_tokens"] = block_tokens
        yield json.dumps(record) + "\n"


def _write_whole(path: Path, lines: Iterator[str]) -> None:
    """Write beside the target and rename, so that an interrupted run leaves no half file."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError(f"{path}: can't be written ({error.strerror}): check the folder") from None
    try:
        with os.fdopen(handle, "wb") as raw:
            if path.suffix == ".gz":
                with gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed:
                    packed.writelines(line.encode() for line in lines)
            else:
                raw.writelines(line.encode() for line in lines)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
