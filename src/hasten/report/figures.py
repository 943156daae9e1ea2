"""One figure of a run, or of several runs that differ in their seed, with its confidence interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hasten.errors import InputError
from hasten.report import bootstrap, metrics
from hasten.report.bootstrap import Interval
from hasten.report.records import Floats, Records
from hasten.report.report import Report

RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class Figure:
    """A value and its interval: seconds for latencies, a share for attainment. NaN where nothing was served."""

    value: float
    interval: Interval


def percentile_figure(
    reports: Sequence[Report], metric: str, percentile: float, *, confidence: float = 0.95, seed: int = 0
) -> Figure:
    """A percentile of ttft, tpot or e2e in seconds, meant over the reports.

    The interval resamples reports, where there are several, and blocks of consecutive requests within each: the same
    blocks in all of them when they served the same arrivals, which differ in policies' chance alone. Requests that
    were not served have no latency and do not count. Raises InputError for another metric or no report.
    """
    if metric not in metrics.PER_REQUEST:
        raise InputError(f"no figure for {metric!r}: choose {', '.join(metrics.PER_REQUEST)}")
    columns = [metrics.PER_REQUEST[metric](_by_arrival(report)) for report in reports]

    def statistic(values: Floats) -> float:
        return float(np.percentile(values, percentile)) if values.size else math.nan

    return _figure(reports, columns, statistic, confidence=confidence, seed=seed)


def attainment_figure(reports: Sequence[Report], *, confidence: float = 0.95, seed: int = 0) -> Figure:
    """Share of all requests that met every limit of the reports' service level, meant over the reports.

    Raises InputError when a report has no service level.
    """
    columns = []
    for report in reports:
        if report.slo is None:
            raise InputError("attainment needs limits: give the report an SLO")
        columns.append(metrics.is_good(_by_arrival(report), report.slo).astype(np.float64))
    return _figure(reports, columns, lambda values: float(values.mean()), confidence=confidence, seed=seed)


def _by_arrival(report: Report) -> Records:
    return report.records.select(np.argsort(report.records.arrival, kind="stable"))


def _figure(
    reports: Sequence[Report],
    columns: list[Floats],
    statistic: Callable[[Floats], float],
    *,
    confidence: float,
    seed: int,
) -> Figure:
    bootstrap.check(confidence, RESAMPLES)
    if not columns:
        raise InputError("a figure needs a report")
    is_one_trace = len({column.size for column in columns}) == 1 and all(
        np.array_equal(np.sort(report.records.arrival), np.sort(reports[0].records.arrival))
        for report in reports
    )
    value = _mean([statistic(column) for column in columns])
    if any(column.size < 2 for column in columns):
        return Figure(value, Interval(math.nan, math.nan, confidence))
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, len(columns), len(columns)) if len(columns) > 1 else [0]
        shared = bootstrap.draw_blocks(columns[0].size, rng) if is_one_trace else None
        rows = [bootstrap.draw_blocks(columns[i].size, rng) if shared is None else shared for i in drawn]
        samples.append(_mean([statistic(columns[i][row]) for i, row in zip(drawn, rows, strict=True)]))
    return Figure(value, bootstrap.from_samples(samples, confidence))


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
