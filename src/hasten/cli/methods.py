"""Published methods: what each decides, its paper, its parameters, and whether its claim was found to hold.

Policies are chosen by name on the command line; methods of other roles are functions. Verdicts are those of the last
recorded run of `hasten reproduce`.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from hasten.claims.harness.claim import EVIDENCE
from hasten.claims.harness.methods import Method, all_roles, list_methods, method_of
from hasten.cli.options import catalogue
from hasten.cli.output import table, text
from hasten.errors import InputError
from hasten.policies import policy_card, role_of, roles

HELP = "published methods by role: paper, year, evidence, verdict on its claim"
EXAMPLE = "hasten methods show sjf"

_TITLE_WIDTH = 60


def configure(parser: ArgumentParser) -> None:
    """Declare the options."""
    catalogue.add_show(parser, "method", "sjf, schedule/sjf or ./mine.py")
    parser.add_argument(
        "--role", choices=all_roles(), metavar="ROLE", help=f"only this role: {', '.join(all_roles())}"
    )


def run(args: Namespace) -> int:
    """Print the list or one method."""
    name = catalogue.shown(args)
    if name is not None:
        method = _method(name, args.role)
        if args.json:
            text.show_json(method.to_dict())
        else:
            text.show(described(method))
        return 0
    found = list_methods(args.role)
    if args.json:
        text.show_json([method.to_dict() for method in found])
    else:
        text.show(listed(found))
    return 0


def listed(found: list[Method]) -> str:
    """One line per method."""
    rows = [
        (
            method.card.role,
            method.card.name,
            _shortened(method.title) or table.MISSING,
            table.MISSING if method.year is None else str(method.year),
            method.evidence or table.MISSING,
            method.verdict or table.MISSING,
        )
        for method in found
    ]
    return table.table(("role", "method", "paper", "year", "evidence", "verdict"), rows)


def _shortened(title: str) -> str:
    return title if len(title) <= _TITLE_WIDTH else f"{title[: _TITLE_WIDTH - 3].rstrip()}..."


def _method(name: str, role: str | None) -> Method:
    first, slash, rest = name.partition("/")
    if slash and first in all_roles():
        if role not in (None, first):
            raise InputError(f"--role {role} and {name} name different roles: drop one")
        role, name = first, rest
    others = [method for method in list_methods(role) if method.card.role not in roles()]
    for method in others:
        if method.card.name == name:
            return method
    if role is not None and role not in roles():
        known = ", ".join(method.card.name for method in others) or "none yet"
        raise InputError(f"{role} method {name!r} is unknown: use one of {known}")
    return method_of(policy_card(role_of(name) if role is None else role, name))


def described(method: Method) -> str:
    """A method in full."""
    card = method.card
    parameters = "\n".join(
        f"{each.name}: {each.type} = {each.default}" + (f"  # {each.comment}" if each.comment else "")
        for each in card.parameters
    )
    chosen = f"--{card.role} {card.name}" if card.role in roles() else ""
    if card.parameters:
        chosen += f":{card.parameters[0].name}={card.parameters[0].default}"
    verdict = f"{method.verdict} (see it again: hasten reproduce {method.claim})" if method.claim else ""
    return table.facts(
        [
            ("method", f"{card.name} ({card.role})"),
            ("does", card.summary),
            ("paper", card.paper),
            ("evidence", EVIDENCE.get(method.evidence, "")),
            ("use when", card.use_when),
            ("avoid when", card.avoid_when),
            ("differs", card.differs),
            ("needs", card.needs),
            ("parameters", parameters or ("none" if chosen else "")),
            ("choose it", chosen),
            ("claim", method.headline),
            ("verdict", verdict),
        ]
    )
