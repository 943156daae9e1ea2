"""Samples of metrics with their times: successive /metrics pages, and the JSON of range queries.

Source of the latter: "HTTP API, range queries" of the Prometheus documentation.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from hasten.errors import InputError
from hasten.jsontext import parse_json
from hasten.report.exposition import Labels, Lines, pages, samples, time_of

_EPOCH = re.compile(r"\d{9,}(?:\.\d+)?")
_CLOCK = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)[T_ -]?(\d\d)[:h-]?(\d\d)[:m-]?(\d\d)")
_MILLISECONDS = 1e11  # an epoch above is in ms: in s it would lie after the year 5000
_FILES = Sequence[tuple[str, str, float]]

RECIPE = (
    'save them with `while sleep 5; do echo "# time_s $(date +%s)"; curl -s localhost:8000/metrics; done > FILE`, or '
    "each page to a file of its own with its time in the name"
)


class Point(NamedTuple):
    """One sample: when (s), and what."""

    time: float
    name: str
    labels: Labels
    value: float


def is_json(text: str) -> bool:
    """Whether the text looks like JSON."""
    return text.lstrip()[:1] in ("{", "[")


# ---- pages ----------------------------------------------------------------------------------------------


def scrape_points(files: _FILES) -> Iterator[Point]:
    """Samples of files given as (name, text, when it was written).

    A page's time is that of its `# time_s` line, of its samples' stamps, or in its file's name; where several files
    have none of these, when they were written. Raises InputError naming file and line.
    """
    for name, text, written in files:
        fallback = _time_in(name)
        if fallback is None and len(files) > 1:
            fallback = written
        for number, page in enumerate(pages(text)):
            yield from _page_points(name, page, fallback if number == 0 else None)


def _page_points(where: str, page: Lines, fallback: float | None) -> Iterator[Point]:
    time = time_of(page, where)
    time = fallback if time is None else time
    for sample in samples(page, where):
        at = sample.time if time is None else time
        if at is None:
            raise InputError(f"{where}: line {sample.line}: the page has no time: {RECIPE}")
        yield Point(at, sample.name, sample.labels, sample.value)


def _time_in(name: str) -> float | None:
    """The time in a file's name (s): an epoch in s or ms, or a date with a time of day (UTC); None without."""
    stem = Path(name).name
    clock = _CLOCK.search(stem)
    if clock:
        try:
            return datetime(*(int(each) for each in clock.groups()), tzinfo=UTC).timestamp()  # type: ignore[misc,arg-type]
        except ValueError:
            return None
    epoch = _EPOCH.search(stem)
    if epoch is None:
        return None
    time = float(epoch[0])
    return time / 1e3 if time > _MILLISECONDS else time


# ---- range queries --------------------------------------------------------------------------------------


def json_points(text: str, where: str) -> Iterator[Point]:
    """Samples of one answer of `query_range`, or of a list of them. What a query calculated is named after its file.

    Raises InputError saying what is wrong.
    """
    try:
        data = parse_json(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}: line {error.lineno}: is no JSON ({error.msg}): is the file cut?"
        ) from None
    except ValueError as error:  # a number of thousands of digits, deep nesting
        raise InputError(f"{where}: is no usable JSON ({error}): mend the file") from None
    name = Path(where).stem
    if not isinstance(data, list):
        yield from _matrix(data, where, name)
        return
    for number, answer in enumerate(data):
        yield from _matrix(answer, f"{where}: answer {number}", f"{name} {number}")


def _matrix(answer: Any, where: str, unnamed: str) -> Iterator[Point]:
    if not isinstance(answer, dict) or "status" not in answer:
        raise InputError(f'{where}: has no "status": give the answer of /api/v1/query_range as it came')
    if answer["status"] != "success":
        raise InputError(f"{where}: Prometheus answered {answer.get('error', answer['status'])!r}: ask again")
    data = answer.get("data")
    data = data if isinstance(data, dict) else {}
    kind = data.get("resultType")
    if kind != "matrix":
        raise InputError(
            f"{where}: data.resultType is {kind!r}: series come from query_range, which answers 'matrix'"
        )
    for at, result in enumerate(data["result"] if isinstance(data.get("result"), list) else []):
        place = f"{where}: data.result[{at}]"
        metric = result.get("metric") if isinstance(result, dict) else None
        values = result.get("values") if isinstance(result, dict) else None
        if not isinstance(metric, dict) or not isinstance(values, list):
            raise InputError(f"{place}: needs metric and values: of native histograms ask for sum and count")
        labels = {str(key): str(value) for key, value in metric.items()}
        name = labels.pop("__name__", "") or unnamed
        for row, pair in enumerate(values):
            try:
                time, value = float(pair[0]), float(pair[1])
            except (TypeError, ValueError, IndexError, KeyError):
                raise InputError(f"{place}.values[{row}]: {pair!r} is no [time, value]") from None
            if math.isfinite(time):
                yield Point(time, name, tuple(sorted(labels.items())), value)
