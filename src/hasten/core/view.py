"""What policies see: read-only, one argument, so that a new signal never changes a signature."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hasten.core.policy import Estimates
from hasten.core.request import DECODING, PREFILLING, Request

if TYPE_CHECKING:
    from hasten.core.scheduler import Scheduler


class SchedulerView:
    """One replica, as its scheduling policy sees it. Times in seconds, KV in blocks and tokens."""

    def __init__(self, scheduler: Scheduler, estimates: Estimates | None) -> None:
        self._scheduler = scheduler
        self._estimates = estimates

    @property
    def now(self) -> float:
        """The time of this decision (s)."""
        return self._scheduler.now

    @property
    def waiting(self) -> Iterable[Request]:
        """Requests that wait, in queue order."""
        return iter(self._scheduler.waiting)

    @property
    def num_waiting(self) -> int:
        """How many wait."""
        return len(self._scheduler.waiting)

    @property
    def running(self) -> Iterable[Request]:
        """Admitted requests that can be preempted, in the order of admission."""
        return (r for r in self._scheduler.running.values() if r.status in (DECODING, PREFILLING))

    @property
    def num_running(self) -> int:
        """How many hold a slot."""
        return len(self._scheduler.running)

    @property
    def num_decodes(self) -> int:
        """How many decode."""
        return self._scheduler.group.size

    @property
    def steps_decoded(self) -> int:
        """Decode steps scheduled so far."""
        return self._scheduler.group.clock

    @property
    def free_blocks(self) -> int:
        """KV blocks that nobody holds, cached ones included."""
        return self._scheduler.pool.free

    @property
    def num_blocks(self) -> int:
        """KV blocks in all."""
        return self._scheduler.pool.num_blocks

    @property
    def block_size(self) -> int:
        """Tokens per KV block."""
        return self._scheduler.limits.block_size

    @property
    def token_budget(self) -> int:
        """Tokens that a step may compute."""
        return self._scheduler.limits.max_num_batched_tokens

    def context(self, request: Request) -> int:
        """Tokens of `request` in KV."""
        return self._scheduler.context_of(request)

    def generated(self, request: Request) -> int:
        """Output tokens of `request` so far."""
        return self._scheduler.sampled_tokens(request)

    def cached_tokens(self, request: Request) -> int:
        """Prompt tokens of `request` that are in this replica's prefix cache."""
        return self._scheduler.pool.hits(request) * self._scheduler.limits.block_size

    def prefill_seconds(self, request: Request) -> float:
        """Estimated time to compute what remains of the prompt, alone in one step; 0 without a latency model."""
        if self._estimates is None:
            return 0.0
        left = max(1, request.target - request.computed)
        return self._estimates.prefill_seconds(left, request.computed)

    def step_seconds(self) -> float:
        """Estimated time of a step that decodes what decodes now; 0 without a latency model or decodes."""
        scheduler = self._scheduler
        if self._estimates is None or not scheduler.group.size:
            return 0.0
        return self._estimates.decode_seconds(scheduler.group.size, scheduler.group.context)
