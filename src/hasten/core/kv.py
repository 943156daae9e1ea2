"""KV blocks: a pool with reference-counted prefix cache, in counts and runs rather than single blocks.

Blocks of one request that live and die together are one `Segment`, so the books cost O(segments), not O(blocks).
The order of eviction is that of an engine that frees a request's blocks last to first into one queue and takes
blocks from its head: blank blocks and cached ones wait in the same queue.
"""

from bisect import bisect_left
from heapq import heapify, heappop, heappush
from typing import Final

from hasten.core.policy import CachePolicy
from hasten.core.prefix import Prefix, ends_of
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
        self._most_entries = 64  # in the queue, before it is looked through
        self._queue: list[tuple[float, int, list[Segment]]] = []
        self._tail = _NOTHING  # the last segment queued
        self._head = _NOTHING  # the first, if it is known to be blank
        self._release_blank(num_blocks)

    # ---- looking up -------------------------------------------------------------------------------------

    def hits(self, request: Request) -> int:
        """How many leading blocks of `request` are cached now. Its last known token always stays to be computed."""
        return self._leading(request)[1] if request.ghost is None else self.find(request).blocks

    def find(self, request: Request) -> Prefix:
        """The leading blocks of `request` that are cached now, and what it takes to hand them out."""
        segments, shared = self._leading(request)
        unused = sum([segment.blocks for segment in segments if segment.users == 0])
        ghost = request.ghost
        if ghost is None or shared != request.shared:
            return Prefix(shared, shared, unused, segments)
        remains = min(ghost.blocks, (request.target - 1) // self.block_size - shared)
        return Prefix(shared + remains, shared, unused + remains, segments)

    def _leading(self, request: Request) -> tuple[list[Segment], int]:
        """Cached segments that `request` begins with, and how many of their blocks are of use to it."""
        segments: list[Segment] = []
        blocks = 0
        index = self.index
        for key in request.block_ids:
            segment = index.get(key)
            if segment is None:
                break
            segments.append(segment)
            blocks += segment.blocks
        if not segments:
            return segments, 0
        size = self.block_size
        ends = ends_of(request)
        if blocks < ends[len(segments) - 1] // size:  # a run has lost its end: the next ones are of no use
            blocks = at = 0
            while not at or blocks == ends[at - 1] // size:
                blocks += segments[at].blocks
                at += 1
            del segments[at:]
        most = (request.target - 1) // size
        while segments and blocks - segments[-1].blocks >= most:
            blocks -= segments.pop().blocks
        return segments, min(blocks, most)

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
            _, entry, segments = queue[0]
            segment = segments[-1]
            if segment.entry == entry:
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
                segment.blocks = 0
                segment.entry = 0
                if segment.kind == SHARED:
                    del self.index[segment.key]
            segments.pop()
            if not segments:
                heappop(queue)

    def reach(self, request: Request, hits: int) -> int:
        """Leading tokens of `request` that can be had without computing them, from elsewhere too; 0: `hits` is all."""
        return 0

    def _lose(self, segment: Segment, blocks: int) -> None:
        """Eviction takes the last `blocks` blocks of `segment`."""
        self.evicted_blocks += blocks

    def acquire(self, request: Request, found: Prefix) -> None:
        """Hand the blocks `found` to `request`; what else remained of it becomes blank."""
        request.segments = found.segments if request.block_ids and self.prefix_caching else NO_SEGMENTS
        request.shared = found.shared
        self.free -= found.unused
        self._use(found.segments)
        ghost = request.ghost
        if ghost is not None:
            request.ghost = None
            remains = found.blocks - found.shared
            if remains:  # private blocks again, the rest blank
                self._use([ghost])
                self.free -= ghost.blocks - remains
                self._release_blank(ghost.blocks - remains)
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
        return ends_of(request)[-1] // self.block_size if request.block_ids else 0

    def _name_of(self, request: Request, at: int) -> tuple[int, int, int]:
        """The id that names block `at`, and the blocks [start, stop) that bear it."""
        ends = ends_of(request)
        number = bisect_left(ends, (at + 1) * self.block_size)
        start = ends[number - 1] // self.block_size if number else 0
        return request.block_ids[number], start, ends[number] // self.block_size

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
                self._enqueue([request.ghost])
            else:
                self._release_blank(private)
        if request.segments:
            unused: list[Segment] = []
            for segment in request.segments:
                segment.users -= 1
                if segment.users == 0:
                    unused.append(segment)
            if not self._scores:
                self._enqueue(unused)
            else:
                for segment in reversed(unused):
                    self._enqueue([segment])
            request.segments = NO_SEGMENTS

    def forget(self, request: Request) -> None:
        """Let go of what a preempted request left behind: it will not come back."""
        if request.ghost is not None:
            request.ghost.kind = BLANK
            request.ghost = None

    def _use(self, segments: list[Segment]) -> None:
        for segment in segments:
            segment.entry = 0
            segment.users += 1
            segment.reuses += 1
        if self._listens:
            for segment in segments:
                self._cache.on_reuse(segment, self.now)

    def _enqueue(self, segments: list[Segment]) -> None:
        """Queue `segments`, which share a score, for eviction from the end of the list on. It is kept."""
        if not segments:
            return
        now = self.now
        entry = self._entries = self._entries + 1
        blocks = 0
        for segment in segments:
            blocks += segment.blocks
            segment.entry = entry
            segment.released = now
        self.free += blocks
        self._tail = segments[0]
        score = now
        if self._scores:
            score = self._cache.score(self._tail, now)
            self._head = _NOTHING  # it may go first
        heappush(self._queue, (score, entry, segments))
        if len(self._queue) > self._most_entries:
            self._compact()

    def _compact(self) -> None:
        """Drop what has left the queue from its midst."""
        kept = [
            (score, entry, [segment for segment in segments if segment.entry == entry])
            for score, entry, segments in self._queue
        ]
        self._queue = [item for item in kept if item[2]]
        heapify(self._queue)
        self._most_entries = 64 + 2 * len(self._queue)

    def _release_blank(self, blocks: int) -> None:
        if blocks <= 0:
            return
        tail = self._tail
        if tail.kind == BLANK and tail.entry:  # neighbours in the queue with one fate: one run
            tail.blocks += blocks
            self.free += blocks
        else:
            self._enqueue([Segment(BLANK, 0, blocks, self.now)])
