"""Open a local page where model, device, replicas, knobs, policy, rate and limits are controls: every movement plays
the workload again.

The page is for this machine only: its address holds a random token, and other hosts and origins are refused. It offers
what is built in and what is named here, and reads no other file. It runs until Ctrl-C.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hasten.cli.options import values
from hasten.cli.output import text
from hasten.errors import InputError

if TYPE_CHECKING:
    from hasten.page.server import LiveServer

HELP = "a local page whose controls play the workload again as they move"
EXAMPLE = "hasten ui --model llama-3.1-8b --device l40s --workload azure-conv"
EXAMPLE_NOT_RUN = "runs until it is stopped"

OFFERED = ("model", "device", "workload", "engine", "schedule", "route", "cache")
HIGHEST_PORT = 65_535


def configure(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "scenario", type=Path, nargs="?", metavar="FILE", help="a scenario that the page saved (.json)"
    )
    group = parser.add_argument_group("where the page begins, and what it offers beside what is built in")
    for name in OFFERED:
        group.add_argument(f"--{name}", metavar="NAME", help=f"{name}: a name, or a file of yours")
    group = parser.add_argument_group("server")
    group.add_argument(
        "--port", type=values.whole, default=0, metavar="N", help="port (default: any free one)"
    )
    group.add_argument("--open", action="store_true", help="open the page in the browser")


def run(args: Namespace) -> int:
    """Serve until Ctrl-C."""
    server = server_of(args)
    with server:
        text.show_json({"address": server.address}) if args.json else text.show(server.address)
        sys.stdout.flush()
        print("hasten: serving on this machine only; Ctrl-C stops it", file=sys.stderr)
        if args.open:
            import webbrowser

            webbrowser.open(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


def server_of(args: Namespace) -> LiveServer:
    """The server, bound but not serving. Raises InputError for names that can't be and a port that is taken."""
    from hasten.page.scenario import controls, load_scenario, scenario
    from hasten.page.server import LiveServer

    if args.port > HIGHEST_PORT:
        raise InputError(f"--port {args.port}: ports end at {HIGHEST_PORT}")
    named = {name: getattr(args, name) for name in OFFERED if getattr(args, name) is not None}
    given = {} if args.scenario is None else load_scenario(args.scenario)
    known = controls({name: (value,) for name, value in named.items()})
    start = scenario({**given, **named}, known)
    _check_names(named)
    try:
        return LiveServer(args.port, known, start)
    except OSError as error:
        raise InputError(f"--port {args.port}: {error.strerror}: name another, or leave it out") from error


def _check_names(named: dict[str, str]) -> None:
    """Raise InputError now for a name that nothing stands behind."""
    from hasten.hardware import load_device
    from hasten.models import load_model
    from hasten.policies import load_policy
    from hasten.profiles import load_profile
    from hasten.workload import parse_workload

    checks: dict[str, Callable[[str], object]] = {
        "model": load_model,
        "device": load_device,
        "engine": load_profile,
    }
    for name, value in named.items():
        if name in checks:
            checks[name](value)
        elif name == "workload":
            parse_workload(value, limit=10)
        else:
            load_policy(name, value)
