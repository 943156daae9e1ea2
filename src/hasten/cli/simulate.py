"""Play a workload on a deployment in virtual time; print what `vllm bench serve` would, and what it can't know.

Exit status 1 when a service level is given and missed.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hasten.cli.options import delivery, deployment, policies, pools, slo, values, workload
from hasten.cli.options.plot import add_plot, look_of
from hasten.cli.output import page, text
from hasten.cli.output.progress import Bar
from hasten.errors import InputError

if TYPE_CHECKING:
    from hasten.plan.constraints import Check
    from hasten.report.report import Report
    from hasten.sim.steps import StepLog
    from hasten.uncertainty import Intervals
    from hasten.workload import Workload

HELP = "play a trace on a deployment: latencies, goodput, use, cost"
EXAMPLE = "hasten simulate llama-3.1-8b --device l40s --workload azure-conv --rate 2 --limit 500 --ttft 1s --tpot 99ms"

PERCENTILES = (50.0, 90.0, 95.0, 99.0)


def configure(parser: ArgumentParser) -> None:
    """Declare the options."""
    deployment.add_model(parser)
    deployment.add_split(parser)
    pools.add_decode_pool(parser)
    workload.add_workload(parser)
    policies.add_policies(parser)
    slo.add_slo(parser)
    deployment.add_engine(parser)
    group = parser.add_argument_group("run and result")
    group.add_argument(
        "--stepping", action="store_true", help="take every step one by one: the same result, slower"
    )
    policies.add_speeds(group)
    group.add_argument(
        "--percentiles",
        type=values.percentiles,
        default=PERCENTILES,
        metavar="P,...",
        help="percentiles to report (default 50,90,95,99)",
    )
    group.add_argument(
        "--client-overhead",
        type=values.duration,
        metavar="TIME",
        help="network and client time per request: adds the TTFT that the client sees",
    )
    group.add_argument(
        "--interval",
        type=values.confidence,
        metavar="PERCENT",
        help="play it twice more, with steps as fast and as slow as their error allows: 90 for 90 %% intervals",
    )
    group.add_argument(
        "--trace-events",
        type=Path,
        metavar="FILE",
        help="write every step and request as Chrome trace events for Perfetto: .json or .json.gz",
    )
    group.add_argument("--out", type=Path, metavar="FILE", help="write one row per request: .csv or .parquet")
    add_plot(group, "distributions, and what each percentile spends its time on")
    page.add_report(group, "latencies, where they come from, steps over time, every request")
    delivery.add_delivery(parser, "--deploy")


def run(args: Namespace) -> int:
    """Simulate and print the report."""
    if args.out is not None:
        check_out(args.out)
    if args.trace_events is not None:
        check_trace_file(args.trace_events)
    delivery.check(args)
    page.check_report(args.report)
    made, constraints = pools.served_by(args), slo.constraints_of(args)
    chosen = {role: spec for role, spec in policies.policies_of(args).items() if spec is not None}
    load_all(chosen)
    routes = pools.routes_of(args)
    work = workload.workload_of(args)
    options = run_options(args)
    report = play(made, work, chosen, slo=slo.slo_of(args), seed=args.seed, **routes, **options)
    if args.trace_events is not None:
        from hasten.explain.trace_events import write_trace_events

        write_trace_events(args.trace_events, report.records, options["log"])
    report = told(report, args.percentiles, args.client_overhead)
    intervals = None
    if args.interval is not None:
        intervals = around(made, work, chosen, report, args.interval, slo=slo.slo_of(args), seed=args.seed)
    checks = () if constraints is None else constraints.check(report.records)
    if args.out is not None:
        from hasten.report.files import save_requests

        save_requests(report.records.select(report.records.id.argsort()), args.out)
    log, look = options.get("log"), look_of(args)
    found = labels(args, made, work, report, log) if args.report or look else None
    page.save_run(args, made, work, report, log=log, found=found, checks=checks)
    written = delivery.deliver(args, made, work, report.to_dict() | {"seed": args.seed}, policies=chosen)
    if args.json:
        text.show_json(_result(args, made, work, report, checks) | _intervals(intervals))
    else:
        text.show("\n".join([_render(args, made, work, report, checks), *written]))
        if intervals is not None:
            text.show(_interval_table(intervals))
        if look is not None:
            from hasten.cli.output.plot import charts

            text.show("\n" + charts.of_run(report, found, look, work))
    return int(not all(check.holds for check in checks))


def run_options(args: Namespace) -> dict[str, Any]:
    """How to play, as keywords of `simulate`."""
    options: dict[str, Any] = {"stepping": args.stepping, "speeds": args.replica_speeds}
    if args.trace_events is not None or args.report is not None or args.plot:
        from hasten.sim.steps import StepLog

        options["log"] = StepLog()
    return options


def labels(args: Namespace, made: Any, work: Workload, report: Report, log: StepLog | None) -> Any:
    """Where every second of the run went, where its steps were kept."""
    from hasten.explain.setup import attributed

    return None if log is None else attributed(made, work, report, log)


def check_out(path: Path) -> None:
    """Raise InputError now for a result file that could not be written after the run."""
    from importlib.util import find_spec

    from hasten.report.files import FORMATS

    if path.suffix.lower() not in FORMATS:
        raise InputError(f"--out {path}: unknown request format {path.suffix!r}: use {' or '.join(FORMATS)}")
    if path.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        raise InputError(f"--out {path}: Parquet needs pyarrow: pip install 'hasten[report]', or write .csv")
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: folder {path.parent} does not exist: create it or name another")
    if path.is_dir():
        raise InputError(f"--out {path}: is a folder: give the name of a file")


def check_trace_file(path: Path) -> None:
    """Raise InputError now for a trace that could not be written after the run."""
    if not path.name.endswith((".json", ".json.gz")):
        raise InputError(f"--trace-events {path}: name a .json or .json.gz file")
    if not path.parent.is_dir():
        raise InputError(
            f"--trace-events {path}: folder {path.parent} does not exist: create it or name another"
        )


def load_all(chosen: dict[str, str]) -> None:
    """Raise InputError for a policy that does not exist before a long trace is read."""
    from hasten.policies import load_policy

    for role, spec in chosen.items():
        load_policy(role, spec)


def play(made: Any, work: Workload, chosen: dict[str, str], **options: Any) -> Report:
    """`simulate` with a bar on a terminal."""
    from hasten.sim.run import simulate

    with Bar(f"simulating {made.label}") as bar:
        return simulate(made, work, progress=bar, **chosen, **options)  # type: ignore[arg-type]


def around(
    made: Any, work: Workload, chosen: dict[str, str], report: Report, confidence: float, **options: Any
) -> Intervals:
    """The runs at both ends of the error of the step times, with a bar."""
    from hasten.uncertainty import simulate_intervals

    with Bar("simulating both ends of the error") as bar:
        return simulate_intervals(
            made, work, confidence=confidence, middle=report, progress=bar, **chosen, **options
        )


def _intervals(found: Intervals | None) -> dict[str, Any]:
    return {} if found is None else {"intervals": found.to_dict()}


def _interval_table(found: Intervals) -> str:
    """Every latency with what lies below and above it."""
    error, rows = found.error, []
    for kind in ("ttft", "tpot", "itl", "e2e"):
        for q in (None, *found.middle.percentiles):
            span = found.latency(kind, q)
            name = f"{kind.upper()} {'mean' if q is None else f'p{q:g}'} (ms)"
            rows.append((name, *(each * 1e3 for each in (span.low, span.value, span.high))))
    spans = [("output tokens/s", found.span(lambda each: each.throughput.output_tokens))]
    if found.middle.slo is not None:
        spans.append(("goodput (req/s)", found.span(lambda each: each.goodput)))
    rows += [(name, span.low, span.value, span.high) for name, span in spans]
    lines = [f"{f'{found.confidence:.0%} intervals':<22}{'lower':>12}{'predicted':>12}{'upper':>12}"]
    lines += [f"{name:<22}{low:>12,.2f}{value:>12,.2f}{high:>12,.2f}" for name, low, value, high in rows]
    factors = [f"{each.factor(0.5 + found.confidence / 2):.2f}" for each in (error.decode, error.prefill)]
    lines.append(
        f"from the error that all steps share: decodes up to x {factors[0]}, prefills up to x {factors[1]} "
        f"({error.origin}, {error.samples} points)"
    )
    if found.is_extrapolated:
        lines.append(
            "extrapolated: no published deployment of such weights on such a device, so the error is widened"
        )
    return "\n".join(lines)


def told(report: Report, percentiles: tuple[float, ...], client_seconds: float | None) -> Report:
    """The same report with other percentiles in its summaries, and the client's clock beside the server's."""
    from dataclasses import replace

    return replace(report, percentiles=percentiles, client_seconds=client_seconds)


def _result(
    args: Namespace, made: Any, work: Workload, report: Report, checks: tuple[Check, ...]
) -> dict[str, Any]:
    return {
        "model": made.model.name,
        "engine": made.profile.name,
        "workload": work.describe().as_dict(),
        "policies": policies.policies_of(args),
        "seed": args.seed,
        **report.to_dict(),
        "service_level": {
            "held": all(check.holds for check in checks) if checks else None,
            "checks": [{"text": check.text, "held": check.holds} for check in checks],
        },
    }


def _render(args: Namespace, made: Any, work: Workload, report: Report, checks: tuple[Check, ...]) -> str:
    from hasten.report.table import render

    named = ", ".join(
        f"{role} {spec}" for role, spec in policies.policies_of(args).items() if spec is not None
    )
    lines = [
        f"{made.model.name} on {made.label}, {made.profile.name}: KV cache of {made.kv_text} tokens per replica",
        workload.line_of(work, args.workload),
        named,
        render(report, slo_percentile=slo.PERCENTILE if args.percentile is None else args.percentile),
    ]
    if checks:
        held = all(check.holds for check in checks)
        named = "; ".join(check.text for check in checks if check.holds == held)
        lines.append(f"Service level {'held' if held else 'MISSED'}: {named}")
    return "\n".join(lines)
