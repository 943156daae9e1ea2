"""Request-level batches: finished members keep their slots until all have finished."""

from dataclasses import dataclass

from tests.core.driving import add, chunks, request, scheduler, step

from hasten.core.policy import SchedulingPolicy


@dataclass
class Hold(SchedulingPolicy):
    """Finished members stay."""

    @property
    def holds_batch(self) -> bool:
        return True


def test_held_members_pad_decodes_and_leave_together():
    core = scheduler(policy=Hold())
    short, long = request(0, 10), request(1, 20)
    add(core, short, long)
    step(core, [short])
    assert [each.id for each in core.held] == [0]
    batch = step(core)
    assert batch is not None
    assert (batch.num_decodes, batch.padding, batch.decode_context) == (2, 1, 30)
    core.schedule(9.0)
    assert [each.id for each in core.complete(9.0, [long])] == [0, 1]
    assert core.pool.free == 1000


def test_held_members_take_nothing_from_the_budget_of_prefills_that_run_alone():
    """Without chunking a prompt waits for the whole budget; held members once kept it waiting for ever."""
    core = scheduler(
        policy=Hold(), max_num_seqs=2, max_num_batched_tokens=64, chunked_prefill=False, mixed_steps=False
    )
    first, second = request(0, 64), request(1, 100)
    add(core, first, second)
    assert chunks(step(core)) == [(0, 0, 64)]
    assert chunks(step(core, [first])) == [(1, 0, 64)]
    assert [each.id for each in core.held] == [0]
    assert chunks(step(core)) == [(1, 64, 100)]


def test_members_that_wait_for_a_client_who_leaves_are_let_go():
    """Nobody was left to complete a step, and the batch was held for ever."""
    core = scheduler(policy=Hold())
    short, long = request(0, 10), request(1, 20)
    add(core, short, long)
    step(core, [short])
    assert core.cancel(long, 5.0) == [short]
    assert core.pool.free == 1000
    assert core.cancel(long, 6.0) == []
    assert core.schedule(6.0) is None
