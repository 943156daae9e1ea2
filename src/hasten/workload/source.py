"""A trace file as readers see it: lines, CSV rows or JSON rows, numbered, decoded and decompressed on the way."""

import codecs
import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from io import BufferedIOBase
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self, cast

from hasten.errors import InputError
from hasten.jsontext import parse_json
from hasten.workload.columns import DroppedRows
from hasten.workload.rows import BadRow, shortened

HEAD_BYTES = 65_536  # what `detect` sees
_GZIP_MAGIC = b"\x1f\x8b"


class Source:
    """One trace file, read front to back.

    A reader asks for `csv_rows`, `json_rows`, `lines` or `text`, and wraps the work on each row in
    `with source.row(number):`, so that a bad row becomes an InputError naming the file and the line, or, when
    the user said so, is left out and counted.
    """

    def __init__(self, path: Path, *, drop_bad: bool = False) -> None:
        self.path = path
        self.drop_bad = drop_bad
        self.block_tokens = 0
        self.has_times = True
        self.notes: list[str] = []
        self._dropped: dict[str, list[int]] = {}
        self._line = 0
        self._item = ""

    # -- what a reader says about the file -------------------------------------------------------

    def note(self, text: str) -> None:
        """Add a remark to the workload's origin (an estimate made, rows filtered out, ...)."""
        self.notes.append(text)

    def blocks_hold(self, tokens: int) -> None:
        """Say how many tokens one block id covers."""
        if tokens < 1:
            raise InputError(f"block_tokens = {tokens} is below 1: say how many tokens one block id covers")
        self.block_tokens = tokens

    def without_times(self) -> None:
        """Say that the file has no arrival times: requests come at once, or as Poisson when a rate is asked."""
        self.has_times = False

    def drop(self, line: int, reason: str) -> None:
        """Leave a row out whatever the user chose (a failed request, say); it is counted in `dropped`."""
        self._dropped.setdefault(reason, []).append(line)

    def count_items(self, item: str) -> None:
        """Say that row numbers count items of this name ("conversation"), not lines of the file."""
        self._item = item

    # -- bad rows --------------------------------------------------------------------------------

    def row(self, line: int) -> Self:
        """`with source.row(line):` around the work on one row turns its errors into messages or drops it."""
        self._line = line
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or isinstance(error, InputError):
            return False
        if isinstance(error, BadRow):
            self.reject(self._line, error)
            return True
        if isinstance(error, KeyError):
            self.reject(self._line, BadRow(f"{error} is missing"))
            return True
        if isinstance(error, ValueError | TypeError | IndexError | OverflowError):
            self.reject(self._line, BadRow(f"can't be read ({' '.join(str(error).split())})"))
            return True
        return False

    def reject(self, line: int, bad: BadRow) -> None:
        """Drop a bad row if the user said so, else raise InputError naming file, line, value and next step."""
        if not self.drop_bad:
            place = f": {self._item} {line}" if self._item else f":{line}"
            step = f"mend the {self._item or 'line'}, or leave bad ones out with drop_bad"
            raise InputError(f"{self.path}{place}: {bad}: {step}") from None
        self.drop(line, bad.problem)

    def fail(self, message: str, line: int | None = None) -> NoReturn:
        """Raise InputError about the file as a whole."""
        raise InputError(f"{self.path}{'' if line is None else f':{line}'}: {message}") from None

    @property
    def dropped(self) -> tuple[DroppedRows, ...]:
        """Rows left out so far, by reason."""
        return tuple(DroppedRows(reason, tuple(lines)) for reason, lines in self._dropped.items())

    # -- reading ---------------------------------------------------------------------------------

    def _open(self) -> BufferedIOBase:
        if self.path.is_fifo():
            self.fail("is a pipe, and a trace is read more than once: save it to a file first")
        try:
            with self.path.open("rb") as raw:
                is_gzip = raw.read(2) == _GZIP_MAGIC
            stream = gzip.open(self.path, "rb") if is_gzip else self.path.open("rb")  # noqa: SIM115 - closed by whoever reads
            return cast(BufferedIOBase, stream)
        except OSError as error:
            self.fail(f"can't be opened ({error.strerror or error}): check the path")

    def head(self) -> str:
        """The first 64 KiB as text, undecodable bytes replaced. Raises InputError for an empty file."""
        start = b""
        with self._open() as stream:
            try:
                while len(start) < HEAD_BYTES and (more := stream.read1(HEAD_BYTES - len(start))):
                    start += more
            except (OSError, EOFError, zlib.error) as error:
                if not start:
                    self.fail(f"can't be read ({error}): copy it again")
        if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            self.fail("is UTF-16 text: save it as UTF-8", 1)
        text = start.decode("utf-8", errors="replace").lstrip("\ufeff")
        if not text.strip() and len(start) < HEAD_BYTES:
            self.fail("is empty: give a trace with at least one request")
        return text

    def lines(self) -> Iterator[tuple[int, str]]:
        """(1-based number, text without line end) of every line that isn't blank."""
        number = 0
        with self._open() as stream:
            try:
                for number, raw in enumerate(stream, 1):
                    try:
                        text = raw.decode("utf-8").strip()
                    except UnicodeDecodeError as error:
                        self.reject(number, _not_utf8(raw, error))
                        continue
                    if number == 1:
                        text = text.lstrip("\ufeff")
                    if text:
                        yield number, text
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                self.reject(number + 1, BadRow(f"compressed data is damaged or ends here ({error})"))

    def text(self) -> str:
        """The whole file; only for formats that are one JSON document."""
        number = 1
        with self._open() as stream:
            try:
                content = stream.read()
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                self.fail(f"compressed data is damaged or ends early ({error}): copy it again")
        try:
            return content.decode("utf-8").lstrip("\ufeff")
        except UnicodeDecodeError as error:
            number += content.count(b"\n", 0, error.start)
            start = content.rfind(b"\n", 0, error.start) + 1
            self.fail(f"{_not_utf8(content, error, start)}: save the file as UTF-8", number)

    def json_document(self) -> Any:
        """The whole file as one JSON value. Raises InputError naming the line where it stops being JSON."""
        text = self.text()
        try:
            return parse_json(text)
        except json.JSONDecodeError as error:
            self.fail(
                f"is not valid JSON ({error.msg} at column {error.colno}): mend or copy it again",
                error.lineno,
            )
        except ValueError as error:
            self.fail(f"is not usable JSON ({error}): mend the file")

    def json_rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(line, object) of every line; a line that isn't a JSON object is a bad row."""
        for number, text in self.lines():
            try:
                value = parse_json(text)
            except json.JSONDecodeError as error:
                bad = BadRow(f"is not valid JSON ({error.msg} at column {error.colno})", value=text)
                bad.problem = "is not valid JSON"
                self.reject(number, bad)
                continue
            except ValueError:
                self.reject(number, BadRow("is not usable JSON", value=text))
                continue
            if isinstance(value, dict):
                yield number, value
            else:
                self.reject(number, BadRow("is not a JSON object", value=value))

    def csv_rows(
        self, required: Sequence[str], optional: Sequence[str] = ()
    ) -> Iterator[tuple[int, list[str | None]]]:
        """(line, cells) of every row after the header: `required` columns in order, then `optional` (None absent).

        The header names the columns, in any order. Raises InputError when a required one is missing; a row with
        another number of columns than the header is a bad row.
        """
        places: list[int | None] = []
        header: list[str] = []
        for number, text in self.lines():
            cells = next(csv.reader([text])) if '"' in text else text.split(",")
            if not header:
                header = [cell.strip() for cell in cells]
                missing = [name for name in required if name not in header]
                twice = [name for name in (*required, *optional) if header.count(name) > 1]
                if twice:
                    self.fail(f"column {twice[0]!r} stands twice in the header: rename one", number)
                if missing:
                    self.fail(
                        f"no column {missing[0]!r} in the header {shortened(text)}: name the columns", number
                    )
                places = [header.index(name) if name in header else None for name in (*required, *optional)]
            elif len(cells) != len(header):
                bad = BadRow(f"row has {len(cells)} columns, the header has {len(header)}", value=text)
                self.reject(number, bad)
            else:
                yield number, [None if place is None else cells[place] for place in places]


def path_exists(path: str | Path) -> bool:
    """Whether there is a file or folder of that name; False for text that can't be a path."""
    try:
        return str(path) != "" and Path(path).exists()
    except (OSError, ValueError):  # too long, a null character
        return False


def _not_utf8(raw: bytes, error: UnicodeDecodeError, start: int = 0) -> BadRow:
    column = error.start - start + 1
    return BadRow("is not UTF-8 text", field=f"byte {column}", value=raw[error.start : error.start + 1])
