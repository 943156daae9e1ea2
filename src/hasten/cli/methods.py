"""Published methods that can be chosen by name: what each decides, its paper, its parameters."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from typing import Any

from hasten.cli.options import catalogue
from hasten.cli.output import table, text
from hasten.errors import InputError
from hasten.policies import PolicyCard, policy_card, policy_names, role_of, roles

HELP = "policies by role: scheduling, routing, caching, admission, length prediction"
EXAMPLE = "hasten methods show sjf"


def configure(parser: ArgumentParser) -> None:
    """Declare the options."""
    catalogue.add_show(parser, "method", "sjf, schedule/sjf or ./mine.py")
    parser.add_argument(
        "--role", choices=roles(), metavar="ROLE", help=f"only this role: {', '.join(roles())}"
    )


def run(args: Namespace) -> int:
    """Print the list or one method."""
    name = catalogue.shown(args)
    if name is not None:
        card = _card(name, args.role)
        if args.json:
            text.show_json(_figures(card))
        else:
            text.show(_described(card))
        return 0
    cards = [
        policy_card(role, each)
        for role in roles()
        if args.role in (None, role)
        for each in policy_names(role)
    ]
    if args.json:
        text.show_json([_figures(card) for card in cards])
    else:
        text.show(listed(cards))
    return 0


def listed(cards: list[PolicyCard]) -> str:
    """One line per method."""
    return table.table(
        ("role", "method", "what it does"), [(card.role, card.name, card.summary) for card in cards]
    )


def _card(name: str, role: str | None) -> PolicyCard:
    first, slash, rest = name.partition("/")
    if slash and first in roles():
        if role not in (None, first):
            raise InputError(f"--role {role} and {name} name different roles: drop one")
        role, name = first, rest
    return policy_card(role_of(name) if role is None else role, name)


def _figures(card: PolicyCard) -> dict[str, Any]:
    return asdict(card)


def _described(card: PolicyCard) -> str:
    parameters = "\n".join(
        f"{each.name}: {each.type} = {each.default}" + (f"  # {each.comment}" if each.comment else "")
        for each in card.parameters
    )
    chosen = card.name
    if card.parameters:
        chosen += f":{card.parameters[0].name}={card.parameters[0].default}"
    return table.facts(
        [
            ("method", f"{card.name} ({card.role})"),
            ("does", card.summary),
            ("paper", card.paper),
            ("differs", card.differs),
            ("needs", card.needs),
            ("parameters", parameters or "none"),
            ("choose it", f"--{card.role} {chosen}"),
        ]
    )
