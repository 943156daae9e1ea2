"""Every policy in the folders keeps every law. Nothing is listed here: a new file is tested because it is there."""

import pickle

import pytest

from hasten.core.limits import Limits
from hasten.core.policy import SchedulingPolicy
from hasten.core.request import Request
from hasten.core.scheduler import Scheduler
from hasten.errors import InputError
from hasten.policies import load_policy, policy_card, policy_names, roles
from hasten.testing import LawBroken, check_books, check_policy, random_case
from hasten.testing.check import LAWS
from hasten.testing.laws import Trial, difference

BUILT_IN = [(role, name) for role in roles() for name in policy_names(role)]
VARIANTS = [
    ("schedule", "static:batch_size=3,hold=false"),
    ("schedule", "static:batch_size=3,wait=0.05"),
    ("schedule", "static:batch_size=4,wait=inf"),
    ("admit", "slo_gate:factor=0.3"),
    ("length", "quantile:q=0.5,window=3"),
    ("route", "prefix_affinity:overload=1,slack=0"),
]


@pytest.mark.parametrize(("role", "spec"), BUILT_IN + VARIANTS)
def test_every_policy_keeps_the_laws(role: str, spec: str) -> None:
    checked = check_policy(spec, role, cases=3, seed=11)
    assert checked.laws == LAWS
    assert (checked.role, checked.cases) == (role, 3)


@pytest.mark.parametrize(("role", "name"), BUILT_IN)
def test_every_policy_has_a_full_card(role: str, name: str) -> None:
    card = policy_card(role, name)
    assert (card.role, card.name) == (role, name)
    for text in (card.summary, card.paper, card.differs, card.needs):
        assert text.endswith(".")
    for parameter in card.parameters:
        assert parameter.comment, f"{name}: {parameter.name} says neither unit nor meaning"
        assert parameter.default is not None


def test_cases_cover_what_hurts() -> None:
    """Preemption, reuse, queues, rejections, both loops: otherwise the laws are tried on nothing."""
    preempted = cached = late = turned_away = 0
    depths, replicas = set(), set()
    for number in range(40):
        case = random_case("schedule", number, 5)
        outcome = Trial(case, "admit", _pickled("always")).jumped
        preempted += sum(row.preemptions for row in outcome.rows.values())
        cached += sum(row.cached_tokens for row in outcome.rows.values())
        late += sum(row.scheduled > row.queued for row in outcome.rows.values())
        turned_away += sum(row.status == 1 for row in outcome.rows.values())
        depths.add(case.depth)
        replicas.add(case.replicas)
    assert preempted > 100
    assert cached > 200
    assert late > 100
    assert turned_away > 5
    assert depths == {1, 2}
    assert len(replicas) > 1


def _pickled(name: str) -> bytes:
    return pickle.dumps(load_policy("admit", name))


def test_cases_depend_on_seed_and_number_alone() -> None:
    assert random_case("route", 3, 1) == random_case("route", 3, 1) or str(random_case("route", 3, 1)) == str(
        random_case("route", 3, 1)
    )
    assert random_case("route", 3, 1).calls != random_case("route", 3, 2).calls
    assert random_case("route", 3, 1).calls != random_case("route", 4, 1).calls


def test_difference_names_the_request_and_the_field() -> None:
    trial = Trial(random_case("schedule", 2, 0), "admit", _pickled("always"))
    other = trial.run(trial.case)
    assert difference(trial.jumped, other) is None
    some = max(other.rows)
    other.rows[some] = other.rows[some]._replace(finish=99.0)
    assert f"request {some}: finish" in (difference(trial.jumped, other) or "")


def test_books_are_recounted() -> None:
    scheduler = Scheduler(Limits(num_blocks=10, block_size=4), SchedulingPolicy())
    scheduler.add(Request(1, 0.0, 9, 5), 0.0)
    assert scheduler.schedule(0.0) is not None
    check_books(scheduler)
    scheduler.pool.take(1)
    with pytest.raises(LawBroken, match=r"books: KV blocks: 6 free \+ 3 held = 9 of 10"):
        check_books(scheduler)


def test_books_notice_a_lost_member() -> None:
    scheduler = Scheduler(Limits(num_blocks=10, block_size=4), SchedulingPolicy())
    scheduler.add(Request(1, 0.0, 9, 5), 0.0)
    scheduler.schedule(0.0)
    scheduler.group.size += 1
    with pytest.raises(LawBroken, match="sequences that decode: the scheduler says 2, recounted 1"):
        check_books(scheduler)


def test_progress_is_reported() -> None:
    seen: list[tuple[int, int]] = []
    check_policy("fcfs", cases=3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_no_such_policy() -> None:
    with pytest.raises(InputError, match="policy 'fcsf' is unknown: fcfs"):
        check_policy("fcsf")
