"""What policies see: read-only, one argument, so that a new signal never changes a signature."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from hasten.core.books import Books
from hasten.core.request import DECODING, PREFILLING, Request


class Stream(Protocol):
    """Random numbers for one policy, seeded by run and role. `random()` is uniform in [0, 1)."""

    def random(self) -> float: ...
    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float: ...


class Estimates(Protocol):
    """What the deployment's latency model tells policies, in seconds."""

    def prefill_seconds(self, tokens: int, context: int) -> float:
        """A step that computes one chunk of `tokens` after `context` cached ones."""
        ...

    def decode_seconds(self, num_sequences: int, context: int) -> float:
        """A step that decodes `num_sequences` with `context` tokens in KV together."""
        ...


class SchedulerView:
    """One replica, as its scheduling policy sees it. Times in seconds, KV in blocks and tokens."""

    def __init__(self, scheduler: Books, estimates: Estimates | None) -> None:
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
    def next_waiting(self) -> Request | None:
        """The next in line; None when nobody waits."""
        waiting = self._scheduler.waiting
        return waiting.head() if waiting.size else None

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


class ReplicaView:
    """One replica, as a router sees it."""

    def __init__(self, index: int, ranks: Sequence[Books]) -> None:
        self.index = index
        self.outstanding = 0  # requests sent here that have not ended
        self.outstanding_tokens = 0  # their prompt tokens
        self._ranks = ranks

    @property
    def waiting(self) -> int:
        """Requests in its queue."""
        return sum(len(rank.waiting) for rank in self._ranks)

    @property
    def running(self) -> int:
        """Requests that hold a slot."""
        return sum(len(rank.running) for rank in self._ranks)

    @property
    def kv_usage(self) -> float:
        """Share of KV blocks held by requests, 0 to 1."""
        total = sum(rank.pool.num_blocks for rank in self._ranks)
        return 1.0 - sum(rank.pool.free for rank in self._ranks) / total

    @property
    def queued_tokens(self) -> int:
        """Prompt tokens sent here and not yet computed: under way, waiting, or not yet drained by the engine."""
        tokens = self.outstanding_tokens
        for rank in self._ranks:
            tokens -= sum(request.prompt_tokens for request in rank.running.values())
            tokens += sum(request.target - request.computed for request in rank.prefilling)
            tokens += sum(request.target - request.prompt_tokens for request in rank.waiting)  # to recompute
        return tokens

    @property
    def num_decodes(self) -> int:
        """Sequences that decode."""
        return sum(rank.group.size for rank in self._ranks)

    @property
    def decode_context(self) -> int:
        """Tokens in KV of the sequences that decode."""
        return sum(rank.group.context for rank in self._ranks)

    @property
    def token_budget(self) -> int:
        """Tokens that one step may compute."""
        return self._ranks[0].limits.max_num_batched_tokens

    @property
    def slots(self) -> int:
        """Sequences that one step may hold."""
        return self._ranks[0].limits.max_num_seqs

    def cached_tokens(self, request: Request) -> int:
        """Prompt tokens of `request` in this replica's prefix cache (the best rank's)."""
        return max([rank.pool.hits(request) * rank.limits.block_size for rank in self._ranks])


class ClusterView:
    """All replicas, as routers and admission policies see them."""

    def __init__(self, replicas: list[ReplicaView], random: Stream, estimates: Estimates | None) -> None:
        self.now = 0.0
        self.replicas = replicas
        self.random = random
        self.estimates = estimates


class LengthView(Protocol):
    """What a length predictor sees. `truth` is the oracle: using it is visible in the code of whoever does."""

    @property
    def now(self) -> float: ...
    @property
    def random(self) -> Stream: ...
    def truth(self, request: Request) -> int: ...
