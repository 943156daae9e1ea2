"""Time series of components from what people have: CSV, scrapes of `/metrics` one after the other, or answers of
Prometheus' `query_range`. Which it is shows in the file.

Counters become rates, histograms the mean of what ended between two scrapes, gauges stay. Series that never change are
left out: they explain nothing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hasten.errors import InputError
from hasten.explain.scrapes import Point, is_json, json_points, scrape_points
from hasten.report.exposition import Labels, looks_like_page

Floats = npt.NDArray[np.float64]

LEAST_ROWS = 4
ALARMS = ("time_to_first_token_seconds", "e2e_request_latency_seconds", "request_queue_time_seconds")
"""Series that a user waits for: the first that is there raises the alarm unless another is named."""

UNKNOWN = (
    "histograms give the mean of the requests that ended between two scrapes: what sets the slowest of them apart is "
    "lost, and a long request counts late",
    "queue time is one figure: slots, KV memory and token budget are told apart by no server's metrics",
    "what happens within one interval has no order: scrape more often than what you look for lasts",
)
"""What scrapes can't tell."""


@dataclass(frozen=True)
class Series:
    """Aligned series: `times` (s), rising; `values` with a row per time and a column per name, NaN where missing.

    `alarm` is the series that somebody complains about unless another one is named; `notes` say what can't be known.
    """

    times: Floats
    names: tuple[str, ...]
    values: Floats
    alarm: str = ""
    notes: tuple[str, ...] = ()

    def column(self, name: str) -> int:
        """The column of a series. Raises InputError for an unknown name."""
        if name not in self.names:
            raise InputError(f"no series is called {name!r}: there are {', '.join(self.names[:8])}, ...")
        return self.names.index(name)


def load_series(path: Path) -> Series:
    """Read series from a file, or from a folder with a scrape or answer per file. Raises InputError naming the line."""
    pages = _pages(path)
    first = pages[0][1]
    if is_json(first):
        return _derived(path, (point for where, text, _ in pages for point in json_points(text, where)))
    if looks_like_page(first):
        return _derived(path, scrape_points(pages))
    if len(pages) == 1 and first.startswith("time_s"):
        return _from_csv(pages[0][0], first)
    raise InputError(
        f"{pages[0][0]}: line 1: neither a CSV with a header time_s,<component>,<component>,... nor a /metrics page "
        "nor the JSON of a query_range: give one of them"
    )


def _pages(path: Path) -> list[tuple[str, str, float]]:
    """(name, text, when it was written in s) of a file, or of the files of a folder by name."""
    files = sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: the folder is empty: save a /metrics page per file there")
    try:
        return [(str(each), each.read_text(encoding="utf-8"), each.stat().st_mtime) for each in files]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from None


def _from_csv(name: str, text: str) -> Series:
    rows = list(csv.reader(io.StringIO(text)))
    if len(rows[0]) < 3 or rows[0][0] != "time_s":
        raise InputError(f"{name}: line 1: give a header time_s,<component>,<component>,...")
    values = np.full((len(rows) - 1, len(rows[0])), np.nan)
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(rows[0]):
            raise InputError(f"{name}: line {line}: has {len(row)} fields, the header has {len(rows[0])}")
        for place, cell in enumerate(row):
            try:
                values[line - 2, place] = float(cell) if cell else np.nan
            except ValueError:
                raise InputError(f"{name}: line {line}, {rows[0][place]}: {cell!r} is no number") from None
    times = values[:, 0]
    if len(times) < LEAST_ROWS or not (np.diff(times) > 0).all():
        raise InputError(f"{name}: time_s must rise from line to line, and {LEAST_ROWS} lines are the least")
    return Series(times, tuple(rows[0][1:]), values[:, 1:], rows[0][-1])


# ---- from samples to series -----------------------------------------------------------------------------


def _derived(path: Path, points: Iterable[Point]) -> Series:
    """Rates, means and gauges on the times of all samples; seconds count from the first."""
    columns: dict[tuple[str, Labels], dict[float, float]] = {}
    for point in points:
        columns.setdefault((point.name, point.labels), {})[point.time] = (
            point.value if np.isfinite(point.value) else np.nan
        )
    times = np.array(sorted({time for column in columns.values() for time in column}))
    if len(times) < LEAST_ROWS + 1:
        raise InputError(
            f"{path}: holds {len(times)} points in time: {LEAST_ROWS + 1} are the least, one before the first interval"
        )
    whole = {key: np.array([column.get(time, np.nan) for time in times]) for key, column in columns.items()}
    name_of = _short_names(whole)
    found: dict[str, Floats] = {}
    for (name, labels), values in whole.items():
        for derived, series in _of_one(name, labels, values, whole, times):
            found[name_of(derived, labels)] = series[1:]
    kept = {
        name: values
        for name, values in sorted(found.items())
        if np.isfinite(values).sum() > 1 and np.nanmax(values) > np.nanmin(values)
    }
    if len(kept) < 2:
        raise InputError(
            f"{path}: {len(kept)} series change over time: 2 are the least, one to explain the other"
        )
    alarm = next(
        (name for wanted in ALARMS for name in kept if name.split("{")[0].endswith(wanted)), list(kept)[-1]
    )
    return Series(times[1:] - times[0], tuple(kept), np.stack(list(kept.values()), axis=1), alarm, UNKNOWN)


def _of_one(
    name: str, labels: Labels, values: Floats, whole: Mapping[tuple[str, Labels], Floats], times: Floats
) -> Iterable[tuple[str, Floats]]:
    """What one sampled series says: nothing for a part of a histogram that its sum speaks for."""
    if name.endswith(("_bucket", "_created")):
        return
    if name.endswith("_sum") and (name.removesuffix("_sum") + "_count", labels) in whole:
        counts = _risen(whole[name.removesuffix("_sum") + "_count", labels])
        with np.errstate(invalid="ignore", divide="ignore"):
            yield name.removesuffix("_sum"), np.where(counts > 0, _risen(values) / counts, np.nan)
    elif name.endswith("_count") and (name.removesuffix("_count") + "_sum", labels) in whole:
        yield name + "_per_s", _risen(values) / np.diff(times, prepend=np.nan)
    elif name.endswith("_total"):
        yield name.removesuffix("_total") + "_per_s", _risen(values) / np.diff(times, prepend=np.nan)
    else:
        yield name, values


def _risen(values: Floats) -> Floats:
    """By how much a counter rose since the sample before; NaN where it fell, because the server was restarted."""
    risen = np.diff(values, prepend=np.nan)
    found: Floats = np.where(risen >= 0, risen, np.nan)
    return found


def _short_names(keys: Iterable[tuple[str, Labels]]) -> Callable[[str, Labels], str]:
    """How to call a series: with only those labels that tell apart what has the same labels."""
    values: dict[str, set[str]] = {}
    for _, labels in keys:
        for label, value in labels:
            values.setdefault(label, set()).add(value)

    def name_of(name: str, labels: Labels) -> str:
        told = [f"{label}={value}" for label, value in labels if len(values[label]) > 1]
        return f"{name}{{{','.join(told)}}}" if told else name

    return name_of
