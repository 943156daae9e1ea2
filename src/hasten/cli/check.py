"""Run the conformance laws on a policy of yours: a file with one policy class, or the name of a built-in one.

The laws run over random small workloads chosen to hurt; the first violation ends the check. Exit status 1 when a law
is broken.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from hasten.cli.options import values
from hasten.cli.output import text
from hasten.cli.output.progress import Bar
from hasten.policies import role_of, roles

if TYPE_CHECKING:
    from hasten.testing import LawBroken

HELP = "run the conformance laws on a policy file"
EXAMPLE = "hasten check sjf --cases 5"

OK, BROKEN, OPEN = "ok", "BROKEN", "not decided"


def configure(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "policy", metavar="FILE.py", help="file with one policy class (or a name), :key=value appended"
    )
    parser.add_argument(
        "--role", choices=roles(), metavar="ROLE", help="its role, where the name stands in several"
    )
    parser.add_argument(
        "--cases", type=values.count, default=25, metavar="N", help="random workloads to try (default 25)"
    )
    parser.add_argument(
        "--seed", type=values.whole, default=0, metavar="N", help="seed of the cases (default 0)"
    )


def run(args: Namespace) -> int:
    """Check the policy and print every law."""
    from hasten.testing import LawBroken, check_policy

    role = role_of(args.policy) if args.role is None else args.role
    broken: LawBroken | None = None
    with Bar(f"checking {args.policy}") as bar:
        try:
            check_policy(args.policy, role, cases=args.cases, seed=args.seed, progress=bar)
        except LawBroken as error:
            broken = error
    if args.json:
        text.show_json(_figures(args, role, broken))
    else:
        text.show(_render(args, role, broken))
    return 0 if broken is None else 1


def verdicts(broken: LawBroken | None) -> list[tuple[str, str, str]]:
    """(law, verdict, what the law says); after a violation the others are not decided."""
    from hasten.testing.check import LAWS

    others = OK if broken is None else OPEN
    found = [(law.name, BROKEN if broken and broken.law == law.name else others, law.summary) for law in LAWS]
    if broken is not None and broken.law not in {name for name, _, _ in found}:
        found.append((broken.law, BROKEN, ""))
    return found


def _figures(args: Namespace, role: str, broken: LawBroken | None) -> dict[str, Any]:
    return {
        "policy": args.policy,
        "role": role,
        "cases": args.cases,
        "seed": args.seed,
        "held": broken is None,
        "laws": [{"law": law, "verdict": verdict, "says": says} for law, verdict, says in verdicts(broken)],
        "violation": None if broken is None else broken.message,
    }


def _render(args: Namespace, role: str, broken: LawBroken | None) -> str:
    rows = verdicts(broken)
    width = max(len(law) for law, _, _ in rows)
    lines = [f"{args.policy}: {role} policy, {args.cases} random workloads, seed {args.seed}"]
    lines += [f"  {verdict:<11} {law:<{width}}  {says}".rstrip() for law, verdict, says in rows]
    if broken is None:
        lines.append(f"all {len(rows)} laws hold")
    else:
        lines.append(f"{broken.law} is broken: {broken.message}")
    return "\n".join(lines)
