"""Engine rules of admission beyond "the known tokens fit now". Each answers: may `request` enter?"""

from __future__ import annotations

from collections.abc import Callable

from hasten.core.books import Books
from hasten.core.request import Request


def blocks_at_most(scheduler: Books, request: Request) -> int:
    """KV blocks that `request` holds if its answer runs to its cap."""
    size = scheduler.limits.block_size
    return (request.prompt_tokens + request.max_tokens + size - 1) // size


def reserve(scheduler: Books, request: Request, rule: Callable[[Books, Request], bool]) -> bool:
    """Book the blocks of `request` up to its cap if `rule` lets it enter."""
    if not rule(scheduler, request):
        return False
    request.reserved = blocks_at_most(scheduler, request)
    scheduler.reserved_blocks += request.reserved
    return True


def max_output(scheduler: Books, request: Request) -> bool:
    """TensorRT-LLM, GUARANTEED_NO_EVICT: prompt and cap of everyone inside fit beside the newcomer's."""
    return scheduler.reserved_blocks + blocks_at_most(scheduler, request) <= scheduler.limits.num_blocks


def expected_output(scheduler: Books, request: Request) -> bool:
    """SGLang: free tokens less a share of every running request's remaining cap must hold the newcomer.

    The share falls linearly over `ratio_decay_steps` decode steps and returns to its start when the engine idles.
    """
    limits = scheduler.limits
    pool = scheduler.pool
    if not scheduler.running:
        scheduler.share.restart(scheduler.group.clock, limits.new_token_ratio)
    clip = limits.clip_max_tokens
    promised = sum(
        min(other.max_tokens - scheduler.sampled_tokens(other), clip) for other in scheduler.running.values()
    )
    room = pool.free * limits.block_size - promised * scheduler.share.at(scheduler.group.clock)
    found = pool.find(request)
    in_use = found.blocks - found.unused  # the others leave the free blocks
    wanted = request.target - in_use * limits.block_size
    remaining = request.max_tokens - request.sampled
    return wanted + min(remaining, clip) + limits.block_size <= room or not scheduler.running


def retract_ratio(scheduler: Books) -> float:
    """SGLang: the share to reserve after requests were retracted, from those that stay."""
    stay = list(scheduler.running.values())
    generated = sum(scheduler.sampled_tokens(request) for request in stay)
    caps = sum(request.max_tokens for request in stay)
    return min(1.0, (generated + 20 * len(stay)) / (caps + 1))
