"""Iteration-level batching and its relatives, in cases small enough to follow by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasten.core.limits import Limits
from hasten.errors import InputError
from hasten.latency.compiled import LinearCost
from hasten.policies import load_policy
from policies.play import calls, play, steps

PER_TOKEN = LinearCost(0.0, per_sequence=0.01, per_prefill_token=0.01)


def test_orca_refills_a_slot_at_once() -> None:
    """Two slots: the third request takes the place of the shorter one, the batch does not end first."""
    outcome = play(calls((0, 0, 0), (5, 5, 5), (2, 9, 3)), schedule="orca:batch_size=2,reserve=false")
    assert [steps(outcome, id, "finish") for id in range(3)] == [2, 9, 5]


def test_orca_reserves_for_the_longest_answer() -> None:
    """Blocks of 16: each may grow to 160 tokens, 10 blocks, so that one fits a pool of 15 at a time."""
    limits = Limits(15, max_num_seqs=8, max_model_len=160)
    arriving = calls((0, 0), (20, 20), (3, 3))
    reserved = play(arriving, limits, schedule="orca")
    assert steps(reserved, 1, "first_token") == steps(reserved, 0, "finish") + 1 == 4
    paged = play(arriving, limits, schedule="orca:reserve=false")
    assert steps(paged, 1, "first_token") == 1


def test_orca_never_cuts_a_prompt_that_a_step_can_hold() -> None:
    limits = Limits(1000, max_num_batched_tokens=100, max_num_seqs=8)
    outcome = play(calls((0, 0, 0), (60, 60, 60), (1, 1, 1)), limits, schedule="orca:reserve=false")
    assert [steps(outcome, id, "first_token") for id in range(3)] == [1, 2, 3]
    chunked = play(calls((0, 0, 0), (60, 60, 60), (1, 1, 1)), limits, schedule="fcfs")
    assert [steps(chunked, id, "first_token") for id in range(3)] == [1, 2, 2]


def test_flover_runs_prompts_one_by_one() -> None:
    outcome = play(calls((0, 0, 0), (5, 5, 5), (1, 1, 1)), schedule="flover")
    assert [steps(outcome, id, "first_token") for id in range(3)] == [1, 2, 3]
    together = play(calls((0, 0, 0), (5, 5, 5), (1, 1, 1)), schedule="prefill_first")
    assert [steps(together, id, "first_token") for id in range(3)] == [1, 1, 1]


@given(
    st.integers(8, 40),
    st.lists(st.integers(1, 120), min_size=1, max_size=12),
    st.lists(st.integers(2, 30), min_size=12, max_size=12),
)
def test_no_step_of_sarathi_is_longer_than_its_budget(
    budget: int, prompts: list[int], outputs: list[int]
) -> None:
    """With 0.01 s a token no gap exceeds the budget's time, and nobody waits for ever."""
    num = len(prompts)
    limits = Limits(2000, max_num_seqs=8)
    arriving = calls([0.05 * i for i in range(num)], prompts, outputs[:num])
    outcome = play(arriving, limits, cost=PER_TOKEN, schedule=f"sarathi:tokens={budget}", stepping=True)
    assert len(outcome.rows) == num
    assert max(outcome.gaps, default=0.0) <= 0.01 * budget + 1e-9


def test_a_splitfuse_step_is_full_while_prompts_wait() -> None:
    """90 prompt tokens under a budget of 30: three full steps, whatever the prompts' lengths."""
    outcome = play(calls((0, 0, 0), (50, 10, 30), (1, 1, 1)), schedule="dynamic_splitfuse:tokens=30")
    assert [steps(outcome, id, "first_token") for id in range(3)] == [2, 2, 3]


@pytest.mark.parametrize("spec", ["orca:batch_size=0", "sarathi:tokens=0", "dynamic_splitfuse:tokens=-1"])
def test_impossible_parameters_are_refused(spec: str) -> None:
    with pytest.raises(InputError, match="must be at least 1"):
        load_policy("schedule", spec)
