"""The rules of one scheduler call, as read in vLLM 0.19 (v1/core/sched/scheduler.py): one test per rule."""

from dataclasses import dataclass, field

import pytest
from tests.core.driving import add, chunks, request, scheduler, step

from hasten.core.policy import SchedulingPolicy
from hasten.core.request import WAITING, Request
from hasten.core.view import SchedulerView

# ---- running requests first -----------------------------------------------------------------------------


def test_running_requests_take_their_tokens_before_anybody_enters():
    core = scheduler(max_num_batched_tokens=10, max_num_seqs=8)
    add(core, request(0, 3), request(1, 3), request(2, 3))
    assert chunks(step(core)) == [(0, 0, 3), (1, 0, 3), (2, 0, 3)]
    add(core, request(3, 20))
    batch = step(core)
    assert batch is not None
    assert batch.num_decodes == 3
    assert chunks(batch) == [(3, 0, 7)]


def test_a_prompt_under_way_goes_on_before_a_new_one_starts():
    core = scheduler(max_num_batched_tokens=16, max_num_seqs=8)
    add(core, request(0, 40), request(1, 10))
    assert [chunks(step(core)) for _ in range(3)] == [[(0, 0, 16)], [(0, 16, 32)], [(0, 32, 40), (1, 0, 8)]]


def test_several_prompts_share_a_step_and_only_the_last_is_cut():
    core = scheduler(max_num_batched_tokens=30, max_num_seqs=8)
    add(core, request(0, 10), request(1, 15), request(2, 20), request(3, 1))
    assert chunks(step(core)) == [(0, 0, 10), (1, 0, 15), (2, 0, 5)]


def test_a_threshold_cuts_every_long_prompt():
    core = scheduler(max_num_batched_tokens=100, max_num_seqs=8, long_prefill_token_threshold=20)
    add(core, request(0, 50), request(1, 15), request(2, 90))
    assert chunks(step(core)) == [(0, 0, 20), (1, 0, 15), (2, 0, 20)]
    assert chunks(step(core)) == [(0, 20, 40), (2, 20, 40)]


@dataclass
class Deaf(SchedulingPolicy):
    """Gives nothing to some requests."""

    refused: set[int] = field(default_factory=set)

    def chunk(self, request: Request, wanted: int, view: SchedulerView) -> int:
        return 0 if request.id in self.refused else wanted


def test_a_running_request_that_wants_nothing_is_passed_over():
    policy = Deaf()
    core = scheduler(
        policy=policy, max_num_batched_tokens=32, max_num_seqs=8, long_prefill_token_threshold=16
    )
    add(core, request(0, 40), request(1, 40))
    step(core)
    policy.refused.add(0)
    assert chunks(step(core)) == [(1, 16, 32)]


# ---- preemption -----------------------------------------------------------------------------------------


def tight(**limits):
    """Three running requests of one full block each, and no block left for the next tokens."""
    core = scheduler(num_blocks=3, max_num_seqs=8, prefix_caching=False, **limits)
    three = [request(number, 16) for number in range(3)]
    add(core, *three)
    step(core)
    assert core.pool.free == 0
    return core, three


def test_the_last_admitted_is_preempted_and_waits_in_front():
    """Three need a block each: the newest gives its one up, then the next; the oldest then has two."""
    core, three = tight()
    add(core, request(3, 1))
    batch = step(core)
    assert batch is not None
    assert batch.num_decodes == 1
    assert batch.preempted == [three[2], three[1]]
    assert [each.id for each in core.waiting] == [1, 2, 3]  # the earliest admitted in front
    assert [each.preemptions for each in three] == [0, 1, 1]
    assert core.num_preemptions == 2


def test_nobody_enters_in_a_step_that_preempted():
    core, _ = tight()
    add(core, request(3, 1))
    batch = step(core)
    assert batch is not None
    assert chunks(batch) == []
    assert core.pool.free == 1  # room for request 3, had it been asked; the next call asks
    core.cancel(core.waiting.head(), core.now)
    core.cancel(core.waiting.head(), core.now)
    assert chunks(step(core)) == [(3, 0, 1)]


def test_a_victim_computes_prompt_and_answer_again():
    core, three = tight()
    step(core)
    step(core, [three[0]])
    assert three[1].target == 17  # 16 of the prompt and the token it had sampled
    assert chunks(step(core)) == [(1, 0, 17)]
    assert three[1].sampled == 2


def test_a_prompt_under_way_can_be_the_victim_of_itself():
    """Nobody else is left to preempt: the pass ends, nothing runs, and it starts again next time."""
    core = scheduler(
        num_blocks=4,
        max_num_batched_tokens=32,
        max_num_seqs=2,
        reserve_full_sequence=False,
        prefix_caching=False,
    )
    old, new = request(0, 30), request(1, 60)
    add(core, old)
    step(core)
    add(core, new)
    assert chunks(step(core)) == [(1, 0, 31)]
    batch = step(core)
    assert batch is not None
    assert batch.preempted == [new]
    assert batch.num_decodes == 1
    assert new.status == WAITING
    assert new.computed == 0


def test_a_preempted_request_finds_what_is_left_of_its_blocks():
    core = scheduler(num_blocks=4, max_num_seqs=2)
    old, new = request(0, 16, blocks=(1,)), request(1, 40, blocks=(2, 3))
    add(core, old, new)
    step(core)
    batch = core.schedule(2.0)
    assert batch is not None
    assert batch.preempted == [new]
    core.complete(2.0, [old])
    assert chunks(step(core)) == [(1, 32, 41)]  # of [0, 32) both blocks survived, the partial one did not


# ---- admission ------------------------------------------------------------------------------------------


def test_nobody_overtakes_a_head_that_does_not_fit():
    core = scheduler(num_blocks=4, max_num_seqs=8)
    add(core, request(0, 40))
    step(core)
    add(core, request(1, 30), request(2, 5))
    batch = step(core)
    assert batch is not None
    assert chunks(batch) == []
    assert [each.id for each in core.waiting] == [1, 2]


def test_there_are_no_more_sequences_than_slots():
    core = scheduler(max_num_seqs=2)
    add(core, *(request(number, 5) for number in range(3)))
    first = step(core)
    assert [chunk[0] for chunk in chunks(first)] == [0, 1]
    running = core.running[0]
    assert chunks(step(core, [running])) == []
    assert [chunk[0] for chunk in chunks(step(core))] == [2]


@pytest.mark.parametrize(("whole", "expected"), [(True, []), (False, [(1, 0, 31)])])
def test_the_whole_known_sequence_must_fit_now_or_just_the_first_chunk(whole, expected):
    core = scheduler(num_blocks=4, max_num_seqs=8, max_num_batched_tokens=32, reserve_full_sequence=whole)
    add(core, request(0, 20))
    step(core)
    add(core, request(1, 40))  # three blocks; two are free
    assert chunks(step(core)) == expected


def test_nothing_is_reserved_for_the_answer():
    core = scheduler(num_blocks=4, max_num_seqs=8)
    add(core, request(0, 30, 1000), request(1, 30, 1000))
    assert len(chunks(step(core))) == 2


def test_what_a_resumed_request_has_generated_must_fit_too():
    core = scheduler(num_blocks=4, max_num_seqs=2, prefix_caching=False)
    old, new = request(0, 32), request(1, 31)
    add(core, old, new)
    step(core)
    assert core.pool.free == 0
    batch = step(core)  # the older needs a third block
    assert batch is not None
    assert batch.preempted == [new]
    assert new.target == 32
    assert core.pool.free == 1
    assert chunks(step(core)) == []
    assert chunks(step(core, [old])) == []
    assert chunks(step(core)) == [(1, 0, 32)]


def test_without_chunking_a_prompt_larger_than_the_budget_left_stops_the_line():
    core = scheduler(max_num_batched_tokens=64, max_num_seqs=8, chunked_prefill=False)
    add(core, request(0, 40), request(1, 30), request(2, 5))
    assert chunks(step(core)) == [(0, 0, 40)]
    assert chunks(step(core)) == [(1, 0, 30), (2, 0, 5)]


def test_a_watermark_stays_free_unless_nothing_runs():
    core = scheduler(num_blocks=4, max_num_seqs=8, watermark_blocks=2)
    add(core, request(0, 40), request(1, 10))
    assert chunks(step(core)) == [(0, 0, 40)]
    assert chunks(step(core)) == []


def test_who_can_never_fit_is_not_queued_and_caps_end_with_the_room():
    core = scheduler(num_blocks=4, max_model_len=100)
    assert not core.add(request(0, 64), 0.0)  # the pool holds 64 tokens: no room for an answer
    fits = request(1, 60)
    assert core.add(fits, 0.0)
    assert fits.max_tokens == 4
    small = scheduler(max_model_len=100)
    assert not small.add(request(2, 100), 0.0)


# ---- prefix hits ----------------------------------------------------------------------------------------


def test_at_least_the_last_token_is_computed_again():
    """A prompt of full blocks that is cached to its end computes its whole last block."""
    core = scheduler()
    one = request(0, 48, blocks=(1, 2, 3))
    add(core, one)
    step(core, [one])
    add(core, request(1, 48, blocks=(1, 2, 3)), request(2, 49, blocks=(1, 2, 3, 9)))
    assert chunks(step(core)) == [(1, 32, 48), (2, 48, 49)]


def test_a_prefix_is_hit_in_the_very_step_that_computes_it():
    core = scheduler()
    add(core, request(0, 40, blocks=(1, 2, 7)), request(1, 40, blocks=(1, 2, 8)))
    assert chunks(step(core)) == [(0, 0, 40), (1, 32, 40)]
    assert core.prompt_tokens_cached == 32


def test_hits_that_nobody_holds_count_as_needed():
    """They leave the free list: three cached blocks and one more don't fit into three free ones."""
    core = scheduler(num_blocks=4, max_num_seqs=8)
    first = request(0, 48, blocks=(1, 2, 3))
    add(core, first)
    step(core, [first])
    assert core.pool.free == 4
    add(core, request(1, 5))
    step(core)
    assert core.pool.free == 3
    add(core, request(2, 60, blocks=(1, 2, 3, 9)))
    assert chunks(step(core)) == []


def test_hits_in_use_cost_nothing():
    core = scheduler(num_blocks=5, max_num_seqs=8)
    add(core, request(0, 60, blocks=(1, 2, 3, 8)), request(1, 60, blocks=(1, 2, 3, 9)))
    assert chunks(step(core)) == [(0, 0, 60), (1, 48, 60)]
    assert core.pool.free == 0


# ---- two batches in flight ------------------------------------------------------------------------------


def test_who_samples_the_last_allowed_token_is_not_scheduled_again():
    core = scheduler()
    one = request(0, 10, 2)
    add(core, one)
    core.schedule(0.0)
    second = core.schedule(0.0)
    assert second is not None
    assert second.closing == [one]
    assert core.schedule(0.0) is None
    assert core.complete(1.0) == []
    assert core.complete(2.0) == [one]


def test_a_stop_by_content_is_found_one_step_late_and_wastes_a_token():
    core = scheduler()
    one, other = request(0, 10), request(1, 10)
    add(core, one, other)
    core.schedule(0.0)
    late = core.schedule(0.0)
    assert late is not None
    core.complete(1.0, [one])
    assert (late.num_decodes, late.padding) == (2, 1)
    nxt = core.schedule(1.0)
    assert nxt is not None
    assert nxt.num_decodes == 1


def test_a_slot_is_free_two_steps_after_its_last_token_was_scheduled():
    core = scheduler(max_num_seqs=1)
    add(core, request(0, 10, 2), request(1, 10))
    core.schedule(0.0)
    core.schedule(0.0)
    core.complete(1.0)
    assert core.schedule(1.0) is None  # the bubble: request 0 holds the only slot until its step has ended
    core.complete(2.0)
    assert chunks(core.schedule(2.0)) == [(1, 0, 10)]


def test_a_victims_token_in_flight_counts():
    core, three = tight()
    core.schedule(9.0)
    assert three[2].status == WAITING
    assert three[2].target == 17


# ---- cancelling -----------------------------------------------------------------------------------------


def test_a_client_that_leaves_frees_what_it_held_wherever_it_stood():
    core = scheduler(num_blocks=20, max_num_batched_tokens=32, max_num_seqs=8)
    decoding, prefilling, waiting = request(0, 10), request(1, 100), request(2, 50)
    add(core, decoding, prefilling, waiting)
    step(core)
    for each in (waiting, prefilling, decoding):
        core.cancel(each, core.now)
    assert core.pool.free == 20
    assert not core.running
    assert not core.waiting
    assert step(core) is None
