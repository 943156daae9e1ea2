"""Prefixes that were computed once and could have been hits: lost from the cache, or cached on another replica."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from hasten.explain.timeline import RunLog
from hasten.report.records import Records
from hasten.workload import Workload


def reusable(work: Workload, log: RunLog, records: Records, block_size: int) -> Mapping[int, tuple[int, str]]:
    """Request -> (tokens of its prompt that somebody had computed before, the label of those computed again).

    With an endless cache that all replicas share these tokens would have been hits when its first chunk was decided:
    whole blocks of `block_size` tokens, and never the prompt's last token. A replica knows its own blocks from the
    decision to compute them on, those of others once they are computed. Empty for workloads without named blocks.
    """
    if work.block_ids is None:
        return {}
    holders = _Holders(work)
    found: dict[int, tuple[int, str]] = {}
    begun: set[int] = set()
    for event in sorted(_events(work, log, records)):
        request = event.request
        if request not in begun:
            begun.add(request)
            most = (int(work.prompt_tokens[request]) - 1) // block_size * block_size
            covered, is_here = holders.known(event)
            tokens = min(covered // block_size * block_size, most)
            if tokens:
                found[request] = tokens, "prefill_evicted" if is_here else "prefill_elsewhere"
        holders.note(event)
    return found


class _Event(NamedTuple):
    """From `decided` on its own rank, from `done` on the others hold KV of [0, reached) of a request (s, tokens)."""

    decided: float
    rank: int
    place: int  # within a rank, in the order of decisions
    request: int
    done: float
    reached: int


def _events(work: Workload, log: RunLog, records: Records) -> Iterator[_Event]:
    """Prompts chunk by chunk; answers, where they have names, as they end."""
    answered: dict[int, int] = {}
    for index, rank in enumerate(log.ranks):
        for place, (row, request, tokens, context, _) in enumerate(rank.chunks):
            answered[request] = index
            yield _Event(rank.rows[row][10], index, place, request, rank.rows[row][1], context + tokens)
    if work.names_answers:
        ends = zip(records.id.tolist(), records.finish.tolist(), records.output_tokens.tolist(), strict=True)
        for request, finish, output in ends:
            if request in answered and not math.isnan(finish):
                reached = int(work.prompt_tokens[request]) + output - 1  # the last token is never read
                yield _Event(finish, answered[request], 1 << 60, request, finish, reached)


class _Holders:
    """Which rank has computed which block, and since when."""

    def __init__(self, work: Workload) -> None:
        self._work = work
        self._noted: dict[int, int] = {}  # blocks of a request that are booked already
        self._here: defaultdict[int, set[int]] = defaultdict(set)  # rank -> blocks
        self._done: dict[int, float] = {}  # block -> when the first rank had it (s)

    def note(self, event: _Event) -> None:
        """What the event brings is computed."""
        blocks, ends = self._names(event.request)
        upto = bisect_right(ends, event.reached)
        new = blocks[self._noted.get(event.request, 0) : upto]
        self._here[event.rank].update(new)
        for block in new:
            if event.done < self._done.get(block, math.inf):
                self._done[block] = event.done
        self._noted[event.request] = upto

    def known(self, event: _Event) -> tuple[int, bool]:
        """Leading tokens of a prompt that are known when its first chunk is decided, and whether all are known here."""
        blocks, ends = self._names(event.request)
        covered, is_here = 0, True
        here = self._here[event.rank]
        for block, end in zip(blocks, ends, strict=True):
            own = block in here
            if not own and self._done.get(block, math.inf) > event.decided:
                break
            covered, is_here = end, is_here and own
        return covered, is_here

    def _names(self, request: int) -> tuple[Sequence[int], Sequence[int]]:
        """The blocks of a request, and the tokens up to which each reaches."""
        work = self._work
        blocks = work.blocks_of(request)
        size = work.block_tokens
        return blocks, work.ends_of(request) or range(size, (len(blocks) + 1) * size, size)
