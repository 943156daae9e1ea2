"""Broken policies are caught, each by the law that it breaks, with a message that says what, where and how much."""

import pickle
from dataclasses import dataclass

import pytest

from hasten.core.policy import SchedulingPolicy
from hasten.errors import InputError
from hasten.testing import LawBroken, check_policy
from policies import broken_policies as broken

CAUGHT = [
    (broken.WrongHorizon, "jump_equals_step", r"request \d+.* stepping.* jumping.*horizon\(\)"),
    (broken.GlobalCounter, "same_seed", r"two runs of one case differ: request \d+"),
    (broken.GlobalRandom, "same_seed", r"two runs of one case differ: request \d+"),
    (broken.WallClock, "same_seed", "two runs of one case differ"),
    (broken.Starves, "finishes", r"\d+ of \d+ requests wait for ever, first request \d+"),
    (broken.ForgottenAlarm, "finishes", "wait for ever"),
    (broken.Insomniac, "finishes", "requests wait for ever"),
    (broken.Greedy, "proposals", r"Greedy.chunk returned \d+: request \d+ may compute 0 to \d+ tokens"),
    (broken.NotANumber, "proposals", "NotANumber.rank returned nan"),
    (broken.WrongVictim, "proposals", r"must be one of view.running, or None \(its status is 0\)"),
    (broken.Crashes, "raises_nothing", "KeyError: 0"),
    (broken.Rewrites, "reads_only", r"request \d+: priority was \d and is -1 now"),
    (broken.Thief, "books", r"KV blocks: \d+ free \+ \d+ held = \d+ of \d+"),
    (broken.SetOrder, "order_independent", "with other ids in the same order the result changes"),
    (broken.Unpicklable, "picklable", "Unpicklable can't be pickled"),
    (broken.Nowhere, "proposals", "Nowhere.choose returned -3: it must be an index from 0"),
    (broken.StaleRouter, "jump_equals_step", "reads_progress = False"),
    (broken.Blindfolded, "jump_equals_step", "reads_load = False"),
    (broken.GlobalScore, "same_seed", "two runs of one case differ"),
    (
        broken.SecretOracle,
        "no_peeking",
        r"request \d+: predicted \d+ tokens, and \d+ when its answer is longer",
    ),
    (
        broken.Pessimist,
        "proposals",
        "Pessimist.predict returned 0.0: it must be a finite number of tokens above 0",
    ),
    (broken.Undecided, "proposals", "Undecided.decide returned None: it must be True or False"),
]


@pytest.mark.parametrize(
    ("policy", "law", "says"), CAUGHT, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_broken_policy_is_caught_by_its_law(policy: type, law: str, says: str) -> None:
    with pytest.raises(LawBroken, match=says) as caught:
        check_policy(policy(), cases=25, seed=0)
    assert caught.value.law == law
    if law != "picklable":
        assert f"[{policy.__name__}, case " in str(caught.value)


def test_an_oracle_that_says_so_is_let_through() -> None:
    check_policy(broken.OpenOracle(), cases=6)


def test_declared_starvation_is_let_through() -> None:
    check_policy(broken.DeclaredStarvation(), cases=6)


def test_the_named_case_comes_back() -> None:
    """What a message names can be run again: the same seed breaks in the same case."""
    messages = []
    for _ in range(2):
        with pytest.raises(LawBroken) as caught:
            check_policy(broken.WrongHorizon(), cases=25, seed=3)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_a_class_is_no_policy() -> None:
    with pytest.raises(InputError, match="must be an instance"):
        check_policy(broken.Greedy)


def test_a_local_class_is_not_picklable() -> None:
    @dataclass
    class Local(SchedulingPolicy):
        """Defined inside a function."""

    with pytest.raises(LawBroken, match="picklable: Local can't be pickled"):
        check_policy(Local())


def test_law_broken_is_an_assertion() -> None:
    assert issubclass(LawBroken, AssertionError)
    error = LawBroken("books", "one is missing")
    assert (str(error), error.law, error.message) == ("books: one is missing", "books", "one is missing")
    assert pickle.loads(pickle.dumps(broken.Greedy())) == broken.Greedy()
