"""Flags of the service level, and the limits they make."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _ArgumentGroup
from typing import TYPE_CHECKING

from hasten.cli.options import values
from hasten.core.request import SLO

if TYPE_CHECKING:
    from hasten.plan.constraints import Constraints

PERCENTILE = 99.0


def add_limits(parser: ArgumentParser) -> _ArgumentGroup:
    """Flags of the limits alone."""
    group = parser.add_argument_group("service level (times with their unit: 500ms, 1.5s, 2min)")
    group.add_argument("--ttft", type=values.duration, metavar="TIME", help="limit on arrival to first token")
    group.add_argument(
        "--tpot", type=values.duration, metavar="TIME", help="limit on the time per later output token"
    )
    group.add_argument("--e2e", type=values.duration, metavar="TIME", help="limit on arrival to last token")
    return group


def add_slo(parser: ArgumentParser) -> None:
    """Flags of the limits, and of how they must hold."""
    group = add_limits(parser)
    how = group.add_mutually_exclusive_group()
    how.add_argument(
        "--percentile",
        type=values.percentile,
        metavar="P",
        help=f"percentile of each limited time that must keep its limit (default {PERCENTILE:g})",
    )
    how.add_argument(
        "--attainment",
        type=values.share,
        metavar="SHARE",
        help="instead: share of requests that must meet all limits at once, such as 0.99",
    )


def slo_of(args: Namespace) -> SLO | None:
    """The limits in seconds; None when there are none."""
    if args.ttft is None and args.tpot is None and args.e2e is None:
        return None
    return SLO(ttft=args.ttft, tpot=args.tpot, e2e=args.e2e)


def constraints_of(args: Namespace) -> Constraints | None:
    """The limits and how they must hold; None without a limit. Raises InputError for a percentile of nothing."""
    from hasten.errors import InputError
    from hasten.plan.constraints import Constraints

    slo = slo_of(args)
    if slo is None:
        for name in ("percentile", "attainment"):
            if getattr(args, name) is not None:
                raise InputError(f"--{name} needs a limit: give --ttft, --tpot or --e2e")
        return None
    return Constraints(slo, PERCENTILE if args.percentile is None else args.percentile, args.attainment)
