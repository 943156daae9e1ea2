"""A scheduler's books as others read them: what views show to policies, and what admission rules count."""

from __future__ import annotations

from typing import Protocol

from hasten.core.group import DecodeGroup
from hasten.core.limits import Limits
from hasten.core.prefix import Prefix
from hasten.core.queue import WaitingQueue
from hasten.core.request import Request


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


class Blocks(Protocol):
    """A pool of KV blocks, to look at."""

    num_blocks: int
    free: int

    def hits(self, request: Request) -> int:
        """Leading blocks of `request` that are cached now."""
        ...

    def find(self, request: Request) -> Prefix:
        """The leading blocks of `request` that are cached now."""
        ...


class Books(Protocol):
    """One replica's books. Times in seconds; tokens and KV blocks as plain numbers."""

    now: float
    limits: Limits
    group: DecodeGroup
    running: dict[int, Request]
    prefilling: list[Request]
    waiting: WaitingQueue
    share: OutputShare
    reserved_blocks: int

    @property
    def pool(self) -> Blocks:
        """The KV pool."""
        ...

    def context_of(self, request: Request) -> int:
        """Tokens of `request` in KV."""
        ...

    def sampled_tokens(self, request: Request) -> int:
        """Output tokens of `request` whose sampling has been scheduled."""
        ...
