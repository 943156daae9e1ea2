"""Host memory as a second tier of KV: how much it holds, and how long blocks take over the host link."""

from __future__ import annotations

from dataclasses import dataclass

from hasten.core.view import Estimates
from hasten.hardware import Link
from hasten.latency.messages import num_messages
from hasten.report.stats import HostStats

WRITES = ("computed", "evicted")
"""What host memory gets: a copy of what was computed, once nobody uses it, or what the device evicts."""

RELOADS = ("always", "cheaper")
"""When a prefix in host memory is loaded: always, or only if that is sooner than to compute it."""


@dataclass(frozen=True, kw_only=True)
class HostMemory:
    """Host memory of one rank: `num_blocks` KV blocks, over `lanes` links of its devices, each of `link`.

    `block_bytes` are those of a block on all devices of the rank. See WRITES, RELOADS and MESSAGES for the rest;
    `policy` is a cache policy by name.
    """

    num_blocks: int
    block_size: int  # tokens
    block_bytes: float
    link: Link
    lanes: int = 1
    layers: int = 1
    messages: str = "layer"
    writes: str = "computed"
    reload: str = "always"
    policy: str = "lru"

    def seconds(self, tokens: int) -> float:
        """Seconds to move the KV of `tokens` tokens one way over idle links: messages * latency + bytes / bandwidth."""
        blocks = -(-tokens // self.block_size)
        messages = num_messages(self.messages, layers=self.layers, blocks=blocks)
        return messages * self.link.latency + blocks * self.block_bytes / self.bandwidth

    @property
    def bandwidth(self) -> float:
        """B/s, one direction, over all lanes."""
        return self.lanes * self.link.copy_bandwidth

    @property
    def text(self) -> str:
        """What the tier holds and how it is reached, in one line."""
        tokens = self.num_blocks * self.block_size
        return (
            f"{self.num_blocks * self.block_bytes / 2**30:,.2f} GiB of host memory = {tokens:,} tokens, "
            f"{self.bandwidth / 1e9:,.1f} GB/s over {self.lanes} x {self.link.name}"
        )


class HostLink:
    """The link of one rank to its host memory: one load at a time, as they are asked for; writes delay nobody."""

    def __init__(self, memory: HostMemory, estimates: Estimates) -> None:
        self.memory = memory
        self._estimates = estimates
        self._free_at = 0.0  # s
        self._stats = HostStats(num_blocks=memory.num_blocks, bandwidth=memory.bandwidth)

    def pays(self, tokens: int, context: int, now: float, *, budget: int) -> bool:
        """Whether to load `tokens` tokens after `context` cached ones at `now` (s), instead of computing them.

        `budget` is the tokens that a step may compute.
        """
        if self.memory.reload == "always":
            return True
        loads = max(0.0, self._free_at - now) + self.memory.seconds(tokens)
        computes, end = 0.0, context + tokens
        for start in range(context, end, budget):
            computes += self._estimates.prefill_seconds(min(budget, end - start), start)
        return loads < computes

    def load(self, tokens: int, now: float) -> float:
        """Start to move the KV of `tokens` tokens at `now`; returns when it has arrived (s)."""
        seconds = self.memory.seconds(tokens)
        self._free_at = max(now, self._free_at) + seconds
        stats = self._stats
        stats.loads += 1
        stats.loaded_tokens += tokens
        stats.load_wait_seconds += self._free_at - now
        stats.link_busy_seconds += seconds
        return self._free_at

    def stats(self, written_blocks: int) -> HostStats:
        """The counters so far, with what was written."""
        size = self.memory.block_bytes
        self._stats.loaded_bytes = self._stats.loaded_tokens / self.memory.block_size * size
        self._stats.written_bytes = written_blocks * size
        return self._stats
