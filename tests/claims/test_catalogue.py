"""Every claim in the folder says what it must, is recorded, and its falsifiers hold."""

import re

import pytest

from hasten.claims.harness.catalogue import claim_names, docstring, load_claim
from hasten.claims.harness.claim import OTHER_ROLES
from hasten.claims.harness.methods import list_methods
from hasten.claims.harness.record import recorded, static_part
from hasten.errors import InputError
from hasten.policies import policy_card, policy_names, roles

NAMES = claim_names()


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_says_what_it_is_about(name: str) -> None:
    claim = load_claim(name)
    assert str(claim.paper.year) in claim.paper.cite
    assert claim.num_seeds >= 1
    for method in claim.methods:
        role, _, own = method.partition("/")
        if role in roles():
            assert own in policy_names(role)
        else:
            assert role in OTHER_ROLES
    for text in (claim.paper.headline, claim.setting, claim.baseline):
        assert text
        assert not text.endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_says_when_to_use_the_method(name: str) -> None:
    cards = [policy_card(*m.split("/")) for m in load_claim(name).methods if m.split("/")[0] in roles()]
    if cards:
        assert any(card.use_when and card.avoid_when for card in cards)
    else:
        assert re.search("^Use when: ", docstring(name), re.MULTILINE)
        assert re.search("^Avoid when: ", docstring(name), re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_the_record_is_of_this_claim_and_nothing_refutes_it(name: str) -> None:
    result = recorded(name)
    assert result is not None, f"run `hasten reproduce {name} --record`"
    said = static_part(name, load_claim(name))
    assert {key: result[key] for key in said} == said
    assert result["origin"]
    assert [each["setting"] for each in result["falsifiers"] if not each["holds"]] == []


def test_no_method_has_two_claims() -> None:
    methods = [method for name in NAMES for method in load_claim(name).methods]
    assert len(methods) == len(set(methods))
    listed = {f"{each.card.role}/{each.card.name}" for each in list_methods()}
    assert set(methods) <= listed


def test_an_unknown_claim_comes_with_the_nearest() -> None:
    with pytest.raises(InputError, match="'token_limits' is unknown: use one of token_limit"):
        load_claim("token_limits")
