"""Result files: written in full or not at all, and request records read back as they were."""

from __future__ import annotations

import contextlib
import csv
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hasten.errors import InputError
from hasten.report.records import COLUMNS, TIMES, Records, Status

ROWS_AT_ONCE = 50_000

# Column in a file -> column of Records. Times carry their unit; the status is written as a word.
FILE_COLUMNS = {("request_id" if n == "id" else f"{n}_s" if n in TIMES else n): n for n in COLUMNS}
REQUIRED = ("arrival_s", "first_token_s", "finish_s", "prompt_tokens", "output_tokens")
FORMATS = (".csv", ".parquet")


@contextlib.contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, renamed to it on success and removed on any failure.

    So a reader never sees half a file, and an earlier file survives a failed run. Raises InputError when the
    folder does not exist or can't be written.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path}: folder {path.parent} does not exist: create it or name another")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: can't write: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in full or not at all."""
    with write_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_requests(records: Records, path: str | os.PathLike[str]) -> None:
    """Write one row per request to a .csv or .parquet file; times in seconds, empty where nothing happened.

    Pooled gaps between tokens are not part of it. Raises InputError for another suffix, a folder that can't be
    written, or Parquet without pyarrow.
    """
    target = Path(path)
    kind = _kind(target)
    pyarrow = _import_pyarrow(target) if kind == ".parquet" else None
    with write_whole(target) as temporary:
        if pyarrow is None:
            _write_csv(records, temporary)
        else:
            parquet = importlib.import_module("pyarrow.parquet")
            parquet.write_table(pyarrow.table(_table_columns(records)), temporary)


def load_requests(path: str | os.PathLike[str]) -> Records:
    """Read records that `save_requests` wrote (or any file with its columns); raise InputError naming the place."""
    source = Path(path)
    kind = _kind(source)
    if not source.is_file():
        raise InputError(f"{source}: no such file")
    if kind == ".parquet":
        pyarrow = _import_pyarrow(source)
        parquet = importlib.import_module("pyarrow.parquet")
        try:
            table = parquet.read_table(source)
        except pyarrow.ArrowException as error:
            raise InputError(f"{source}: not a Parquet file: {str(error).splitlines()[0]}") from error
        found = {name: table.column(name).to_pylist() for name in table.column_names if name in FILE_COLUMNS}
    else:
        found = _read_csv(source)
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        raise InputError(f"{source}: column {missing[0]!r} is missing: needed are {', '.join(REQUIRED)}")
    columns: dict[str, Any] = {
        FILE_COLUMNS[name]: _parse_column(source, name, values) for name, values in found.items()
    }
    try:
        return Records(**columns)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def file_columns(records: Records) -> dict[str, npt.NDArray[Any]]:
    """Every column as it stands in a file, derived latencies included; NaN where nothing happened."""
    columns = {name: getattr(records, own) for name, own in FILE_COLUMNS.items()}
    columns["status"] = np.array([status.name.lower() for status in Status])[records.status]
    rest = records.output_tokens - 1
    columns["ttft_s"] = records.first_token - records.arrival
    columns["tpot_s"] = np.where(
        rest > 0, (records.finish - records.first_token) / np.maximum(rest, 1), np.nan
    )
    columns["e2e_s"] = records.finish - records.arrival
    return columns


def _kind(path: Path) -> str:
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: unknown request format {path.suffix!r}: use {' or '.join(FORMATS)}")
    return path.suffix.lower()


def _import_pyarrow(path: Path) -> Any:
    try:
        return importlib.import_module("pyarrow")
    except ImportError as error:
        message = f"{path}: Parquet needs pyarrow: pip install 'hasten[report]', or write a .csv"
        raise InputError(message) from error


def _table_columns(records: Records) -> dict[str, Any]:
    pyarrow = importlib.import_module("pyarrow")
    return {
        name: pyarrow.array(values, mask=np.isnan(values) if values.dtype == np.float64 else None)
        for name, values in file_columns(records).items()
    }


def _write_csv(records: Records, path: Path) -> None:
    columns = file_columns(records)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for begin in range(0, len(records), ROWS_AT_ONCE):
            part = slice(begin, begin + ROWS_AT_ONCE)
            # repr of a float reads back as the same float
            writer.writerows(zip(*(_cells(values[part]) for values in columns.values()), strict=True))


def _cells(values: npt.NDArray[Any]) -> list[Any]:
    if values.dtype != np.float64:
        cells: list[Any] = values.tolist()
        return cells
    return ["" if value != value else repr(value) for value in values.tolist()]


def _read_csv(path: Path) -> dict[str, list[Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        try:
            header = next(reader, [])
            columns: list[list[Any]] = [[] for _ in header]
            for row in reader:
                if len(row) != len(header):
                    where = f"{path}, line {reader.line_num}"
                    raise InputError(f"{where}: {len(row)} fields, the header has {len(header)}")
                for column, cell in zip(columns, row, strict=True):
                    column.append(cell)
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{path}: not a CSV file: {error}") from error
    return {name: column for name, column in zip(header, columns, strict=True) if name in FILE_COLUMNS}


def _parse_column(path: Path, name: str, values: list[Any]) -> npt.NDArray[Any]:
    dtype, missing = COLUMNS[FILE_COLUMNS[name]]
    words = {status.name.lower(): int(status) for status in Status}
    largest = None if dtype is np.float64 else np.iinfo(dtype).max
    parsed = np.empty(len(values), dtype=dtype)
    for i, value in enumerate(values):
        try:
            if value is None or value == "":
                parsed[i] = missing
            elif name == "status":
                parsed[i] = words[value]
            elif largest is None:
                parsed[i] = float(value)
            elif -1 <= int(value) <= largest:
                parsed[i] = int(value)
            else:
                raise ValueError(value)
        except (KeyError, ValueError):
            # line 1 of a CSV is its header
            expected = f"one of {', '.join(words)}" if name == "status" else "a number"
            where = f"line {i + 2}" if path.suffix.lower() == ".csv" else f"row {i + 1}"
            raise InputError(f"{path}, {where}: {name} = {value!r} is not {expected}") from None
    return parsed
