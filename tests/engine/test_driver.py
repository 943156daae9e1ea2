"""The wall-clock driver: every request ends once, and nothing is left behind."""

import random

import pytest
from tests.engine.engines import BLOCK, GREEDY, Harness, some_prompts

from hasten.engine.policies import Policies
from hasten.engine.sampling import SamplingParams
from hasten.engine.sequence import CANCELLED, LENGTH, REFUSED, STOP
from hasten.testing.books import check_books


def is_clean(harness: Harness) -> bool:
    """Whether nobody holds anything: only the prefix cache keeps blocks."""
    engine = harness.engine
    engine.tables.check()
    check_books(engine.scheduler)
    return (
        engine.scheduler.pool.free == engine.scheduler.pool.num_blocks
        and not engine.sequences
        and not engine.scheduler.running
        and not engine.scheduler.waiting
        and engine.tables.used == len(engine.scheduler.pool.index)
    )


def test_outputs_come_one_by_one_and_end_once() -> None:
    harness = Harness()
    sequence = harness.submit(some_prompts(1, seed=1)[0], 5)
    harness.finish()
    told = harness.outputs[sequence.request.id]
    assert [output.sampled.token for output in told if output.sampled] == sequence.answer
    assert [output.finish for output in told] == [None] * 4 + [LENGTH]
    request = sequence.request
    assert request.arrival <= request.scheduled <= request.first_token <= request.finish
    assert is_clean(harness)


def test_an_answer_stops_at_its_end_token() -> None:
    prompt = some_prompts(1, seed=4)[0]
    free = Harness().answers([prompt], 20)[0]
    stop = free[6]
    params = SamplingParams(temperature=0.0, stop_token_ids=(stop,))
    harness = Harness()
    sequence = harness.submit(prompt, 20, params)
    harness.finish()
    assert sequence.answer == free[: free.index(stop) + 1]
    assert sequence.finish == STOP
    later = SamplingParams(temperature=0.0, stop_token_ids=(stop,), min_tokens=10)
    longer = harness.submit(prompt, 20, later)
    harness.finish()
    assert len(longer.answer) >= 10
    assert is_clean(harness)


def test_a_prompt_that_can_never_fit_is_refused_at_once() -> None:
    harness = Harness(num_blocks=4)
    sequence = harness.submit([5] * (4 * BLOCK), 1)
    harness.finish()
    assert sequence.finish == REFUSED
    assert is_clean(harness)


@pytest.mark.parametrize("schedule", ["fcfs", "static:batch_size=4", "prefill_first"])
def test_a_cancelled_request_frees_its_kv_at_once(schedule: str) -> None:
    harness = Harness(policies=Policies.named({"schedule": schedule}), max_num_batched_tokens=64)
    sequences = [harness.submit(prompt, 50) for prompt in some_prompts(4, seed=5, low=40, high=100)]
    for turns in range(4):
        harness.engine.turn()
        assert harness.engine.scheduler.pool.free < 400 or turns == 0
    for sequence in sequences:
        harness.engine.cancel(sequence)
        harness.engine.cancel(sequence)  # a second time means nothing
    harness.engine.turn()
    assert all(sequence.finish == CANCELLED for sequence in sequences)
    assert is_clean(harness)


def test_random_departures_leave_nothing_behind() -> None:
    harness = Harness(num_blocks=40, max_num_seqs=8, max_num_batched_tokens=32)
    numbers = random.Random(6)
    alive = []
    for prompt in some_prompts(60, seed=8):
        alive.append(harness.submit(prompt, numbers.randint(1, 30)))
        for _ in range(numbers.randint(0, 4)):
            harness.engine.turn()
            harness.engine.tables.check()
            check_books(harness.engine.scheduler)
        if numbers.random() < 0.5:
            harness.engine.cancel(alive.pop(numbers.randrange(len(alive))))
    harness.finish()
    ends = [sum(output.finish is not None for output in told) for told in harness.outputs.values()]
    assert ends == [1] * 60
    assert harness.engine.scheduler.num_preemptions > 0
    assert is_clean(harness)


def test_greedy_is_plain() -> None:
    assert GREEDY.is_plain
    assert not SamplingParams(temperature=0.0, logprobs=0).is_plain
    assert not SamplingParams(temperature=0.0, min_tokens=1).is_plain
