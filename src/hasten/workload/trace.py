"""From a path or a sample's name to a workload."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hasten.errors import InputError
from hasten.workload import samples
from hasten.workload.builder import Builder
from hasten.workload.catalogue import Reader, reader_for
from hasten.workload.rows import BadRow, Row
from hasten.workload.source import Source, path_exists
from hasten.workload.streams import stream
from hasten.workload.workload import Workload


def load(
    source: str | Path,
    *,
    rate: float | None = None,
    limit: int | None = None,
    format: str | None = None,
    drop_bad: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Workload:
    """Read a trace or a shipped sample; see `Workload.from_trace`."""
    if limit is not None and limit < 1:
        raise InputError(f"limit = {limit} is below 1: keep at least one request")
    path = Path(source)
    if not path_exists(source):
        if str(source) in samples.sample_names():
            if format is not None:
                raise InputError(
                    f"{source}: format = {format!r} is for trace files: a shipped sample has its own"
                )
            return _rated(samples.load_sample(str(source), limit=limit, options=options or {}), rate)
        names = ", ".join(samples.sample_names())
        raise InputError(f"{source}: no such file, and no sample of that name ({names}): check the path")
    if path.is_dir():
        raise InputError(f"{source}: is a directory: give one trace file in it")
    file = Source(path, drop_bad=drop_bad)
    reader = reader_for(path, file.head(), format)
    reading, adjusting = reader.chosen(options or {})
    workload = _read(file, reader, reading, limit)
    if not file.has_times and rate is not None and math.isfinite(rate):
        return _poisson(workload, rate)
    if reader.adjust is not None:
        workload = reader.adjust(workload, **adjusting)
    return _rated(workload, rate)


def _read(file: Source, reader: Reader, options: Mapping[str, Any], limit: int | None) -> Workload:
    builder = Builder()
    for row in reader.read(file, **options):
        if not isinstance(row, Row):
            file.fail(
                f"reader {reader.name} yields {type(row).__name__}, not hasten.workload.Row: mend the reader"
            )
        try:
            builder.add(row)
        except BadRow as error:
            file.reject(row.line, error)
        except (TypeError, OverflowError) as error:
            file.reject(row.line, BadRow(f"can't be used ({error})"))
        if limit is not None and len(builder) >= limit:
            break
    if not file.has_times:
        file.note("the format has no arrival times: all requests at once")
    if limit is not None and len(builder) >= limit:
        file.note(f"first {limit} rows")
    notes = "; ".join([f"{file.path.name} ({reader.name})", *file.notes])
    if not builder:
        lost = ", ".join(f"{rows.count} x {rows.reason}" for rows in file.dropped) or "none read"
        file.fail(f"no usable request (left out: {lost}): give at least one good row")
    return builder.build(origin=notes, block_tokens=file.block_tokens, dropped=file.dropped)


def _poisson(workload: Workload, rate: float) -> Workload:
    """Poisson arrivals, the usual choice of load generators, for a source that has no times."""
    if not rate > 0:
        raise InputError(f"rate = {rate} must be above 0 requests/s (inf = all at once)")
    arrival = stream(0, "arrivals").exponential(1.0 / rate, len(workload)).cumsum()
    timed = replace(workload, arrival=arrival - arrival[0])
    return timed.replaced(note=f"Poisson arrivals at {rate:g} req/s (seed 0)")


def _rated(workload: Workload, rate: float | None) -> Workload:
    return workload if rate is None else workload.scaled(rate=rate)
