"""Find the cheapest deployment that serves a workload within its limits, and say how sure that is.

Every device, split and number of replicas that fits is bounded, then simulated on a sample, and the cheapest are
verified on the whole workload. Exit status 1 when nothing holds: the nearest miss is shown then.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from hasten.cli.options import delivery, deployment, policies, slo, values, workload
from hasten.cli.options.plot import add_plot, look_of
from hasten.cli.output import page, text
from hasten.cli.output.progress import Bar
from hasten.errors import InputError

if TYPE_CHECKING:
    from hasten.explain.explanation import Explanation
    from hasten.plan import Plan
    from hasten.workload import Workload

HELP = "the cheapest deployment that holds your limits on your traffic"
EXAMPLE = "hasten plan llama-3.1-8b --rate 4 --limit 4000 --ttft 1s --tpot 50ms --devices h100-sxm,l40s"


def configure(parser: ArgumentParser) -> None:
    """Declare the options."""
    deployment.add_model(parser)
    workload.add_workload(parser)
    slo.add_slo(parser)
    group = parser.add_argument_group("deployments to choose among")
    group.add_argument(
        "--devices",
        type=values.items,
        metavar="NAME,...",
        help="devices, built-in or .toml files (default: those that clouds rent out most)",
    )
    group.add_argument("--max-devices", type=values.count, metavar="N", help="devices in all, at most")
    for name, what in (
        ("tp", "tensor parallel sizes (default 1,2,4,8)"),
        ("pp", "pipeline parallel sizes (default 1, more where nothing else fits)"),
        ("ep", "expert parallel sizes: 1 or tp (default both)"),
    ):
        group.add_argument(f"--{name}", type=values.counts, metavar="N,...", help=what)
    group.add_argument("--kv-dtypes", type=values.items, metavar="TYPE,...", help="KV cache types to try")
    _add_search(parser)
    policies.add_policies(parser)
    deployment.add_engine(parser)
    delivery.add_delivery(parser, "--out")
    group = parser.add_argument_group("more about it")
    group.add_argument(
        "--explain",
        action="store_true",
        help="play the chosen deployment again: where its milliseconds go, what binds, what one change would buy",
    )
    add_plot(group, "what deployments trade in speed, yield and cost, and load up to saturation")
    page.add_report(group, "what deployments trade, load up to saturation")


def _add_search(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("search")
    group.add_argument(
        "--capacity",
        action="store_true",
        help="instead of planning for a rate: the highest rate each shape holds, on --max-devices or one replica",
    )
    group.add_argument(
        "--confidence",
        type=values.confidence,
        default=0.5,
        metavar="PERCENT",
        help="plan with steps as slow as they may be at this confidence, and say what that costs (default 50)",
    )
    group.add_argument(
        "--pessimism",
        type=values.share,
        default=0.0,
        metavar="SHARE",
        help="plan as if every step took this share longer than predicted, such as 0.25",
    )
    group.add_argument("--jobs", type=values.jobs, metavar="N", help="processes (default: all cores)")
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="run on a Ray cluster: host:port, auto or local (pip install 'hasten[ray]')",
    )
    group.add_argument(
        "--journal",
        metavar="FILE",
        help="keep every result in FILE as it comes; after a crash the same command goes on with it",
    )


def run(args: Namespace) -> int:
    """Print the plan; 1 when nothing holds."""
    limits = slo.slo_of(args)
    if limits is None:
        raise InputError("a plan needs a limit: give --ttft, --tpot or --e2e, such as --ttft 500ms")
    delivery.check(args)
    page.check_report(args.report)
    work = _work_of(args)
    found = _plan(args, work, limits)
    curve = page.load_of(args, found, work)
    page.save_plan(args, found, work, curve)
    written = _deliver(args, found, work)
    why = _explained(found) if args.explain else None
    if args.json:
        told = {} if why is None else {"explanation": why.to_dict()}
        text.show_json({**found.to_dict(), "seed": args.seed, **told})
    else:
        from hasten.plan.table import render

        named = ", ".join(f"{role} {spec}" for role, spec in policies.policies_of(args).items() if spec)
        head = f"{found.model} on {found.engine}, {named}\n{workload.line_of(work, args.workload)}"
        text.show("\n".join([head, render(found), *written]))
        if why is not None and found.best is not None:
            from hasten.cli.explain import render as render_why

            text.show("\n".join(["", f"{found.best.label} at the rate above:", *render_why(why)]))
        look = look_of(args)
        if look is not None:
            from hasten.cli.output.plot import charts

            text.show("\n" + charts.of_plan(found, work, curve, look))
            if why is not None:
                text.show("\n" + charts.of_explanation(why, look))
    return 0 if found else 1


def _explained(found: Plan) -> Explanation | None:
    """Why the best deployment is as slow as it is, where there is one."""
    if found.best is None:
        return None
    with Bar(f"explaining {found.best.label}") as bar:
        return found.best.explain(progress=bar)


def _deliver(args: Namespace, found: Plan, work: Workload) -> list[str]:
    """Files for the best deployment, where there is one."""
    if found.best is None:
        return []
    told = {"origin": found.origin, "error": found.error, "confidence": found.confidence, "seed": args.seed}
    rate = found.best.capacity if args.capacity else found.rate
    chosen = {role: spec for role, spec in policies.policies_of(args).items() if spec is not None}
    return delivery.deliver(
        args, found.best.deployment, work, {**found.best.to_dict(), **told}, rate=rate, policies=chosen
    )


def _work_of(args: Namespace) -> Workload:
    if args.capacity and args.rate is not None:
        raise InputError("--capacity finds the rate: leave --rate out")
    if args.kv_dtypes is not None and args.kv_dtype is not None:
        raise InputError("--kv-dtype fixes what --kv-dtypes lists: give one of them")
    return workload.workload_of(args)


def _plan(args: Namespace, work: Workload, limits: Any) -> Plan:
    from hasten.hardware import load_device
    from hasten.plan import plan
    from hasten.plan.candidates import DEVICES

    settings = deployment.settings_of(args)
    kv_dtype = settings.pop("kv_dtype", "auto")
    devices = [load_device(name, prices=args.prices) for name in args.devices or DEVICES]
    chosen = {role: spec for role, spec in policies.policies_of(args).items() if spec is not None}
    with Bar(f"planning {args.model}") as bar:
        return plan(
            args.model,
            work,
            limits,
            devices=devices,
            engine=args.engine,
            rate="capacity" if args.capacity else None,
            max_devices=args.max_devices,
            tp=args.tp,
            pp=args.pp,
            ep=args.ep,
            policies=chosen,
            attainment=args.attainment,
            percentile=slo.PERCENTILE if args.percentile is None else args.percentile,
            kv_dtypes=args.kv_dtypes or (kv_dtype,),
            settings=settings,
            pessimism=args.pessimism,
            confidence=args.confidence,
            seed=args.seed,
            jobs=args.jobs,
            ray=args.ray,
            journal=args.journal,
            progress=bar,
            tell=bar.line if args.ray or args.journal else None,
        )
