"""Engine rules of admission beyond "the known tokens fit now". Each answers: may `request` enter?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hasten.core.limits import Limits
from hasten.core.request import Request

if TYPE_CHECKING:
    from hasten.core.scheduler import Scheduler


class OutputShare:
    """The share of running requests' remaining caps that admission reserves: it falls with every decode step."""

    def __init__(self, limits: Limits) -> None:
        self._least = limits.min_token_ratio
        self._fall = (limits.new_token_ratio - limits.min_token_ratio) / limits.ratio_decay_steps
        self._start = limits.new_token_ratio
        self._clock = 0

    def at(self, clock: int) -> float:
        """The share at decode clock `clock`."""
        return max(self._least, self._start - (clock - self._clock) * self._fall)

    def restart(self, clock: int, share: float) -> None:
        """Fall again from `share`."""
        self._start = share
        self._clock = clock


def blocks_at_most(scheduler: Scheduler, request: Request) -> int:
    """KV blocks that `request` holds if its answer runs to its cap."""
    size = scheduler.limits.block_size
    return (request.prompt_tokens + request.max_tokens + size - 1) // size


def max_output(scheduler: Scheduler, request: Request) -> bool:
    """TensorRT-LLM, GUARANTEED_NO_EVICT: prompt and cap of everyone inside fit beside the newcomer's."""
    return scheduler.reserved_blocks + blocks_at_most(scheduler, request) <= scheduler.limits.num_blocks


def expected_output(scheduler: Scheduler, request: Request) -> bool:
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
    cached = pool.hits(request) * limits.block_size
    wanted = request.target - cached
    remaining = request.max_tokens - request.sampled
    return wanted + min(remaining, clip) + limits.block_size <= room or not scheduler.running


def retract_ratio(scheduler: Scheduler) -> float:
    """SGLang: the share to reserve after requests were retracted, from those that stay."""
    stay = list(scheduler.running.values())
    generated = sum(scheduler.sampled_tokens(request) for request in stay)
    caps = sum(request.max_tokens for request in stay)
    return min(1.0, (generated + 20 * len(stay)) / (caps + 1))
