"""Flags that describe a workload, and the workload they make."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _ArgumentGroup
from typing import TYPE_CHECKING, Any

from hasten.cli.options import values
from hasten.errors import InputError

if TYPE_CHECKING:
    from hasten.workload import Workload

DEFAULT = "azure-conv"


def add_workload(parser: ArgumentParser) -> None:
    """Flags of the workload."""
    group = parser.add_argument_group("workload")
    group.add_argument(
        "--workload",
        default=DEFAULT,
        metavar="WORK",
        help=f"trace file, shipped sample or synthetic spec (see `hasten workloads`; default {DEFAULT})",
    )
    group.add_argument(
        "--rate",
        type=values.rate,
        metavar="R",
        help="rescale arrivals to R requests/s in all, bursts keeping their shape; inf: all at once",
    )
    add_reading(group)
    group.add_argument(
        "--sessions",
        action="store_true",
        help="replay conversations: a turn arrives its thinking time after the answer before it",
    )
    group.add_argument(
        "--seed", type=values.whole, default=0, metavar="N", help="seed of everything random (default 0)"
    )


def add_reading(parser: ArgumentParser | _ArgumentGroup) -> None:
    """Flags of how a trace is read."""
    parser.add_argument("--limit", type=values.count, metavar="N", help="only the first N requests")
    parser.add_argument(
        "--format", metavar="NAME", help="trace format, where it is not recognised; or a reader.py"
    )
    parser.add_argument(
        "--drop-bad",
        action="store_true",
        help="leave out rows that can't be used, and count them, instead of stopping",
    )


def workload_of(args: Namespace, *, seed: int | None = None) -> Workload:
    """The workload that the flags describe; `seed` stands in for theirs. Raises InputError."""
    work = unscaled(args, seed=seed)
    return work if args.rate is None else work.scaled(rate=args.rate)


def unscaled(args: Namespace, *, seed: int | None = None) -> Workload:
    """The same at its own rate: thinking times are the user's, so they are found before gaps are scaled."""
    work = read(args, args.workload, seed=args.seed if seed is None else seed)
    if not args.sessions:
        return work
    try:
        return work.as_sessions()
    except InputError as error:
        raise InputError(f"--sessions: workload {args.workload}: {error}") from None


def read(args: Namespace, name: str, **options: Any) -> Workload:
    """The workload `name` under the flags of reading; errors speak of flags. Raises InputError."""
    from hasten.workload import parse_workload

    try:
        return parse_workload(name, limit=args.limit, format=args.format, drop_bad=args.drop_bad, **options)
    except InputError as error:
        text = str(error).replace("with drop_bad", "with --drop-bad").replace("with format", "with --format")
        raise InputError(text.replace(": format = ", ": --format ")) from None


def line_of(work: Workload, name: str) -> str:
    """The workload in a few words: name, requests, rate, mean lengths."""
    what = f"{name}: {len(work):,} requests"
    if work.closed_loop is not None:
        what += f" from {work.closed_loop.concurrency:,} users"
    elif len(work) > 1:
        what += f" at {work.rate:.4g} req/s"
    what += (
        f", mean prompt {work.prompt_tokens.mean():,.0f} and output {work.output_tokens.mean():,.0f} tokens"
    )
    if work.has_sessions:
        what += f", {int((work.parent >= 0).sum()):,} follow-up turns" if work.parent is not None else ""
    dropped = sum(rows.count for rows in work.dropped)
    return what + (f", {dropped:,} bad rows left out" if dropped else "")
