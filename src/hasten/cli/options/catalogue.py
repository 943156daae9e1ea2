"""The two forms of every catalogue command: the list, and `show NAME`."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from hasten.errors import InputError


def add_show(parser: ArgumentParser, what: str, example: str) -> None:
    """The positionals `show NAME`; without them everything is listed."""
    parser.add_argument("show", nargs="?", metavar="show", help=f"one {what} in full instead of the list")
    parser.add_argument("name", nargs="?", metavar="NAME", help=f"its name, such as {example}")


def shown(args: Namespace) -> str | None:
    """The name after `show`; None for the list. Raises InputError for anything else."""
    if args.show is None:
        return None
    if args.show != "show":
        raise InputError(f"{args.show}: unknown word: write `show {args.show}` to see one in full")
    if args.name is None:
        raise InputError("show needs a name: add one from the list")
    return str(args.name)
