"""Whether charts are drawn in the terminal."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace, _ArgumentGroup

from hasten.cli.output.plot.look import Look, look_at


def add_plot(group: ArgumentParser | _ArgumentGroup, what: str) -> None:
    """The flag; `what` says what is drawn."""
    group.add_argument(
        "--plot",
        action="store_true",
        help=f"draw in the terminal, as wide as it is: {what} (NO_COLOR and plain ASCII are respected)",
    )


def look_of(args: Namespace) -> Look | None:
    """How to draw on standard output; None when nothing is to be drawn."""
    return look_at(sys.stdout) if args.plot and not args.json else None
