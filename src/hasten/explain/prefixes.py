"""Prefixes that were computed once and could have been hits: lost from the cache, or cached on another replica."""

from __future__ import annotations

from collections.abc import Mapping

from hasten.explain.timeline import RunLog
from hasten.workload import Workload


def reusable(work: Workload, log: RunLog, block_size: int) -> Mapping[int, tuple[int, str]]:
    """Request -> (tokens of its prompt that somebody had computed before, the label of those computed again).

    With an endless cache that all replicas share these tokens would have been hits: whole blocks of `block_size`
    tokens, and never the prompt's last token. Empty for workloads without named blocks.
    """
    if work.block_ids is None:
        return {}
    first: dict[int, tuple[float, int]] = {}
    for index, rank in enumerate(log.ranks):
        for row, request, _, _, _ in rank.chunks:
            first.setdefault(request, (rank.rows[row][0], index))
    holders: dict[int, int] = {}  # block -> ranks that computed it, as bits
    found: dict[int, tuple[int, str]] = {}
    for request, (_, index) in sorted(first.items(), key=lambda each: (each[1], each[0])):
        blocks = work.blocks_of(request)
        bit = 1 << index
        anywhere = here = covered = 0
        ends = work.ends_of(request)
        for place, block in enumerate(blocks):
            known = holders.get(block, 0)
            if not known or anywhere != place:
                break
            anywhere += 1
            covered = ends[place] if ends else anywhere * work.block_tokens
            here += bool(known & bit and here == place)
        most = (int(work.prompt_tokens[request]) - 1) // block_size * block_size
        tokens = min(covered // block_size * block_size, most)
        if tokens:
            found[request] = tokens, "prefill_evicted" if here == anywhere else "prefill_elsewhere"
        for block in blocks:
            holders[block] = holders.get(block, 0) | bit
    return found
