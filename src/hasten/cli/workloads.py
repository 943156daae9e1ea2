"""Workloads by name, file or spec: shipped samples, trace formats, synthetic kinds; `show` describes one."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from hasten.cli.options import catalogue, values, workload
from hasten.cli.output import table, text

if TYPE_CHECKING:
    from hasten.workload import Workload
    from hasten.workload.summary import LengthSummary

HELP = "traces and synthetic workloads: rate, burstiness, lengths"
EXAMPLE = "hasten workloads show azure-conv"


def configure(parser: ArgumentParser) -> None:
    """Declare the options."""
    catalogue.add_show(
        parser, "workload", "azure-conv, ./trace.csv or poisson:rate=8,prompt=1024,output=200,n=1000"
    )
    parser.add_argument("--rate", type=values.rate, metavar="R", help="rescale arrivals to R requests/s")
    workload.add_reading(parser)


def run(args: Namespace) -> int:
    """Print the list or one workload."""
    from hasten.workload import Workload, spec
    from hasten.workload.catalogue import reader_names
    from hasten.workload.samples import sample_names

    name = catalogue.shown(args)
    if name is not None:
        work = workload.read(args, name, rate=args.rate)
        if args.json:
            text.show_json(_figures(name, work))
        else:
            text.show(_described(name, work))
        return 0
    samples = {each: Workload.from_trace(each) for each in sample_names()}
    if args.json:
        text.show_json(
            {"samples": [_figures(name, work) for name, work in samples.items()], "formats": reader_names()}
        )
    else:
        grammar = (spec.__doc__ or "").partition("\n\n")[2].rstrip()
        text.show(f"{_listed(samples)}\n\nTrace formats: {', '.join(reader_names())}\n\nAs text:\n{grammar}")
    return 0


def _listed(samples: dict[str, Workload]) -> str:
    header = (
        "sample",
        "requests",
        "req/s",
        "gap CV",
        "prompt p50 / p99",
        "output p50 / p99",
        "repeated blocks",
    )
    rows = []
    for name, work in samples.items():
        found = work.describe()
        rows.append(
            (
                name,
                f"{found.requests:,}",
                table.number(found.rate_per_s),
                table.number(found.gap_cv),
                f"{found.prompt.p50:,.0f} / {found.prompt.p99:,.0f}",
                f"{found.output.p50:,.0f} / {found.output.p99:,.0f}",
                table.MISSING if work.block_ids is None else f"{found.block_hit_share:.0%}",
            )
        )
    return table.table(header, rows, right=range(1, 7))


def _figures(name: str, work: Workload) -> dict[str, Any]:
    return {"name": name, **work.describe().as_dict()}


def _described(name: str, work: Workload) -> str:
    found = work.describe()
    dropped = "\n".join(f"{rows.count:,} rows: {rows.reason}" for rows in work.dropped)
    return table.facts(
        [
            ("workload", name),
            ("requests", f"{found.requests:,}"),
            ("duration", f"{found.duration_s:,.1f} s"),
            (
                "rate",
                f"{table.number(found.rate_per_s)} req/s, at most {table.number(found.peak_per_s, 0)} in one second",
            ),
            (
                "burstiness",
                f"standard deviation of gaps {table.number(found.gap_cv)} of their mean, variance of counts per "
                f"second {table.number(found.count_dispersion)} of theirs (both 1 if Poisson)",
            ),
            ("prompt tokens", _lengths(found.prompt)),
            ("output tokens", _lengths(found.output)),
            (
                "prefix blocks",
                f"{found.block_hit_share:.1%} seen before" if work.block_ids is not None else "none",
            ),
            ("follow-up turns", f"{found.follow_up_share:.1%}" if work.parent is not None else ""),
            ("left out", dropped),
            ("origin", found.origin),
        ]
    )


def _lengths(found: LengthSummary) -> str:
    cuts = f"p50 {found.p50:,.0f}, p90 {found.p90:,.0f}, p99 {found.p99:,.0f}"
    return f"mean {found.mean:,.1f}, {cuts}, max {found.max:,}"
