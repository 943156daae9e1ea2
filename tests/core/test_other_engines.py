"""Where SGLang and TensorRT-LLM admit and preempt by other rules than vLLM."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.driving import add, chunks, request, scheduler, step

from hasten.core.books import OutputShare
from hasten.core.limits import Limits
from hasten.testing.books import check_books

# ---- TensorRT-LLM, GUARANTEED_NO_EVICT ------------------------------------------------------------------


def test_max_output_reserves_prompt_and_cap_in_full():
    core = scheduler(num_blocks=10, admission="max_output", max_num_seqs=8)
    add(core, request(0, 16, 64), request(1, 16, 80), request(2, 1, 1))  # 5, 6 and 1 blocks of 10
    assert chunks(step(core)) == [(0, 0, 16)]
    assert core.reserved_blocks == 5
    assert [each.id for each in core.waiting] == [1, 2]  # the first that does not fit stops the loop


def test_a_reservation_ends_with_its_request():
    core = scheduler(num_blocks=10, admission="max_output", max_num_seqs=8)
    one = request(0, 16, 64)
    add(core, one, request(1, 16, 80))
    step(core, [one])
    assert core.reserved_blocks == 0
    assert chunks(step(core)) == [(1, 0, 16)]


CALLS = st.lists(
    st.tuples(st.integers(1, 60), st.integers(1, 60), st.integers(0, 3)), min_size=1, max_size=12
)


@given(CALLS, st.integers(8, 30), st.booleans())
def test_max_output_never_preempts(calls, num_blocks, mixed):
    """Whatever the answers' lengths: everybody runs to the cap, in the order of arrival, and nobody loses blocks."""
    core = scheduler(
        num_blocks, admission="max_output", max_num_seqs=4, max_num_batched_tokens=64, mixed_steps=mixed
    )
    everyone = [request(number, prompt, cap) for number, (prompt, cap, _) in enumerate(calls)]
    for each, (_, _, pause) in zip(everyone, calls, strict=True):
        add(core, each)
        for _ in range(pause):
            step(core)
            check_books(core)
            assert core.reserved_blocks <= num_blocks
    while step(core) is not None:
        check_books(core)
    assert core.num_preemptions == 0
    assert core.pool.free == num_blocks
    starts = [each.scheduled for each in everyone]
    assert starts == sorted(starts)


# ---- SGLang: expected output ----------------------------------------------------------------------------


def room_for(cap: int, **limits) -> int:
    """Prompt tokens of the largest second request that enters beside a running one of 160 tokens with `cap` to go."""
    for prompt in range(1580, 0, -1):
        core = scheduler(
            num_blocks=100, admission="expected_output", max_num_seqs=8, prefix_caching=False, **limits
        )
        add(core, request(0, 160, cap))
        step(core)
        add(core, request(1, prompt, 10))
        if chunks(step(core)):
            return prompt
    return 0


@pytest.mark.parametrize(("cap", "promised"), [(401, 400), (9001, 500)])
def test_a_share_of_the_remaining_caps_is_kept_free(cap, promised):
    """prompt + cap + a page <= free - share * min(remaining cap, clip), before any decay.

    The cap of 9001 is cut to the room of the pool, 1440 tokens, and then clipped.
    """
    share = 0.7
    free = 89 * 16  # the running request's first token needs a block in the step that asks
    assert room_for(cap, clip_max_tokens=500) == int(free - promised * share - 10 - 16)


def test_cached_blocks_that_nobody_holds_are_no_room():
    """Hits shorten the prompt, but taking them up leaves less free."""
    core = scheduler(num_blocks=11, admission="expected_output", max_num_seqs=8)
    one = request(0, 97, blocks=range(7))
    add(core, one)
    step(core, [one])
    add(core, request(1, 20, 20))
    step(core)
    assert core.pool.free == 9
    add(core, request(2, 97, 24, blocks=[*range(6), 99]))  # 97 tokens, cap and page: 137 of 9 * 16 - 0.7 * 19
    assert chunks(step(core)) == []


def test_an_idle_engine_admits_anybody_who_fits():
    core = scheduler(num_blocks=10, admission="expected_output", max_num_seqs=8)
    add(core, request(0, 100, 10_000))
    assert chunks(step(core)) == [(0, 0, 100)]


@given(st.integers(0, 2000), st.floats(0.2, 1.0), st.floats(0.0, 0.1))
def test_the_share_falls_linearly_to_its_least(clock, start, least):
    share = OutputShare(Limits(1, new_token_ratio=start, min_token_ratio=least, ratio_decay_steps=600))
    expected = max(least, start - clock * (start - least) / 600)
    assert share.at(clock) == pytest.approx(expected)
    share.restart(clock, 0.5)
    assert share.at(clock) == 0.5
    assert share.at(clock + 10_000) == least


def retracting(*prompts: int, blocks: int):
    core = scheduler(
        blocks,
        admission="expected_output",
        preemption="fewest_generated",
        max_num_seqs=8,
        prefix_caching=False,
        clip_max_tokens=1,
    )
    everyone = [request(number, prompt, 200) for number, prompt in enumerate(prompts)]
    return core, everyone


def test_the_fewest_generated_tokens_are_retracted_first():
    core, (old, new) = retracting(17, 24, blocks=5)
    add(core, old)
    for _ in range(5):
        step(core)
    add(core, new)
    victims = []
    while not victims:
        batch = step(core)
        assert batch is not None
        victims = batch.preempted or []
    assert victims == [new]
    assert core.sampled_tokens(old) > new.sampled


def test_equal_answers_retract_the_longest_prompt():
    core, everyone = retracting(20, 30, 10, blocks=5)
    add(core, *everyone)
    victims = []
    while not victims:
        batch = step(core)
        assert batch is not None
        victims = batch.preempted or []
    assert victims == [everyone[1]]


def test_after_a_retraction_the_share_follows_those_that_stay():
    """(generated + 20 per request) / (their caps + 1), and it falls again from there."""
    core, everyone = retracting(20, 30, 10, blocks=5)
    add(core, *everyone)
    before: dict[int, int] = {}
    while not core.num_preemptions:
        before = {each.id: core.sampled_tokens(each) for each in everyone}
        step(core)
    stay = list(core.running.values())
    expected = (sum(before[each.id] for each in stay) + 20 * len(stay)) / (
        sum(each.max_tokens for each in stay) + 1
    )
    assert core.share.at(core.group.clock - 1) == pytest.approx(expected)  # the step it was made in


def test_a_retracted_request_leaves_nothing_in_the_cache():
    core = scheduler(4, preemption="fewest_generated", max_num_seqs=2)
    old, new = request(0, 16, blocks=(1,)), request(1, 40, blocks=(2, 3))
    add(core, old, new)
    step(core)
    batch = core.schedule(2.0)
    assert batch is not None
    assert batch.preempted == [new]
    assert new.ghost is None


# ---- SGLang: prefill first ------------------------------------------------------------------------------


def test_without_mixed_steps_prefill_runs_alone_and_first():
    core = scheduler(mixed_steps=False, max_num_batched_tokens=32, max_num_seqs=8)
    add(core, request(0, 10))
    step(core)
    add(core, request(1, 50))
    kinds = [step(core) for _ in range(3)]
    assert [(len(each.prefills), each.num_decodes) for each in kinds if each] == [(1, 0), (1, 0), (0, 2)]
