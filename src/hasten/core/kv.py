"""KV blocks: a pool with reference-counted prefix cache, in counts and runs rather than single blocks.

Blocks of one request that live and die together are one `Segment`, so the books cost O(segments), not O(blocks).
The order of eviction is that of an engine that frees a request's blocks last to first into one queue and takes
blocks from its head: blank blocks and cached ones wait in the same queue.
"""

from bisect import bisect_left
from heapq import heapify, heappop, heappush
from typing import Final

from hasten.core.policy import CachePolicy
from hasten.core.request import BLANK, NO_SEGMENTS, REMAINS, SHARED, Request, Segment

_NOTHING: Final = Segment(BLANK, 0, 0, 0.0)


class BlockPool:
    """`num_blocks` KV blocks of `block_size` tokens with a hashed prefix cache.

    `free` counts blocks that no request holds, cached content included.
    Law: free + blocks held by requests (shared ones counted once) = num_blocks.
    """

    def __init__(self, num_blocks: int, block_size: int, prefix_caching: bool, cache: CachePolicy) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.prefix_caching = prefix_caching
        self.free = 0
        self.now = 0.0
        self.evicted_blocks = 0  # cached blocks lost to eviction
        self.reloads = False  # whether there is a tier behind this one (`hasten.core.host`)
        self.journal: list[Segment] | None = None  # what lost blocks to eviction, if a driver sets a list
        self.index: dict[int, Segment] = {}
        self._cache = cache
        self._scores = type(cache).score is not CachePolicy.score
        self._listens = type(cache).on_reuse is not CachePolicy.on_reuse
        self._hears = type(cache).on_release is not CachePolicy.on_release
        self._entries = 0
        self._stale = 0
        self._queue: list[tuple[float, int, Segment]] = []
        self._tail = _NOTHING  # the last segment queued
        self._head = _NOTHING  # the first, if it is known to be blank
        self._release_blank(num_blocks)

    # ---- looking up -------------------------------------------------------------------------------------

    def hits(self, request: Request) -> int:
        """Leading blocks of `request` that are cached now. Its last known token always stays to be computed."""
        if not self.prefix_caching or (not request.block_ids and request.ghost is None):
            return 0
        most = (request.target - 1) // self.block_size
        found = 0
        for _, usable in self._leading(request, most):
            found += usable
        ghost = request.ghost
        if ghost is not None and found == request.shared:
            found += min(ghost.blocks, most - found)
        return found

    def unused_hits(self, request: Request, hits: int) -> int:
        """How far `free` falls when the first `hits` cached blocks are acquired: the blocks nobody holds yet."""
        unused = 0
        left = hits
        for segment, usable in self._leading(request, hits):
            if segment.users == 0:
                unused += segment.blocks
            left -= usable
        return unused + left

    def _leading(self, request: Request, most: int) -> list[tuple[Segment, int]]:
        """Cached segments that `request` begins with, and how many blocks of each are of use: `most` in all."""
        leading: list[tuple[Segment, int]] = []
        index = self.index
        size = self.block_size
        ends = request.block_ends
        blocks = request.block_tokens // size
        at = 0
        for number, key in enumerate(request.block_ids):
            if ends:
                blocks = ends[number] // size - at
                if not blocks:  # it ends within the block that the one before it ends in
                    continue
                at += blocks
            segment = index.get(key)
            if segment is None or most <= 0:
                break
            usable = segment.blocks if segment.blocks < blocks else blocks
            if usable > most:
                usable = most
            leading.append((segment, usable))
            most -= usable
            if usable < blocks:
                break
        return leading

    # ---- taking -----------------------------------------------------------------------------------------

    def take(self, blocks: int) -> None:
        """Take free blocks off the head of the queue, forgetting what they cached. The caller checked `free`."""
        if not blocks:
            return
        self.free -= blocks
        head = self._head
        if head.blocks > blocks:  # the usual case
            head.blocks -= blocks
            return
        queue = self._queue
        while blocks > 0:
            _, entry, segment = queue[0]
            if segment.entry != entry:
                heappop(queue)
                self._stale -= 1
                continue
            have = segment.blocks
            if segment.kind != BLANK:
                if segment.kind == SHARED:
                    self._lose(segment, min(have, blocks))
                if self.journal is not None:
                    self.journal.append(segment)
            if have > blocks:
                segment.blocks = have - blocks
                if segment.kind == BLANK:
                    self._head = segment
                return
            blocks -= have
            heappop(queue)
            segment.blocks = 0
            segment.entry = 0
            if segment.kind == SHARED:
                del self.index[segment.key]

    def reach(self, request: Request, hits: int) -> int:
        """Leading tokens of `request` that can be had without computing them, from elsewhere too; 0: `hits` is all."""
        return 0

    def _lose(self, segment: Segment, blocks: int) -> None:
        """Eviction takes the last `blocks` blocks of `segment`."""
        self.evicted_blocks += blocks

    def acquire(self, request: Request, hits: int) -> None:
        """Hand the first `hits` cached blocks to `request`; what else remained of it becomes blank."""
        request.shared = 0
        request.segments = [] if request.block_ids and self.prefix_caching else NO_SEGMENTS
        left = hits
        for segment, usable in self._leading(request, hits):
            self._use(segment)
            request.segments.append(segment)
            request.shared += usable
            left -= usable
        ghost = request.ghost
        if ghost is not None:
            request.ghost = None
            if left > 0:  # its own remains: private blocks again, the rest blank
                self._use(ghost)
                self._release_blank(ghost.blocks - left)
            else:
                ghost.kind = BLANK

    def register(self, request: Request, covered: int) -> None:
        """Enter the named full blocks [shared, covered) of `request`, which it holds, into the prefix cache.

        Names end with the prompt, or go on over the answer (`names_answer`). A block whose content is cached
        already stays a duplicate that nobody finds.
        """
        last = min(covered, self._named(request))
        if not request.names_answer:
            last = min(last, request.prompt_tokens // self.block_size)
        at = request.shared
        if at < last and request.segments is NO_SEGMENTS:  # its first names came with the answer
            request.segments = []
        while at < last:
            key, start, stop = self._name_of(request, at)
            end = min(stop, last)
            segment = self.index.get(key)
            if segment is None and at == start:
                segment = Segment(SHARED, key, end - at, self.now)
                segment.users = 1
                self.index[key] = segment
                request.segments.append(segment)
            elif segment is not None and start + segment.blocks == at and request.segments[-1] is segment:
                segment.blocks += end - at
            else:
                duplicate = Segment(BLANK, 0, end - at, self.now)
                duplicate.users = 1
                request.segments.append(duplicate)
            at = end
        request.shared = at

    def _named(self, request: Request) -> int:
        """Leading blocks of `request` that have names."""
        if request.block_ends:
            return request.block_ends[-1] // self.block_size
        return request.block_tokens // self.block_size * len(request.block_ids)

    def _name_of(self, request: Request, at: int) -> tuple[int, int, int]:
        """The id that names block `at`, and the blocks [start, stop) that bear it."""
        ends = request.block_ends
        if ends:
            number = bisect_left(ends, (at + 1) * self.block_size)
            start = ends[number - 1] // self.block_size if number else 0
            return request.block_ids[number], start, ends[number] // self.block_size
        per_id = request.block_tokens // self.block_size
        number = at // per_id
        return request.block_ids[number], number * per_id, (number + 1) * per_id

    # ---- giving back ------------------------------------------------------------------------------------

    def release(self, request: Request, tokens: int, keep: bool = False) -> None:
        """Free the blocks of `request`, which holds `tokens` tokens, last to first.

        With `keep` (preemption) its full private blocks stay findable, by this request alone, until evicted.
        """
        if self._hears:
            self._cache.on_release(request, self.now)
        size = self.block_size
        private = (tokens + size - 1) // size - request.shared
        if private > 0:
            full = tokens // size - request.shared
            if keep and self.prefix_caching and full > 0:
                self._release_blank(private - full)
                request.ghost = Segment(REMAINS, 0, full, self.now)
                self._enqueue(request.ghost)
            else:
                self._release_blank(private)
        if request.segments:
            for segment in reversed(request.segments):
                segment.users -= 1
                if segment.users == 0:
                    self._enqueue(segment)
            request.segments = NO_SEGMENTS

    def forget(self, request: Request) -> None:
        """Let go of what a preempted request left behind: it will not come back."""
        if request.ghost is not None:
            request.ghost.kind = BLANK
            request.ghost = None

    def _use(self, segment: Segment) -> None:
        if segment.users == 0:
            self.free -= segment.blocks
            segment.entry = 0
            self._stale += 1
        segment.users += 1
        segment.reuses += 1
        if self._listens:
            self._cache.on_reuse(segment, self.now)

    def _enqueue(self, segment: Segment) -> None:
        self.free += segment.blocks
        self._entries += 1
        segment.entry = self._entries
        segment.released = self.now
        score = self._cache.score(segment, self.now) if self._scores else self.now
        self._tail = segment
        if self._scores:
            self._head = _NOTHING  # it may go first
        heappush(self._queue, (score, self._entries, segment))
        if self._stale > 64 and 2 * self._stale > len(self._queue):
            self._queue = [item for item in self._queue if item[2].entry == item[1]]
            heapify(self._queue)
            self._stale = 0

    def _release_blank(self, blocks: int) -> None:
        if blocks <= 0:
            return
        tail = self._tail
        if tail.kind == BLANK and tail.entry:  # neighbours in the queue with one fate: one run
            tail.blocks += blocks
            self.free += blocks
        else:
            self._enqueue(Segment(BLANK, 0, blocks, self.now))


def coarsen(request: Request, block_size: int) -> None:
    """Name blocks of `block_size` tokens by the last of the finer ids they span (ids are chained)."""
    per_block = block_size // request.block_tokens
    request.block_ids = request.block_ids[per_block - 1 :: per_block]
    request.block_tokens = block_size
