"""Policies, devices, engines or sizes side by side on one workload, with confidence intervals.

Every flag that takes a comma list makes sides; the first side is the baseline. All sides get the same requests.
With --measured, one deployment is compared with a run of a real server instead: its own requests are simulated, joined
one by one, and the difference is taken apart into KV capacity, step time, front end and scheduling.
"""

from __future__ import annotations

import contextlib
import math
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hasten.cli.options import deployment, policies, sides, slo, values, workload
from hasten.cli.options.plot import add_plot, look_of
from hasten.cli.options.sides import Side
from hasten.cli.output import measured, page, table, text
from hasten.cli.output.progress import Bar
from hasten.errors import InputError

if TYPE_CHECKING:
    from hasten.cli.output.plot.look import Look
    from hasten.deployment import Deployment
    from hasten.report.compare import Comparison
    from hasten.report.figures import Figure
    from hasten.report.report import Report
    from hasten.workload import Workload

HELP = "policies, devices or sizes side by side, with confidence intervals"
EXAMPLE = "hasten compare llama-3.1-8b --schedule fcfs,prefill_first --sweep rate=5..15:3 --limit 500"

MODEL, DEVICE = "llama-3.1-8b", "h100-sxm"


def configure(parser: ArgumentParser) -> None:
    """Declare the options."""
    deployment.add_model(parser, default=MODEL)
    sides.add_lists(parser, device=DEVICE)
    workload.add_workload(parser)
    policies.add_policies(parser, several=True)
    slo.add_limits(parser)
    deployment.add_engine(parser, several=True)
    group = parser.add_argument_group("comparison")
    group.add_argument(
        "--measured",
        type=Path,
        metavar="FILE",
        help="a measured run: result of vllm bench serve --save-detailed, or requests.csv of hasten bench",
    )
    group.add_argument(
        "--sweep",
        type=sides.sweep,
        metavar="KEY=LOW..HIGH[:N]",
        help="repeat at N points (default 5) or at KEY=A,B,C: rate, a size, a setting, or schedule.PARAMETER",
    )
    group.add_argument(
        "--seeds", type=values.count, default=1, metavar="N", help="runs per side, seed, seed + 1, ..."
    )
    page.add_report(group, "the distributions of all sides over each other")
    add_plot(group, "the distributions of all sides over each other, or their tails along a sweep")


@dataclass(frozen=True)
class Point:
    """The reports of every side at one point of the sweep (None without one), one per seed."""

    at: str | None
    reports: dict[str, list[Report]]


def run(args: Namespace) -> int:
    """Simulate every side at every point and print the table."""
    page.check_report(args.report)
    listed = sides.sides_of(args, policies.policies_of(args))
    swept = args.sweep
    if args.report is not None and (swept is not None or args.measured is not None):
        raise InputError("--report shows sides at one point: leave --sweep and --measured out")
    if args.measured is not None:
        if args.plot:
            raise InputError("--plot shows sides that are simulated: leave it out with --measured")
        if len(listed) > 1 or swept is not None:
            raise InputError(
                "--measured compares one deployment with a measured run: give one value per flag, no --sweep"
            )
        return measured.run(args, _deployment(args, listed[0]))
    if len(listed) < 2 and swept is None:
        raise InputError(
            "nothing to compare: list several values, such as --schedule fcfs,sjf, or give --sweep"
        )
    if swept is not None and swept.key == "rate" and args.rate is not None:
        raise InputError("--rate and --sweep rate both set the rate: drop one")
    rows: list[Row] = []
    comparisons: list[Comparison | None] = []
    names: list[str] = []
    drawn: dict[str, list[Report]] = {}
    works = [workload.unscaled(args, seed=args.seed + turn) for turn in range(args.seeds)]
    heading = _heading(args, works[0])
    with Bar("simulating") as bar:
        for place, point in enumerate((None,) if swept is None else swept.points):
            found = _play(args, listed, works, point=point, place=place, bar=bar)
            rows += [_row(found.at, label, reports) for label, reports in found.reports.items()]
            if args.json or swept is None:  # the table of a sweep does not show them
                comparisons.append(_compared(found))
            names = names or _sources(found)
            drawn = found.reports if swept is None else {}
            page.save_compared(args, heading, found.reports, [_figures(row, None) for row in rows])
    if args.json:
        text.show_json(_result(args, heading, rows, comparisons, names))
    else:
        text.show(_render(args, heading, rows, comparisons, names))
        look = look_of(args)
        if look is not None:
            from hasten.cli.output.plot import charts

            text.show("")
            text.show(
                charts.of_sides(drawn, comparisons[0], look) if swept is None else _along(args, rows, look)
            )
    return 0


def _play(
    args: Namespace,
    listed: Sequence[Side],
    works: Sequence[Workload],
    *,
    point: str | None,
    place: int,
    bar: Bar,
) -> Point:
    """Run all sides and seeds at one point, the `place`-th of the sweep."""
    from hasten.policies import load_policy
    from hasten.sim.run import simulate

    swept, rate, shown = args.sweep, args.rate, list(listed)
    if point is not None and swept.key == "rate":
        rate = float(point)
    elif point is not None:
        shown = [sides.at(side, swept.key, point) for side in listed]
    made = [_deployment(args, side) for side in shown]
    for side in shown:  # a wrong name shows before the first run, not after it
        for role, spec in side.policies.items():
            load_policy(role, spec)
    runs = len(works) * len(shown)
    reports: dict[str, list[Report]] = {side.label: [] for side in shown}
    for turn, unscaled in enumerate(works):
        work = unscaled if rate is None else unscaled.scaled(rate=rate)
        for number, (side, one) in enumerate(zip(shown, made, strict=True)):
            seed = args.seed + turn
            report = simulate(one, work, **side.policies, slo=slo.slo_of(args), seed=seed)  # type: ignore[arg-type]
            reports[side.label].append(report)
            done = place * runs + turn * len(shown) + number + 1
            bar(done, runs * (1 if swept is None else len(swept.points)))
    return Point(point, _without_copies(reports))


def _without_copies(reports: dict[str, list[Report]]) -> dict[str, list[Report]]:
    """One run per side where all seeds gave the same: copies would pass for more evidence."""
    for each in reports.values():
        if len({report.records.finish.tobytes() for report in each}) > 1:
            return reports
    return {label: each[:1] for label, each in reports.items()}


def _deployment(args: Namespace, side: Side) -> Deployment:
    try:
        return deployment.deployment_of(args, **side.deployment, settings=side.settings)
    except InputError as error:
        raise InputError(f"{side.label}: {error}") from None


def _compared(point: Point) -> Comparison | None:
    from hasten.report.compare import compare

    return compare(point.reports) if len(point.reports) > 1 else None


@dataclass(frozen=True)
class Row:
    """The figures of one side at one point: latencies in seconds, the rest as named."""

    label: str
    ttft_p99: Figure
    tpot_p99: Figure
    at: str | None = None
    ttft_p50: float = math.nan
    e2e_p99: float = math.nan
    attainment: Figure | None = None
    output_throughput: float = math.nan  # tok/s
    cost: float = math.nan  # dollars per million output tokens
    requests: int = 0
    not_served: int = 0
    deployment: str = ""
    seeds: int = 1  # runs that differ; 1 when nothing is random


def _row(at: str | None, label: str, reports: list[Report]) -> Row:
    from hasten.report.figures import attainment_figure, percentile_figure

    def mean(of: Any) -> float:
        return math.fsum(map(of, reports)) / len(reports)

    return Row(
        at=at,
        label=label,
        ttft_p50=mean(lambda report: report.ttft.median),
        e2e_p99=mean(lambda report: report.e2e.p99),
        ttft_p99=percentile_figure(reports, "ttft", 99.0),
        tpot_p99=percentile_figure(reports, "tpot", 99.0),
        attainment=None if reports[0].slo is None else attainment_figure(reports),
        output_throughput=mean(lambda report: report.throughput.output_tokens),
        requests=sum(len(report.records) for report in reports),
        not_served=sum(int((~report.records.is_ok).sum()) for report in reports),
        cost=mean(lambda report: report.cost_per_million_output_tokens),
        deployment=reports[0].label,
        seeds=len(reports),
    )


def _sources(point: Point) -> list[str]:
    """Origin and error of the numbers; once where all sides share them."""
    from hasten.report.table import provenance

    found = {label: provenance(reports[0]) for label, reports in point.reports.items()}
    first = next(iter(found.values()))
    if all(lines == first for lines in found.values()):
        return first
    return [f"{label}: {line}" for label, lines in found.items() for line in lines]


def _heading(args: Namespace, work: Workload) -> str:
    from hasten.models import load_model

    if args.rate is not None:
        work = work.scaled(rate=args.rate)
    swept = "" if args.sweep is None else f"; sweep of {args.sweep.key}"
    seeds = "" if args.seeds == 1 else f"; {args.seeds} seeds from {args.seed}"
    return f"{load_model(args.model).name}; {workload.line_of(work, args.workload)}{swept}{seeds}"


def _render(
    args: Namespace,
    heading: str,
    rows: Sequence[Row],
    comparisons: Sequence[Comparison | None],
    sources: Sequence[str],
) -> str:
    parts = [heading, "", _table(args, rows)]
    parts.append("[low, high]: 95 % interval, by resampling blocks of consecutive requests")
    if args.seeds > 1 and all(row.seeds == 1 for row in rows):
        parts.append("Note: every seed gave the same runs: neither the workload nor a policy is random here")
    if args.sweep is None and comparisons[0] is not None:
        from hasten.report.compare import render

        changes = render(comparisons[0]).splitlines()
        shown = changes[: len(changes) - len(comparisons[0].sources)]
        parts += ["", "Changes against the first side, paired by request:", *shown]
    return "\n".join([*parts, *sources])


def _table(args: Namespace, rows: Sequence[Row]) -> str:
    """One line per point and side."""
    key = [] if args.sweep is None else [args.sweep.key]
    has_slo, has_lost = rows[0].attainment is not None, any(row.not_served for row in rows)
    header = [*key, "side", "TTFT p50 ms", "TTFT p99 ms", "TPOT p99 ms", "E2E p99 s"]
    header += ["goodput share %"] * has_slo + ["output tok/s", "$/Mtok out"] + ["not served"] * has_lost
    lines = []
    for row in rows:
        cells = [str(row.at)] * len(key) + [row.label, table.number(row.ttft_p50 * 1e3, 1)]
        cells += [_cell(row.ttft_p99, 1e3), _cell(row.tpot_p99, 1e3), table.number(row.e2e_p99)]
        cells += [] if row.attainment is None else [_cell(row.attainment, 100.0)]
        cells += [table.number(row.output_throughput, 0), table.number(row.cost)]
        lines.append(cells + [f"{row.not_served:,}"] * has_lost)
    side = len(key)
    return table.table(header, lines, right=[i for i in range(len(header)) if i != side])


def _along(args: Namespace, rows: Sequence[Row], look: Look) -> str:
    """The tails of every side over the points of the sweep, drawn."""
    from hasten.cli.output.plot import charts

    limits = slo.slo_of(args)
    figures: dict[str, dict[str, list[float]]] = {"TTFT p99": {}, "TPOT p99": {}}
    for row in rows:
        for title, figure in zip(figures, (row.ttft_p99, row.tpot_p99), strict=True):
            figures[title].setdefault(row.label, []).append(figure.value * 1e3)
    limit = (None, None) if limits is None else (limits.ttft, limits.tpot)
    in_ms = {title: each and each * 1e3 for title, each in zip(figures, limit, strict=True)}
    return charts.of_sweep(figures, args.sweep.points, look, swept=args.sweep.key, limits=in_ms)


def _cell(figure: Figure, scale: float) -> str:
    """Value and interval."""
    low, high = figure.interval.low * scale, figure.interval.high * scale
    bounds = "" if math.isnan(low) else f" [{low:,.1f}, {high:,.1f}]"
    return table.number(figure.value * scale, 1) + bounds


def _result(
    args: Namespace,
    heading: str,
    rows: Sequence[Row],
    comparisons: Sequence[Comparison | None],
    sources: Sequence[str],
) -> dict[str, Any]:
    key = None if args.sweep is None else args.sweep.key
    return {
        "about": heading,
        "sources": list(sources),
        "sweep": key,
        "seeds": args.seeds,
        "rows": [_figures(row, key) for row in rows],
        "comparisons": [None if each is None else each.to_dict() for each in comparisons],
    }


def _figures(row: Row, key: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {} if key is None else {key: _number(row.at)}
    found |= {"side": row.label, "deployment": row.deployment}
    found |= {"ttft_p50_ms": row.ttft_p50 * 1e3, "e2e_p99_ms": row.e2e_p99 * 1e3}
    for name in ("ttft_p99", "tpot_p99"):
        figure = getattr(row, name)
        found[f"{name}_ms"] = figure.value * 1e3
        found[f"{name}_ms_interval"] = [figure.interval.low * 1e3, figure.interval.high * 1e3]
    if row.attainment is not None:
        found["attainment"] = row.attainment.value
        found["attainment_interval"] = [row.attainment.interval.low, row.attainment.interval.high]
    return found | {
        "output_throughput": row.output_throughput,
        "requests": row.requests,
        "not_served": row.not_served,
        "cost_usd_per_million_output_tokens": row.cost,
    }


def _number(point: str | None) -> float | int | str | None:
    """A point of a sweep as the number it is, where it is one."""
    for kind in (int, float):
        with contextlib.suppress(ValueError, TypeError):
            return kind(point)  # type: ignore[arg-type]
    return point
