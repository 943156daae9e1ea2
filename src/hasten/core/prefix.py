"""What the block ids of a request name, and how much of that is cached."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from hasten.core.request import NO_SEGMENTS, Request, Segment


class Prefix(NamedTuple):
    """Leading blocks of a request that need not be computed: `blocks` in all, `shared` of them in cached `segments`.

    Acquiring them takes `unused` blocks off the free ones: those that nobody holds yet.
    """

    blocks: int
    shared: int
    unused: int
    segments: list[Segment]


NO_PREFIX: Final = Prefix(0, 0, 0, NO_SEGMENTS)


def ends_of(request: Request) -> Sequence[int]:
    """The tokens up to which each block id of `request` reaches."""
    each = request.block_tokens
    return request.block_ends or range(each, each * len(request.block_ids) + 1, each)


def coarsen(request: Request, block_size: int) -> None:
    """Leave out ids that fill no block of `block_size` tokens: the next one names it too, for ids are chained."""
    ids: list[int] = []
    ends: list[int] = []
    blocks = 0
    for key, end in zip(request.block_ids, ends_of(request), strict=True):
        if end // block_size > blocks:
            blocks = end // block_size
            ids.append(key)
            ends.append(end)
    request.block_ids = tuple(ids)
    request.block_ends = tuple(ends)
    request.block_tokens = block_size
