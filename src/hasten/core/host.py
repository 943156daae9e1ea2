"""A second tier of KV in host memory: what the device's prefix cache lets go of, and comes back over a link.

Either what is evicted moves there (exclusive: no block is in both tiers), or what was computed is copied there when
nobody uses it any more (inclusive: eviction from the device then costs nothing, and what comes back stays).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hasten.core.kv import BlockPool
from hasten.core.limits import Limits
from hasten.core.policy import CachePolicy
from hasten.core.request import SHARED, Request, Segment

_FIRST: Final = -1.0  # s; blocks without content go before all others


class HostCache(BlockPool):
    """`num_blocks` KV blocks in host memory. They hold content only: no request has them, so all are evictable."""

    def __init__(self, num_blocks: int, block_size: int, cache: CachePolicy) -> None:
        super().__init__(num_blocks, block_size, True, cache)
        self.written_blocks = 0

    def found(self, key: int, at: int) -> int:
        """Blocks here of the run that `key` names, from its block `at` on."""
        run = self.index.get(key)
        return max(0, run.start + run.blocks - at) if run is not None and run.start <= at else 0

    def put(self, segment: Segment, start: int, stop: int) -> None:
        """Keep blocks [start, stop) of the device's `segment`; others of its run only if they adjoin."""
        run = self._pick_up(segment.key)
        if run is not None and (run.start > stop or run.start + run.blocks < start):
            self._free(run.blocks)
            run = None
        if run is None:
            run = self.index[segment.key] = Segment(SHARED, segment.key, 0, segment.created)
        else:
            stop = max(stop, run.start + run.blocks)
            start = min(start, run.start)
        new = stop - start - run.blocks
        if new > self.free:
            stop -= new - self.free
            new = self.free
        self.take(new)
        self.written_blocks += new
        run.start, run.blocks = start, stop - start
        run.reuses = segment.reuses
        self._put_back(run, segment.released)

    def drop(self, key: int, stop: int) -> None:
        """Forget the blocks before `stop` of the run that `key` names: the device has them."""
        run = self._pick_up(key)
        if run is not None:
            gone = max(0, min(stop - run.start, run.blocks))
            run.start += gone
            run.blocks -= gone
            self._free(gone)
            self._put_back(run, run.released)

    def _pick_up(self, key: int) -> Segment | None:
        """Take the run that `key` names out of the queue, if it is there."""
        run = self.index.get(key)
        if run is not None:
            self.free -= run.blocks
            run.entry = 0
        return run

    def _put_back(self, run: Segment, last_use: float) -> None:
        """Rank `run` by its last use on the device (s), which does not depend on when eviction got to it."""
        if run.blocks:
            self.now = last_use
            self._enqueue([run])
        else:
            del self.index[run.key]

    def _free(self, blocks: int) -> None:
        self.now = _FIRST
        self._release_blank(blocks)


class TieredPool(BlockPool):
    """A pool with `host` behind it. `moves`: what is evicted goes there; else what nobody uses is copied there.

    `pays(tokens, context, now)` says whether loading `tokens` tokens after `context` others at `now` (s) beats
    computing them.
    """

    def __init__(
        self,
        limits: Limits,
        cache: CachePolicy,
        host: HostCache,
        *,
        moves: bool,
        pays: Callable[[int, int, float], bool],
    ) -> None:
        super().__init__(limits.num_blocks, limits.block_size, limits.prefix_caching, cache)
        self.reloads = True
        self.host = host
        self._moves = moves
        self._pays = pays

    def reach(self, request: Request, hits: int) -> int:
        """Leading tokens of `request` that are here (`hits` blocks) or in host memory; 0 if loading does not pay."""
        most = min((request.target - 1) // self.block_size, self._named(request))
        at = hits
        while at < most:
            key, start, stop = self._name_of(request, at)
            found = self.host.found(key, at - start)
            at = min(at + found, stop, most)
            if not found or at < stop:
                break
        if at <= hits or not self.prefix_caching:
            return 0
        size = self.block_size
        return at * size if self._pays((at - hits) * size, hits * size, self.now) else 0

    def register(self, request: Request, covered: int) -> None:
        """As without host memory; what moved there and is here again is dropped there."""
        at = request.shared
        super().register(request, covered)
        while self._moves and at < request.shared:
            key, _, stop = self._name_of(request, at)
            here = self.index.get(key)
            if here is not None:
                self.host.drop(key, here.blocks)
            at = stop

    def _enqueue(self, segments: list[Segment]) -> None:
        super()._enqueue(segments)
        for segment in reversed(segments):
            if segment.kind == SHARED and not self._moves:
                self.host.put(segment, 0, segment.blocks)

    def _lose(self, segment: Segment, blocks: int) -> None:
        super()._lose(segment, blocks)
        if self._moves:
            self.host.put(segment, segment.blocks - blocks, segment.blocks)
