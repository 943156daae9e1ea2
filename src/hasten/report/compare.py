"""Two or more runs side by side: differences on the same requests, with confidence intervals."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hasten.errors import InputError
from hasten.report import bootstrap, metrics
from hasten.report.bootstrap import Interval
from hasten.report.programs import programs
from hasten.report.records import Floats, Records
from hasten.report.report import Report
from hasten.report.table import provenance

RESAMPLES = 200
PERCENTILE = 99.0
_OF_A_PROGRAM = ("program_completion", "program_token_latency")
ROUNDING = 1e-9  # relative changes up to this are arithmetic, not behaviour
NO_INTERVAL = Interval(math.nan, math.nan)
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One figure of one side against the baseline, both in `unit`.

    interval is the confidence interval of `change`; NaN at both ends for figures that can't be paired by request.
    """

    figure: str
    label: str
    baseline: float
    value: float
    unit: str = "s"
    interval: Interval = NO_INTERVAL

    @property
    def change(self) -> float:
        """value - baseline."""
        return self.value - self.baseline

    @property
    def relative(self) -> float:
        """change / baseline; NaN for a baseline of 0."""
        return self.change / self.baseline if self.baseline else math.nan

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero and the change is no rounding: its sign is not noise."""
        if abs(self.change) <= ROUNDING * abs(self.baseline):
            return False
        return not math.isnan(self.interval.low) and not self.interval.holds(0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All differences against `baseline`, and what was paired to find them."""

    baseline: str
    differences: tuple[Difference, ...]
    sources: tuple[str, ...]  # where the numbers of every side come from, and their error
    paired: int = 0  # requests that every side served, over all seeds
    seeds: int = 1
    not_served: Mapping[str, int]  # label -> requests of the shared workload that this side did not serve
    confidence: float = 0.95

    def find(self, label: str, figure: str) -> Difference:
        """The difference of one side in one figure; raise KeyError when there is none."""
        for each in self.differences:
            if (each.label, each.figure) == (label, figure):
                return each
        raise KeyError(f"{label}: {figure}")

    def to_dict(self) -> dict[str, Any]:
        """Everything under keys with units: latencies in milliseconds; undefined figures are None."""
        return {
            "baseline": self.baseline,
            "confidence": self.confidence,
            "seeds": self.seeds,
            "paired_requests": self.paired,
            "not_served_requests": dict(self.not_served),
            "sources": list(self.sources),
            "differences": [_difference_figures(each) for each in self.differences],
        }


def compare(
    sides: Mapping[str, Report | Sequence[Report]],
    *,
    baseline: str | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare runs of one workload: label -> report, or label -> one report per seed, in the same order.

    Requests are paired by id and, over seeds, by position (common random numbers). Intervals resample seeds, where
    there are several, and within each blocks of consecutive requests, the same ones for every side (and for every
    seed, where all seeds replay one trace: its requests are evidence once). Latencies are those of the requests that
    every side served; attainment counts all of them. Programs (sessions of several calls) are compared as wholes too:
    completion, tools and users included, and seconds in calls per output token.
    Raises InputError for fewer than two sides, an unknown baseline, unequal numbers of seeds, unequal service
    levels or no request in common.
    """
    bootstrap.check(confidence, resamples)
    runs = {label: [side] if isinstance(side, Report) else list(side) for label, side in sides.items()}
    reference = _check_sides(runs, baseline)
    pairs = [_Pair({label: side[i] for label, side in runs.items()}) for i in range(len(runs[reference]))]
    whole = [(pair, np.arange(pair.size)) for pair in pairs]
    values = {label: _figures(whole, label) for label in runs}
    samples = _resample(pairs, list(runs), resamples, seed)
    differences = []
    for label in (each for each in runs if each != reference):
        for figure, value in values[label].items():
            changes = [sample[label][figure] - sample[reference][figure] for sample in samples]
            differences.append(
                Difference(
                    figure=figure,
                    label=label,
                    baseline=values[reference][figure],
                    value=value,
                    unit="share" if figure == "attainment" else "s",
                    interval=bootstrap.from_samples(changes, confidence),
                )
            )
        differences += _whole_run_figures(runs[reference], runs[label], label)
    return Comparison(
        baseline=reference,
        differences=tuple(differences),
        sources=tuple(f"{label}: {line}" for label, side in runs.items() for line in provenance(side[0])),
        paired=sum(pair.num_served for pair in pairs),
        seeds=len(pairs),
        not_served={label: sum(pair.not_served[label] for pair in pairs) for label in runs},
        confidence=confidence,
    )


def render(comparison: Comparison) -> str:
    """The comparison as text, one row per figure and side; `*` marks changes whose interval leaves out zero."""
    width = max(map(len, [comparison.baseline, *comparison.not_served, "side"]))
    interval = f"{100 * comparison.confidence:g} % interval of the change"
    names = [
        f"{each.figure.replace('_', ' ')} ({_shown_unit(each.unit)[0]})" for each in comparison.differences
    ]
    room = max(map(len, [*names, "figure"])) + 1
    lines = [f"{'figure':<{room}} {'side':<{width}} {'baseline':>10} {'value':>10} {'change':>9}  {interval}"]
    for name, each in zip(names, comparison.differences, strict=True):
        scale = _shown_unit(each.unit)[1]
        relative = "n/a" if math.isnan(each.relative) else f"{100 * each.relative:+.1f} %"
        low, high = each.interval.low * scale, each.interval.high * scale
        bounds = "" if math.isnan(low) else f"[{low:+.2f}, {high:+.2f}]{' *' if each.is_clear else ''}"
        figures = f"{each.baseline * scale:>10.2f} {each.value * scale:>10.2f} {relative:>9}"
        lines.append(f"{name:<{room}} {each.label:<{width}} {figures}  {bounds}".rstrip())
    lines.append(
        f"baseline: {comparison.baseline}; requests paired: {comparison.paired}; seeds: {comparison.seeds}; "
        "* = the interval leaves out zero"
    )
    lines += [
        f"{label} did not serve {count} requests" for label, count in comparison.not_served.items() if count
    ]
    return "\n".join([*lines, *comparison.sources])


class _Pair:
    """The runs of one seed, lined up: row i is the same request on every side, in order of arrival."""

    def __init__(self, reports: Mapping[str, Report]) -> None:
        rows = _shared_rows({label: report.records.id for label, report in reports.items()})
        first = next(iter(reports))
        by_arrival = np.argsort(reports[first].records.arrival[rows[first]], kind="stable")
        aligned = {label: report.records.select(rows[label][by_arrival]) for label, report in reports.items()}
        served = np.logical_and.reduce([records.is_ok for records in aligned.values()])
        self.arrival: Floats = aligned[first].arrival
        self.size = int(served.size)
        self.num_served = int(np.count_nonzero(served))
        if not self.num_served:
            raise InputError(
                "no request was served by every side: the workloads differ, or a side served nothing"
            )
        self.not_served = {label: int(np.count_nonzero(~records.is_ok)) for label, records in aligned.items()}
        # Latencies are NaN where a side did not serve the request: only what every side served is compared.
        self.columns: dict[str, dict[str, Floats]] = {}
        for label, records in aligned.items():
            several = served & (records.output_tokens > 1)
            after_first = (records.finish - records.first_token) / np.maximum(records.output_tokens - 1, 1)
            self.columns[label] = {
                "ttft": np.where(served, records.first_token - records.arrival, np.nan),
                "tpot": np.where(several, after_first, np.nan),
                "e2e": np.where(served, records.finish - records.arrival, np.nan),
            }
            slo = reports[label].slo
            if slo is not None:
                self.columns[label]["attainment"] = metrics.is_good(records, slo).astype(np.float64)
        for label, columns in _program_columns(aligned).items():
            self.columns[label] |= columns


def _program_columns(aligned: Mapping[str, Records]) -> dict[str, dict[str, Floats]]:
    """Completion and time per token of programs that every side served, each in the row of its first call.

    Empty where no session has a second call.
    """
    whole = {label: programs(records) for label, records in aligned.items()}
    shared = functools.reduce(np.intersect1d, [each.session for each in whole.values()])
    if not shared.size or all(each.calls.max() == 1 for each in whole.values()):
        return {}
    session, first = np.unique(next(iter(aligned.values())).session, return_index=True)
    rows = first[np.searchsorted(session, shared)]
    columns: dict[str, dict[str, Floats]] = {}
    for label, each in whole.items():
        found = np.searchsorted(each.session, shared)
        columns[label] = {name: np.full(len(aligned[label]), np.nan) for name in _OF_A_PROGRAM}
        for name in _OF_A_PROGRAM:
            columns[label][name][rows] = getattr(each, name.removeprefix("program_"))[found]
    return columns


def _check_sides(runs: Mapping[str, list[Report]], baseline: str | None) -> str:
    if len(runs) < 2:
        raise InputError(f"a comparison needs two sides, not {len(runs)}")
    reference = next(iter(runs)) if baseline is None else baseline
    if reference not in runs:
        raise InputError(f"unknown baseline {reference!r}: choose {', '.join(runs)}")
    counts = {label: len(side) for label, side in runs.items()}
    if len(set(counts.values())) > 1 or not counts[reference]:
        raise InputError(f"every side needs one report per seed, not {counts}")
    slos = [report.slo for side in runs.values() for report in side]
    limits = {None if slo is None else (slo.ttft, slo.tpot, slo.e2e) for slo in slos}
    if len(limits) > 1:
        raise InputError("the sides were promised different service levels: give every report the same SLO")
    return reference


def _shared_rows(ids: Mapping[str, npt.NDArray[Any]]) -> dict[str, Rows]:
    """For every side the rows of the ids that all sides have, in the same order of ids."""
    for label, column in ids.items():
        if np.unique(column).size != column.size:
            raise InputError(f"{label}: request ids are not unique, so requests can't be paired")
    shared = functools.reduce(np.intersect1d, ids.values())
    rows = {}
    for label, column in ids.items():
        order = np.argsort(column)
        rows[label] = order[np.searchsorted(column, shared, sorter=order)]
    return rows


def _resample(
    pairs: list[_Pair], labels: list[str], resamples: int, seed: int
) -> list[dict[str, dict[str, float]]]:
    """Figures of every side under resampled seeds and requests, the same draw for every side."""
    rng = np.random.default_rng(seed)
    is_one_trace = all(np.array_equal(pair.arrival, pairs[0].arrival) for pair in pairs)
    samples = []
    for _ in range(resamples):
        drawn = [pairs[i] for i in (rng.integers(0, len(pairs), len(pairs)) if len(pairs) > 1 else [0])]
        shared = bootstrap.draw_blocks(pairs[0].size, rng) if is_one_trace else None
        draws = [
            (pair, bootstrap.draw_blocks(pair.size, rng) if shared is None else shared) for pair in drawn
        ]
        samples.append({label: _figures(draws, label) for label in labels})
    return samples


def _figures(draws: Sequence[tuple[_Pair, Rows]], label: str) -> dict[str, float]:
    """Mean over seeds of every figure of one side, over the given rows; NaN where a draw holds no such request."""
    totals: dict[str, list[float]] = {}
    for pair, rows in draws:
        for metric, column in pair.columns[label].items():
            values = column[rows]
            values = values[~np.isnan(values)]
            if metric == "attainment":
                totals.setdefault(metric, []).append(float(values.mean()))
                continue
            totals.setdefault(f"{metric}_mean", []).append(float(values.mean()) if values.size else math.nan)
            tail = float(np.percentile(values, PERCENTILE)) if values.size else math.nan
            totals.setdefault(f"{metric}_p{PERCENTILE:g}", []).append(tail)
    return {figure: math.fsum(values) / len(values) for figure, values in totals.items()}


def _itl_tail(report: Report) -> float:
    return metrics.summarise_gaps(report.records.gaps, (PERCENTILE,)).percentile(PERCENTILE)


# Figures that belong to a run and not to its requests: pooled gaps, rate and cost, each with its unit.
_OF_A_RUN: Mapping[str, tuple[str, Callable[[Report], float]]] = {
    f"itl_p{PERCENTILE:g}": ("s", _itl_tail),
    "output_throughput": ("tok/s", lambda report: report.throughput.output_tokens),
    "output_cost": ("$/Mtok", lambda report: report.cost_per_million_output_tokens),
}


def _whole_run_figures(base: list[Report], side: list[Report], label: str) -> list[Difference]:
    """Differences in what belongs to whole runs, where both sides know it; means over seeds, without interval."""
    differences = []
    for figure, (unit, read) in _OF_A_RUN.items():
        old, new = (math.fsum(map(read, reports)) / len(reports) for reports in (base, side))
        if not math.isnan(new - old):
            differences.append(Difference(figure=figure, label=label, baseline=old, value=new, unit=unit))
    return differences


def _shown_unit(unit: str) -> tuple[str, float]:
    return {"s": ("ms", 1e3), "share": ("%", 100.0)}.get(unit, (unit, 1.0))


def _difference_figures(each: Difference) -> dict[str, Any]:
    unit, scale = ("ms", 1e3) if each.unit == "s" else (each.unit, 1.0)
    figures = {
        "baseline": each.baseline * scale,
        "value": each.value * scale,
        "change": each.change * scale,
        "change_low": each.interval.low * scale,
        "change_high": each.interval.high * scale,
        "relative_change": each.relative,
    }
    defined = {key: value if math.isfinite(value) else None for key, value in figures.items()}
    return {"figure": each.figure, "side": each.label, "unit": unit, **defined}
