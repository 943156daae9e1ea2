"""Policies that know programs, in cases small enough to follow by hand."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasten.core.limits import Limits
from hasten.core.policy import CachePolicy, SchedulingPolicy
from hasten.core.request import FINISHED, SHARED, WAITING, Request, Segment
from hasten.core.scheduler import Scheduler
from hasten.core.view import ClusterView, ReplicaView
from hasten.errors import InputError
from hasten.policies import load_policy
from hasten.policies.cache.continuum import Lifetimes, Regularity, ToolTimes
from policies.play import calls, firsts, play

ONE = Limits(1000, max_num_seqs=1)


def test_the_program_served_least_goes_first() -> None:
    """Program 0 had 40 steps when it queues before program 1's first call, behind program 2's; one slot."""
    arriving = calls((0, 0.41, 0.42, 0.43), (5, 5, 5, 5), (40, 20, 5, 5), session=(0, 2, 0, 1))
    plain = play(arriving, ONE)
    assert firsts(plain) == [0, 1, 2, 3]
    assert firsts(play(arriving, ONE, schedule="autellix:first=0.1")) == [0, 1, 3, 2]
    assert firsts(play(arriving, ONE, schedule="autellix:first=1")) == [0, 1, 2, 3]  # one class: by arrival


def test_a_call_that_waited_long_is_promoted() -> None:
    """Its program ran 0.4 s: with beta 0.25 it counts as new after 0.1 s, before program 1's call comes."""
    arriving = calls((0, 0.41, 0.42, 0.55), (5, 5, 5, 5), (40, 20, 5, 5), session=(0, 2, 0, 1))
    assert firsts(play(arriving, ONE, schedule="autellix:first=0.1,beta=0.25")) == [0, 1, 2, 3]
    assert firsts(play(arriving, ONE, schedule="autellix:first=0.1,beta=inf")) == [0, 1, 3, 2]


def test_parallel_calls_count_the_longest_path() -> None:
    """Two calls of 0.4 s side by side make 0.4 s of service, not 0.8."""
    policy = load_policy("schedule", "autellix:first=0.5")
    scheduler = Scheduler(Limits(1000), policy)
    for id in range(2):
        scheduler.add(Request(id, 0.0, 5, 10, session=7), 0.0)
    scheduler.schedule(0.0)
    for request in list(scheduler.running.values()):
        request.scheduled = 0.0
    scheduler.complete(0.4, list(scheduler.running.values()))
    late = Request(2, 0.5, 5, 10, session=7)
    scheduler.add(late, 0.5)
    assert policy.rank(late, scheduler.view) == 0.0


def test_long_prompts_stay_with_their_program() -> None:
    class Loaded(ReplicaView):
        def cached_tokens(self, request: Request) -> int:
            return 0

    replicas = [Loaded(index, []) for index in range(3)]
    view = ClusterView(list(replicas), random.Random(0), None)
    router = load_policy("route", "autellix:boundary=10")
    long, short = Request(0, 0.0, 50, 1, session=4), Request(1, 0.0, 5, 1, session=4)
    replicas[0].outstanding = 3
    assert router.choose(long, view) == 1
    replicas[1].outstanding = 9
    assert router.choose(long, view) == 1
    assert router.choose(short, view) == 2
    assert router.choose(Request(2, 0.0, 50, 1, session=5), view) == 2


def test_caches_hear_who_lets_go_and_why() -> None:
    """Before the scores of what was let go; a request that lost its blocks has not finished."""
    heard: list[tuple[int, bool]] = []

    class Listening(CachePolicy):
        def on_release(self, request: Request, now: float) -> None:
            heard.append((request.id, request.status == FINISHED))

    limits = Limits(4, block_size=4, max_num_seqs=2)
    scheduler = Scheduler(limits, SchedulingPolicy(), cache=Listening())
    for id in range(2):
        scheduler.add(Request(id, 0.0, 7, 6), 0.0)
    for step in range(40):
        if scheduler.schedule(0.1 * step) is None:
            break
        scheduler.complete(0.1 * step + 0.1)
    assert heard == [(1, False), (0, True), (1, True)]


@given(st.lists(st.floats(0, 100), max_size=400))
def test_tool_times_are_the_latest_sorted(seconds: list[float]) -> None:
    times = ToolTimes()
    for each in seconds:
        times.add(each)
    assert times.sorted == sorted(seconds[-300:])


@given(st.lists(st.integers(1, 40), min_size=2, max_size=30))
def test_regularity_is_minus_the_correlation(turns: list[int]) -> None:
    regularity = Regularity()
    for each in turns:
        regularity.add(each)
    pairs = [(k, num - k) for num in turns for k in range(1, num + 1)]
    mean_k, mean_left = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
    both = sum((k - mean_k) * (left - mean_left) for k, left in pairs)
    spread = sum((k - mean_k) ** 2 for k, _ in pairs) * sum((left - mean_left) ** 2 for _, left in pairs)
    expected = -both / spread**0.5 if spread > 1e-9 else 1.0
    assert regularity.value == pytest.approx(expected, abs=1e-6)


def turn(
    session: int, arrival: float, prompt: int, *, cached: int, wait: float = 0.0, tool: int = 0
) -> Request:
    """A finished call whose prefill took 1 ms per token that was not cached."""
    request = Request(0, arrival, prompt, 100, session=session)
    request.tool, request.cached, request.scheduled = tool, cached, arrival + wait
    request.first_token = request.scheduled + 1e-3 * (prompt - cached)
    return request


def test_the_time_to_live_is_the_best_of_the_durations_seen() -> None:
    """Half of the tools take 1 s, half 30 s, context of 4,000 tokens: 4 s to compute it again are worth 1 s."""
    times = Lifetimes()
    now = 0.0
    for number in range(300):
        times.finished(turn(number, now, 4000, cached=0), now + 5)
        now += 5 + (1.0 if number % 2 else 30.0)
        times.finished(turn(number, now, 4000, cached=3999, tool=-1), now + 1)
        now += 10
    assert times.prefill(4000) == pytest.approx(4.0)
    assert times.best(0, 4000) == pytest.approx(1.0)
    assert times.best(0, 1000) == 0.0  # half of 1 s is not worth 1 s
    assert times.best(0, 100_000) == pytest.approx(30.0)


def test_before_it_knows_tools_it_takes_them_as_exponential() -> None:
    times = Lifetimes()
    assert times.finished(turn(0, 0.0, 3000, cached=0), 4.0) == pytest.approx(1.0986, abs=1e-3)  # ln 3
    assert times.finished(turn(1, 0.0, 500, cached=0), 4.0) == 0.0
    assert times.finished(turn(2, 0.0, 3000, cached=0, tool=-1), 4.0) == 0.0
    assert Lifetimes(7.0).finished(turn(0, 0.0, 500, cached=0), 4.0) == 7.0


def test_what_is_kept_is_evicted_last() -> None:
    cache = load_policy("cache", "continuum:fixed=5")
    kept, segment = turn(3, 0.0, 500, cached=0), Segment(SHARED, 1, 4, 0.0)
    kept.status = FINISHED
    cache.on_release(kept, 1.0)
    assert cache.score(segment, 1.0) == 6.0
    kept.status = WAITING  # preempted
    cache.on_release(kept, 2.0)
    assert cache.score(segment, 2.0) == 2.0


def test_nobody_enters_the_room_of_who_is_at_a_tool() -> None:
    """Ten blocks: program 0 left four for its tool. A newcomer that needs six gets in beside a runner only later."""
    arriving = calls(
        (0, 0.0, 0.05, 0.2),
        (16, 4, 20, 18),
        (1, 60, 1, 1),
        session=(0, 1, 2, 0),
        tool=(0, -1, -1, -1),
    )
    limits = Limits(10, block_size=4)
    plain = play(arriving, limits)
    held = play(arriving, limits, schedule="continuum:fixed=0.1", cache="continuum:fixed=0.1")
    assert plain.rows[2].scheduled == pytest.approx(0.05, abs=0.011)
    assert held.rows[2].scheduled == pytest.approx(0.11, abs=0.011)


@pytest.mark.parametrize(
    "spec",
    [
        "autellix:first=0",
        "autellix:classes=0",
        "autellix:beta=-1",
        "autellix:forget=-1",
        "continuum:fixed=nan",
    ],
)
def test_impossible_parameters_are_refused(spec: str) -> None:
    with pytest.raises(InputError, match=r"it must be|they must be"):
        load_policy("schedule", spec)


def test_search_agents_go_by_the_highest_of_three_levels() -> None:
    """One slot, free again at 0.5 s. Question 0 has searched and is the oldest: it passes question 2, unless somebody
    much younger makes that one old too."""
    arriving = calls(
        (0, 0.02, 0.03, 0.35), (8,) * 4, (30, 20, 5, 5), session=(0, 1, 2, 0), tool=(0, -1, -1, -1)
    )
    assert firsts(play(arriving, ONE)) == [0, 1, 2, 3]
    assert firsts(play(arriving, ONE, schedule="search_agent_x")) == [0, 1, 3, 2]
    young = calls((0.36,), (8,), (5,), session=(3,))[0]
    crowd = [*arriving, replace(young, id=4)]
    assert firsts(play(crowd, ONE, schedule="search_agent_x")) == [0, 1, 2, 3, 4]


def test_cached_prompts_go_first() -> None:
    """Prompts of one long context: whoever finds it in the cache overtakes who came before him."""
    arriving = calls(
        (0, 0.01, 0.02),
        (64, 60, 65),
        (10, 5, 5),
        session=(0, 1, 2),
        block_ids=((1, 2, 3, 4), (), (1, 2, 3, 4)),
        block_tokens=(16, 0, 16),
    )
    assert firsts(play(arriving, ONE)) == [0, 1, 2]
    assert firsts(play(arriving, ONE, schedule="search_agent_x")) == [0, 2, 1]
    assert firsts(play(arriving, ONE, schedule="search_agent_x:hit=1")) == [0, 1, 2]
