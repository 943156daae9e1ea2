"""`--report out.html`: the flag, and the page of a finished run."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _ArgumentGroup
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hasten.cli.options import policies, workload
from hasten.cli.output.progress import Bar
from hasten.errors import InputError

if TYPE_CHECKING:
    from hasten.explain.attribution import Attribution
    from hasten.explain.explanation import Explanation
    from hasten.page.run import Heading
    from hasten.plan import Plan
    from hasten.plan.constraints import Check
    from hasten.report.report import Report
    from hasten.sim.steps import StepLog
    from hasten.workload import Workload

SUFFIXES = (".html", ".htm")


def add_report(group: ArgumentParser | _ArgumentGroup, what: str) -> None:
    """The flag; `what` says what the page shows."""
    group.add_argument(
        "--report", type=Path, metavar="FILE", help=f"write a page that opens offline (.html): {what}"
    )


def check_report(path: Path | None) -> None:
    """Raise InputError now for a page that could not be written after the run."""
    if path is None:
        return
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"--report {path}: a report is a web page: give a name that ends in .html")
    if not path.parent.is_dir():
        raise InputError(f"--report {path}: folder {path.parent} does not exist: create it or name another")
    if path.is_dir():
        raise InputError(f"--report {path}: is a folder: give the name of a file")


def named(args: Namespace) -> str:
    """The policies in words."""
    return ", ".join(f"{role} {spec}" for role, spec in policies.policies_of(args).items() if spec)


def save_run(
    args: Namespace,
    made: Any,
    work: Workload,
    report: Report,
    *,
    log: StepLog | None,
    found: Attribution | None,
    checks: Sequence[Check] = (),
) -> None:
    """Write the page that --report asked for, if it did."""
    if args.report is None:
        return
    from hasten.explain.programs import programs_of
    from hasten.page.document import save
    from hasten.page.run import run_data

    heading = _heading(args, made, work, checks)
    programs = None if found is None else programs_of(found, work)
    data = run_data(heading, report, found=found, programs=programs, log=log)
    save(args.report, f"{made.model.name} on {made.label}", data)


def save_explained(args: Namespace, made: Any, work: Workload, found: Explanation) -> None:
    """Write the page of an explained run that --report asked for, if it did."""
    if args.report is None:
        return
    from hasten.cli.options import slo
    from hasten.explain.programs import programs_of
    from hasten.page.document import save
    from hasten.page.run import run_data

    constraints = slo.constraints_of(args)
    checks = () if constraints is None else constraints.check(found.report.records)
    programs = programs_of(found.attribution, work)
    data = run_data(
        _heading(args, made, work, checks), found.report, found=found.attribution, programs=programs
    )
    save(args.report, f"Why {made.model.name} is slow", data | {"explanation": found.to_dict()})


def _heading(args: Namespace, made: Any, work: Workload, checks: Sequence[Check]) -> Heading:
    from hasten.page.run import Heading

    return Heading(
        model=made.model.name,
        deployment=f"{made.label}, {made.profile.name}",
        workload=workload.line_of(work, args.workload),
        policies=f"{named(args)}; seed {args.seed}",
        checks=[(check.text, check.holds) for check in checks],
    )


def load_of(args: Namespace, found: Plan, work: Workload) -> list[dict[str, Any]]:
    """The best deployment at ten rates, where a page or a chart asks for it; empty when nothing holds."""
    best = found.best
    if best is None or not best.capacity > 0.0 or (args.report is None and (args.json or not args.plot)):
        return []
    from hasten.page.load import load_curve

    chosen = {role: spec for role, spec in policies.policies_of(args).items() if spec is not None}
    with Bar(f"playing {best.label} under load") as bar:
        return load_curve(
            best.deployment,
            work,
            found.constraints,
            capacity=best.capacity,
            policies=chosen,
            seed=args.seed,
            progress=bar,
        )


def save_plan(args: Namespace, found: Plan, work: Workload, curve: Sequence[dict[str, Any]]) -> None:
    """Write the page that --report asked for, if it did; `curve` is what `load_of` gives."""
    if args.report is None:
        return
    from hasten.page.document import save
    from hasten.page.plan import plan_data
    from hasten.page.run import Heading

    best = found.best
    heading = Heading(
        model=found.model,
        deployment=best.label if best else "no deployment holds",
        workload=workload.line_of(work, args.workload),
        policies=f"{found.engine}, {named(args)}; seed {args.seed}",
        checks=[(check.text, check.holds) for check in best.outcome.checks] if best else [],
    )
    save(args.report, f"A plan for {found.model}", plan_data(heading, found, work, curve=curve))


def save_compared(
    args: Namespace, heading: str, reports: Mapping[str, Sequence[Report]], figures: Sequence[dict[str, Any]]
) -> None:
    """Write the page of a comparison that --report asked for, if it did."""
    if args.report is None:
        return
    from hasten.page.compare import compare_data
    from hasten.page.document import save
    from hasten.page.run import Heading

    model, _, traffic = heading.partition("; ")
    words = Heading(model=model, deployment=f"{len(reports)} sides", workload=traffic)
    save(args.report, f"{model}: {len(reports)} sides", compare_data(words, reports, figures))
