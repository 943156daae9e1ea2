"""All published methods: policies and other functions, each with its paper and with what its claim was found to be."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from hasten.claims.harness.catalogue import claim_names, docstring, load_claim
from hasten.claims.harness.claim import OTHER_ROLES
from hasten.claims.harness.record import recorded, static_part
from hasten.policies import PolicyCard, policy_card, policy_names, roles
from hasten.policies.card import sections_of

_TITLE = re.compile(r'"(?P<title>[^"]+)"')
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method in one role. Without a claim `evidence` and `verdict` are empty; without a year it is None."""

    card: PolicyCard
    year: int | None = None
    evidence: str = ""
    claim: str = ""
    headline: str = ""
    verdict: str = ""

    @property
    def title(self) -> str:
        """The paper's title; empty without a paper."""
        found = _TITLE.search(self.card.paper)
        return found["title"] if found else ""

    def to_dict(self) -> dict[str, Any]:
        """Everything known, under plain keys."""
        rest = {key: getattr(self, key) for key in ("year", "evidence", "claim", "headline", "verdict")}
        return asdict(self.card) | rest


def all_roles() -> tuple[str, ...]:
    """Roles of policies, then those of other functions."""
    return (*roles(), *OTHER_ROLES)


def list_methods(role: str | None = None) -> list[Method]:
    """All methods, or those of one role: policies in the order of roles, then the others."""
    claims = _by_method()
    found = [
        method_of(policy_card(each, name), claims)
        for each in roles()
        if role in (None, each)
        for name in policy_names(each)
    ]
    others = [key.partition("/") for key in claims if key.partition("/")[0] in OTHER_ROLES]
    order = list(OTHER_ROLES)
    for each, _, name in sorted(others, key=lambda key: (order.index(key[0]), key[2])):
        if role in (None, each):
            found.append(method_of(_card_of_claim(each, name, claims[f"{each}/{name}"]), claims))
    return found


def method_of(card: PolicyCard, claims: dict[str, dict[str, Any]] | None = None) -> Method:
    """A policy's card with its claim."""
    known = _by_method() if claims is None else claims
    claim = known.get(f"{card.role}/{card.name}")
    if claim is None:
        year = _YEAR.search(card.paper)
        return Method(card=card, year=int(year[0]) if year else None)
    return Method(
        card=card,
        year=claim["year"],
        evidence=claim["evidence"],
        claim=claim["claim"],
        headline=claim["headline"],
        verdict=claim.get("verdict", "not recorded"),
    )


def _by_method() -> dict[str, dict[str, Any]]:
    """Recorded results (or static parts, where nothing is recorded) by role/name of what they are about."""
    found: dict[str, dict[str, Any]] = {}
    for name in claim_names():
        result = recorded(name) or static_part(name, load_claim(name))
        found |= dict.fromkeys(result["methods"], result)
    return found


def _card_of_claim(role: str, name: str, claim: dict[str, Any]) -> PolicyCard:
    """The card of a method that is no policy: its claim's docstring says what a policy's would."""
    sections = sections_of(docstring(claim["claim"]))
    return PolicyCard(
        role,
        name,
        sections[""],
        paper=f'"{claim["paper"].partition(", ")[0]}"{claim["paper"][claim["paper"].find(", ") :]}',
        differs=sections["Differs"],
        needs=sections["Needs"],
        use_when=sections["Use when"],
        avoid_when=sections["Avoid when"],
    )
