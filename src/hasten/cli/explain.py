"""Why a deployment is as slow as it is on a workload: where the slowest requests spend their time against the usual
ones, the bottleneck in a sentence, and what one change would buy, each played again on the same requests.

Instead of MODEL: a recording of our engine (--recording), the /metrics page of any server with vLLM's names
(--server-metrics), or time series of components, one of which raised an alarm (--metrics).
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from hasten.cli.options import deployment, observed, policies, pools, slo, workload
from hasten.cli.options.plot import add_plot, look_of
from hasten.cli.output import page, table, text
from hasten.cli.output.progress import Bar
from hasten.cli.simulate import load_all
from hasten.disaggregation import Disaggregated
from hasten.errors import InputError

if TYPE_CHECKING:
    from hasten.deployment import Deployment
    from hasten.explain.composition import Composition
    from hasten.explain.explanation import Explanation
    from hasten.explain.objective import Objective
    from hasten.explain.setup import PooledSetup, Setup
    from hasten.report.report import Report

HELP = "why it is slow: the tail's composition, the bottleneck, what one change buys"
EXAMPLE = "hasten explain llama-3.1-8b --device l40s --workload azure-conv --rate 2 --limit 500 --ttft 1s"

SHOWN_LABELS = 8
MANY_TIMES = 9.0  # relative change from which a factor is shown
LIMITED = ("ttft", "tpot", "e2e")
METRICS = (*LIMITED, "program")
METRIC_NAMES = {"program": "a program"}


def configure(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="built-in name, Hugging Face id of one, config.json, or a directory that holds one",
    )
    deployment.add_split(parser, required=False)
    pools.add_decode_pool(parser)
    workload.add_workload(parser)
    policies.add_policies(parser)
    slo.add_slo(parser)
    deployment.add_engine(parser)
    group = parser.add_argument_group("what to explain")
    group.add_argument(
        "--metric",
        choices=METRICS,
        metavar="NAME",
        help="ttft, tpot, e2e, or program for the time from a program's first call to its last token (default: the "
        "limited one that is closest to its limit, else ttft)",
    )
    policies.add_speeds(group)
    observed.add_observed(parser)
    add_plot(group, "what each percentile spends its time on, and the effects with their intervals")
    page.add_report(group, "the run, the bottleneck, what one change would buy")
    group.add_argument("--all", action="store_true", help="show every label and every change")


def run(args: Namespace) -> int:
    """Explain and print."""
    page.check_report(args.report)
    if observed.is_observed(args):
        for flag in ("report", "plot"):
            if getattr(args, flag):
                raise InputError(f"--{flag} is of a simulated run: give MODEL and --device, or leave it out")
        return observed.run(args)
    for name in ("model", "device"):
        if getattr(args, name) is None:
            raise InputError(
                f"explain needs {'MODEL' if name == 'model' else '--device'}, or what was observed: "
                "--recording, --server-metrics or --metrics"
            )
    from hasten.explain.explanation import explain

    made, limits = pools.served_by(args), slo.constraints_of(args)
    setup = setup_of(args, made)
    with Bar(f"explaining {made.label}") as bar:
        objective = objective_of(args, setup.run() if limits else None)
        found = explain(setup, objective, whole=args.all, progress=bar)
    page.save_explained(args, made, setup.work, found)
    if args.json:
        text.show_json(
            {"model": made.model.name, "deployment": made.label, "engine": made.profile.name}
            | {"workload": setup.work.describe().as_dict(), "seed": args.seed, **found.to_dict()}
        )
    else:
        head = [
            f"{made.model.name} on {made.label}, {made.profile.name}",
            workload.line_of(setup.work, args.workload),
        ]
        text.show("\n".join([*head, *render(found, whole=args.all)]))
        look = look_of(args)
        if look is not None:
            from hasten.cli.output.plot import charts

            text.show("\n" + charts.of_explanation(found, look))
    return 0


def setup_of(args: Namespace, made: Deployment | Disaggregated) -> Setup | PooledSetup:
    """The run that the flags describe. Raises InputError."""
    from hasten.explain.setup import PooledSetup, Setup

    chosen = {role: spec for role, spec in policies.policies_of(args).items() if spec is not None}
    load_all(chosen)
    given: dict[str, Any] = {
        "policies": chosen | pools.routes_of(args),
        "work": workload.workload_of(args),
        "slo": slo.slo_of(args),
        "seed": args.seed,
        "speeds": args.replica_speeds,
    }
    if isinstance(made, Disaggregated):
        return PooledSetup(deployment=made, **given)
    return Setup(deployment=made, **given)


def objective_of(args: Namespace, report: Report | None) -> Objective:
    """The user's own objective: the metric named, else the limit that is closest to being missed."""
    from hasten.explain.objective import DEFAULT_METRIC, Objective, tightest

    percentile = slo.PERCENTILE if args.percentile is None else args.percentile
    limits = slo.slo_of(args)
    if args.metric is not None:
        limit = None if limits is None else getattr(limits, args.metric, None)
        return Objective(metric=args.metric, percentile=percentile, limit=limit)
    if report is None or limits is None:
        return Objective(metric=DEFAULT_METRIC, percentile=percentile)
    return tightest(report.records, limits, percentile, attainment=args.attainment)


def render(found: Explanation, *, whole: bool = False) -> list[str]:
    """The explanation as lines of text."""
    objective = found.objective
    verdict = ""
    if objective.limit is not None:
        sign = "above" if found.value > objective.limit else "within"
        verdict = f", {sign} the limit of {shown(objective.limit, objective.unit)}"
    lines = [
        f"{objective.text} {shown(found.value, objective.unit)}{verdict}",
        "",
        *_composition(found.composition, whole),
        "",
        *_programs(found, whole),
        f"Bottleneck: {found.sentence}.",
        "",
        *_effects(found, whole),
    ]
    if found.profiles:
        lines += ["", *_profiles(found)]
    lines += [
        "",
        f"Origin: step times {found.report.origin}, error {found.report.error}; a what-if carries it too",
    ]
    return [*lines, *(f"Note: {note}" for note in found.notes)]


def shown(value: float, unit: str) -> str:
    """A value of an objective with its unit."""
    if value == float("inf"):
        return "without end"
    return f"{value:.2%}" if unit == "share" else f"{table.significant(value * 1e3)} ms"


def _programs(found: Explanation, whole: bool) -> list[str]:
    """Where programs go, unless that is what was asked for."""
    if found.programs is None or found.objective.metric == found.programs.metric:
        return []
    return [*_composition(found.programs, whole), ""]


def _composition(composition: Composition, whole: bool) -> list[str]:
    from hasten.explain.labels import LABELS

    rise = composition.rise
    rows: list[list[str]] = []
    excess = list(composition.excess.items())
    for name, seconds in excess if whole else excess[:SHOWN_LABELS]:
        usual, tail = (group.labels.get(name, 0.0) for group in (composition.usual, composition.tail))
        rows.append(
            [LABELS[name], _ms(usual), _ms(tail), f"{seconds / rise:.0%}" if rise > 0 else table.MISSING]
        )
    hidden = [name for name, _ in excess[len(rows) :]]
    if hidden:
        usual, tail = (
            sum(group.labels.get(name, 0.0) for name in hidden)
            for group in (composition.usual, composition.tail)
        )
        share = f"{(tail - usual) / rise:.0%}" if rise > 0 else table.MISSING
        rows.append([f"{len(hidden)} more (--all)", _ms(usual), _ms(tail), share])
    rows.append(["total", _ms(composition.usual.seconds), _ms(composition.tail.seconds), ""])
    slowest = f"slowest {composition.tail.requests:,}"
    title = f"where {METRIC_NAMES.get(composition.metric, composition.metric.upper())} goes, ms"
    return table.table([title, "usual", slowest, "of the difference"], rows, right=(1, 2, 3)).splitlines()


def _ms(seconds: float) -> str:
    return table.number(seconds * 1e3, 2)


def _effects(found: Explanation, whole: bool) -> list[str]:
    from hasten.explain.fresh import CONFIDENCE

    unit = found.objective.unit
    effects = found.effects if whole else found.leading
    rows = [
        [
            each.change.text,
            each.change.kind,
            shown(each.value, unit),
            _percent(each.relative),
            f"[{_percent(each.interval.low)}, {_percent(each.interval.high)}]"
            if each.has_interval
            else ("" if each.makes_a_difference else "no difference"),
            "*" if each.is_clear else "",
        ]
        for each in effects
    ]
    header = ["what if", "kind", found.objective.text, "effect", f"{CONFIDENCE:.0%} of new traffic", ""]
    lines = table.table(header, rows, right=(2, 3, 4)).splitlines()
    hidden = len(found.effects) - len(rows)
    return [
        *lines,
        *([f"{hidden} more with less effect (--all)"] if hidden else []),
        "* = the interval, of the effect on new traffic of the same kind, leaves out 0",
    ]


def _percent(relative: float) -> str:
    if relative != relative:
        return table.MISSING
    if relative == float("inf"):
        return "no end"
    return f"{relative:+.0%}" if relative < MANY_TIMES else f"x {relative + 1:,.0f}"


def _profiles(found: Explanation) -> list[str]:
    unit = found.objective.unit
    shares = [f"{share:.0%} less time" for share, _ in found.profiles[0].values]
    rows = [[each.text, *(shown(value, unit) for _, value in each.values)] for each in found.profiles]
    header = [f"{found.objective.text} by resource", *shares]
    return table.table(header, rows, right=tuple(range(1, len(header)))).splitlines()
