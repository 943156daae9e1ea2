"""Finished members of a request-level batch that has others still at work: they keep their slots and their KV."""

from __future__ import annotations

from collections.abc import Iterator

from hasten.core.kv import BlockPool
from hasten.core.request import HELD, Request


class HeldBatch:
    """The members in the order in which they finished; `context` is their tokens in KV together."""

    def __init__(self) -> None:
        self.members: list[Request] = []
        self.context = 0

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[Request]:
        return iter(self.members)

    def hold(self, request: Request) -> None:
        """Keep `request`, whose `base` is its tokens in KV."""
        request.status = HELD
        self.members.append(request)
        self.context += request.base

    def drop(self, request: Request) -> None:
        """`request` is held no more."""
        self.members.remove(request)
        self.context -= request.base

    def strip(self, pool: BlockPool) -> bool:
        """Take the KV of one member, the last to finish first: it only keeps its slot. False: none has any."""
        for request in reversed(self.members):
            if request.base:
                pool.release(request, request.base)
                self.context -= request.base
                request.base = 0
                request.shared = 0
                return True
        return False

    def let_go(self) -> list[Request]:
        """All members; nobody is held any more."""
        members, self.members, self.context = self.members, [], 0
        return members
