"""What each scheduling policy does that the others don't, in cases small enough to follow by hand."""

import math

import pytest

from hasten.core.limits import Limits
from hasten.core.request import SLO
from hasten.errors import InputError
from hasten.latency.compiled import LinearCost
from hasten.policies import load_policy
from hasten.testing import LawBroken
from policies.play import STEP, calls, firsts, play, steps

ONE_SLOT = Limits(1000, max_num_seqs=1)


def test_fcfs_serves_in_order() -> None:
    arriving = calls((0, 0.001, 0.002), (30, 10, 20), (3, 2, 1))
    outcome = play(arriving, ONE_SLOT)
    assert firsts(outcome) == [0, 1, 2]
    # One slot: each waits for those before it. Prefill is a step, and the first token comes with it.
    assert [steps(outcome, id, "first_token") for id in range(3)] == [1, 4, 6]
    assert [steps(outcome, id, "finish") for id in range(3)] == [3, 5, 6]


def test_fcfs_mixes_and_prefill_first_does_not() -> None:
    cost = LinearCost(0.0, per_sequence=0.001, per_prefill_token=0.01)
    arriving = calls((0, 0.15), (10, 100), (200, 2))
    mixed = play(arriving, cost=cost, schedule="fcfs", stepping=True)
    alone = play(arriving, cost=cost, schedule="prefill_first", stepping=True)
    assert any(chunks and decodes for _, _, chunks, decodes, *_ in mixed.decisions)
    assert not any(chunks and decodes for _, _, chunks, decodes, *_ in alone.decisions)
    # Mixed, the decode's step lasts a second longer; alone, it waits a second and then steps with the newcomer.
    assert max(mixed.gaps) == pytest.approx(1.001)
    assert max(alone.gaps) == pytest.approx(1.002)
    assert alone.rows[1].ttft < mixed.rows[1].ttft


@pytest.mark.parametrize("arrived", [3, 4, 7])
def test_dynamic_batching_takes_who_waits(arrived: int) -> None:
    """A batch of those waiting when the engine is idle; all leave with its longest; then the next."""
    outputs = [2, 9, 4, 3, 1, 1, 5][:arrived]
    outcome = play(
        calls([0.0] + [0.001] * (arrived - 1), [5] * arrived, outputs), schedule="static:batch_size=4"
    )
    assert steps(outcome, 0, "finish") == 2
    others = range(1, arrived)
    first_batch = others[:4]
    longest = max(outputs[id] for id in first_batch)
    for id in first_batch:
        assert steps(outcome, id, "first_token") == 3
        assert steps(outcome, id, "finish") == 2 + longest
    for id in others[4:]:
        assert steps(outcome, id, "first_token") == 3 + longest


def test_elastic_batching_lets_each_leave() -> None:
    outputs = (2, 9, 4, 3)
    outcome = play(calls((0, 0, 0, 0.005), (5, 5, 5, 5), outputs), schedule="static:batch_size=3,hold=false")
    assert [steps(outcome, id, "finish") for id in range(4)] == [2, 9, 4, 12]


def test_held_slots_are_paid_for() -> None:
    """Padding: a finished member still counts in the step time, an elastic one doesn't."""
    cost = LinearCost(0.0, per_sequence=0.01, per_prefill_token=0.01)
    arriving = calls((0, 0), (1, 1), (1, 11))
    held = play(arriving, cost=cost, schedule="static:hold=true")
    elastic = play(arriving, cost=cost, schedule="static:hold=false")
    assert held.rows[1].finish == pytest.approx(0.02 + 10 * 0.02)
    assert elastic.rows[1].finish == pytest.approx(0.02 + 10 * 0.01)
    assert held.rows[0].finish == held.rows[1].finish
    assert elastic.rows[0].finish == pytest.approx(0.02)


def test_fixed_batching_waits_for_exactly_so_many() -> None:
    outcome = play(calls((0, 0.1, 0.5, 0.6), (5,) * 4, (3,) * 4), schedule="static:batch_size=2,wait=inf")
    assert [outcome.rows[id].scheduled for id in range(4)] == [0.1, 0.1, 0.6, 0.6]


def test_fixed_batching_leaves_the_rest_waiting() -> None:
    outcome = play(calls((0, 0.1, 0.5), (5,) * 3, (3,) * 3), schedule="static:batch_size=2,wait=inf")
    assert sorted(outcome.rows) == [0, 1]
    assert load_policy("schedule", "static:wait=inf").may_starve
    assert not load_policy("schedule", "static:wait=9").may_starve


@pytest.mark.parametrize("depth", [1, 2])
def test_a_partial_batch_is_served_after_its_time_out(depth: int) -> None:
    outcome = play(
        calls((0, 0.1, 0.9), (5,) * 3, (3,) * 3), schedule="static:batch_size=8,wait=0.25", depth=depth
    )
    assert outcome.rows[0].scheduled == outcome.rows[1].scheduled == 0.25
    assert outcome.rows[2].scheduled == pytest.approx(1.15)


def test_a_time_out_counts_from_the_arrival_while_the_engine_was_busy() -> None:
    """Who waited long enough behind a batch is served when it ends."""
    outcome = play(calls((0, 0.35), (5, 5), (20, 3)), schedule="static:batch_size=2,wait=0.25")
    assert outcome.rows[0].scheduled == 0.25
    assert outcome.rows[1].scheduled == pytest.approx(0.60)
    early = play(calls((0, 0.26), (5, 5), (60, 3)), schedule="static:batch_size=2,wait=0.25")
    assert early.rows[1].scheduled == pytest.approx(0.25 + 60 * STEP)


def test_a_batch_fills_over_several_prefill_steps_and_then_decodes() -> None:
    limits = Limits(1000, max_num_seqs=8, max_num_batched_tokens=50)
    outcome = play(
        calls((0,) * 4, (40,) * 4, (3,) * 4), limits, schedule="static:batch_size=3", stepping=True
    )
    prefills = [len(chunks) for _, _, chunks, *_ in outcome.decisions]
    # 40+10, 30+20, 20 tokens; two decode steps of three; then the fourth alone.
    assert prefills == [2, 2, 1, 0, 0, 1, 0, 0]
    assert [decodes for _, _, _, decodes, *_ in outcome.decisions] == [0, 0, 0, 3, 3, 0, 1, 1]


def test_a_batch_is_not_refilled_by_who_ends_with_the_prefill() -> None:
    """Answers of one token end before the batch has filled: the batch keeps its size."""
    limits = Limits(1000, max_num_seqs=8, max_num_batched_tokens=10)
    outcome = play(
        calls((0,) * 6, (10,) * 6, (1, 5, 5, 5, 5, 5)), limits, schedule="static:batch_size=3,hold=false"
    )
    scheduled = [steps(outcome, id, "scheduled") for id in range(6)]
    assert scheduled[:3] == [0, 1, 2]
    assert scheduled[3] == 3 + 4  # the other two decode four more tokens each


def test_a_preempted_member_comes_back_to_its_batch() -> None:
    """A batch ends without its victim, who comes back before the next batch is formed."""
    limits = Limits(8, block_size=4, max_num_seqs=4)
    outcome = play(
        calls((0,) * 4, (5,) * 4, (1, 20, 20, 5)), limits, schedule="static:batch_size=3", stepping=True
    )
    assert [outcome.rows[id].preemptions for id in range(4)] == [0, 0, 1, 0]
    finish = [steps(outcome, id, "finish") for id in range(4)]
    assert finish[0] == finish[1] < finish[2] < steps(outcome, 3, "first_token")


def test_sjf_takes_the_shortest_answer() -> None:
    arriving = calls((0, 0.001, 0.002, 0.003), (5,) * 4, (5, 9, 3, 6))
    assert firsts(play(arriving, ONE_SLOT, schedule="sjf", length="oracle")) == [0, 2, 3, 1]


def test_sjf_without_a_predictor_says_so() -> None:
    with pytest.raises(
        InputError, match="schedule policy sjf: request 0 has no predicted output: choose a length"
    ):
        play(calls((0,), (5,), (5,)), schedule="sjf", length=lambda: None)


def test_priority_then_arrival() -> None:
    arriving = calls((0, 0.001, 0.002, 0.003), (5,) * 4, (5,) * 4, priority=(0, 1, 0, -1))
    assert firsts(play(arriving, ONE_SLOT, schedule="priority")) == [0, 3, 2, 1]


def test_priority_chooses_the_least_important_victim() -> None:
    limits = Limits(8, block_size=4, max_num_seqs=4)
    arriving = calls((0, 0, 0), (6, 6, 6), (16, 16, 16), priority=(2, 0, 1))
    by_priority = play(arriving, limits, schedule="priority")
    newest = play(arriving, limits, schedule="fcfs")
    assert by_priority.rows[0].preemptions > 0
    assert by_priority.rows[1].preemptions == 0
    assert newest.rows[0].preemptions == 0


def test_edf_takes_the_earliest_deadline() -> None:
    slos = (None, SLO(ttft=5.0), SLO(ttft=0.5), None, SLO(tpot=1.0))
    arriving = calls((0, 0.001, 0.002, 0.003, 0.004), (5,) * 5, (5,) * 5, slo=slos)
    assert firsts(play(arriving, ONE_SLOT, schedule="edf")) == [0, 2, 1, 3, 4]


def test_static_refuses_what_makes_no_sense() -> None:
    for spec in ("batch_size=0", "wait=-0.1"):
        with pytest.raises(InputError, match="must be"):
            load_policy("schedule", f"static:{spec}")
    assert load_policy("schedule", "static:wait=inf").wait == math.inf


def test_by_hand_cases_are_audited() -> None:
    """The harness of these tests checks books too: a policy that steals is caught here as well."""
    from policies.broken_policies import Thief

    with pytest.raises(LawBroken, match="books"):
        play(calls((0, 0.1), (5, 5), (5, 5)), schedule=Thief, stepping=True)
