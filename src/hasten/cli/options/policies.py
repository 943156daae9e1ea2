"""Flags that choose policies. Roles and names come from the policies folder."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _ArgumentGroup
from typing import Any

from hasten.cli.options import values

DEFAULTS: dict[str, str | None] = {
    "schedule": "fcfs",
    "route": "round_robin",
    "cache": "lru",
    "admit": "always",
    "length": None,
}
_QUESTIONS = {
    "schedule": "who goes next",
    "route": "which replica serves a request",
    "cache": "which cached blocks stay",
    "admit": "whether a request may enter",
    "length": "how long an answer will be, for policies that ask",
}


def add_policies(parser: ArgumentParser, *, several: bool = False) -> None:
    """One flag per role; with `several` each takes a comma list."""
    group = parser.add_argument_group("policies (name, name:key=value, or ./file.py; see `hasten methods`)")
    for role, default in DEFAULTS.items():
        listed = None if default is None else [default]
        group.add_argument(
            f"--{role}",
            type=values.items if several else str,
            metavar="POLICY,..." if several else "POLICY",
            default=listed if several else default,
            help=f"{_QUESTIONS[role]} (default {default or 'nobody knows'})",
        )


def policies_of(args: Namespace) -> dict[str, Any]:
    """Role to policy (or to the list of them), as keywords of `simulate`; None where there is none."""
    return {role: getattr(args, role) for role in DEFAULTS}


def add_speeds(group: _ArgumentGroup) -> None:
    """The flag of replicas that are slower than the others."""
    group.add_argument(
        "--replica-speeds",
        type=values.speeds,
        default=(),
        metavar="S,...",
        help="speed of each replica, 1 being nominal: 1,1,0.5 has a straggler",
    )
