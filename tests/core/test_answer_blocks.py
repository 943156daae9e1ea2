"""Answers whose blocks are named stay cached: the next turn of a conversation finds them."""

from hasten.core.limits import Limits
from hasten.core.policy import SchedulingPolicy
from hasten.core.request import Request
from hasten.core.scheduler import Scheduler

BLOCK = 4


def turn(id: int, prompt: int, ids: tuple[int, ...], names_answer: bool) -> Request:
    request = Request(id, 0.0, prompt, 8, block_ids=ids, block_tokens=BLOCK)
    request.names_answer = names_answer
    return request


def serve(scheduler: Scheduler, request: Request) -> None:
    assert scheduler.add(request, 0.0)
    while scheduler.schedule(0.0) is not None:
        scheduler.complete(0.0)


def limits(prefix_caching: bool = True) -> Limits:
    return Limits(
        max_num_seqs=4,
        max_num_batched_tokens=64,
        max_model_len=64,
        block_size=BLOCK,
        num_blocks=32,
        prefix_caching=prefix_caching,
    )


def test_next_turn_hits_prompt_and_answer() -> None:
    scheduler = Scheduler(limits(), SchedulingPolicy())
    serve(scheduler, turn(0, 6, (1, 2, 3), True))  # 6 + 8 tokens: 13 in KV, three full blocks
    follow_up = turn(1, 16, (1, 2, 3, 4), True)
    serve(scheduler, follow_up)
    assert follow_up.cached == 12


def test_without_names_only_the_prompt_is_cached() -> None:
    scheduler = Scheduler(limits(), SchedulingPolicy())
    serve(scheduler, turn(0, 6, (1, 2, 3), False))
    follow_up = turn(1, 16, (1, 2, 3, 4), False)
    serve(scheduler, follow_up)
    assert follow_up.cached == 4


def test_no_prefix_cache_no_hits_and_no_leak() -> None:
    scheduler = Scheduler(limits(prefix_caching=False), SchedulingPolicy())
    serve(scheduler, turn(0, 6, (1, 2, 3), True))
    follow_up = turn(1, 16, (1, 2, 3, 4), True)
    serve(scheduler, follow_up)
    assert follow_up.cached == 0
    assert scheduler.pool.free == 32
