"""Which physical KV blocks a request's tokens lie in. The core keeps counts; this mirrors them with numbers.

A block belongs to a cached segment (shared prefix), to the remains of a preempted request, to one running request
alone, or to nobody. Every change follows a decision of the core, read off its requests after each `schedule`.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Mapping, Sequence

from hasten.core.batch import Batch
from hasten.core.kv import BlockPool
from hasten.core.request import DECODING, HELD, REMAINS, SHARED, WAITING, Request, Segment


class BlockNames:
    """Names the full blocks of a growing row: a hash of a block's tokens and of all before (SHA-256, 128 bits).

    Rows share blocks only under the same `salt`.
    """

    __slots__ = ("_names", "_parent", "_size")

    def __init__(self, block_size: int, salt: str = "") -> None:
        self._size = block_size
        self._parent = hashlib.sha256(salt.encode()).digest() if salt else b""
        self._names: list[int] = []

    def of(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The names of all full blocks of `tokens`, which begin with what was given before."""
        size = self._size
        for start in range(len(self._names) * size, len(tokens) - size + 1, size):
            block = array("q", tokens[start : start + size]).tobytes()
            self._parent = hashlib.sha256(self._parent + block).digest()
            self._names.append(int.from_bytes(self._parent[:16], "little"))
        return tuple(self._names)


class _Table:
    """The physical blocks of one running request, in order. `owners` names the segment of a shared block."""

    __slots__ = ("blocks", "owners", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.blocks: list[int] = []
        self.owners: list[Segment | None] = []


class BlockTables:
    """Physical block numbers for everything that the core's pool counts.

    Call `follow` after every `schedule`, whatever it returned, and `release` for every request that ended.
    """

    def __init__(self, pool: BlockPool) -> None:
        self._size = pool.block_size
        self._num_blocks = pool.num_blocks
        self._journal: list[Segment] = []
        pool.journal = self._journal
        self._index = pool.index
        self._free = list(range(pool.num_blocks - 1, -1, -1))
        self._tables: dict[int, _Table] = {}
        self._cached: dict[Segment, int] = {}
        self._remains: dict[int, tuple[Segment, list[int]]] = {}  # by request

    def blocks_of(self, request: Request) -> list[int]:
        """Physical blocks of a running request, in the order of its tokens. Not a copy: only read it."""
        return self._tables[request.id].blocks

    def follow(self, batch: Batch | None, decodes: Iterable[Request], clock: int) -> None:
        """Do as the core decided: free what it took away, then give blocks to what `batch` computes.

        `decodes` are the sequences that decode in `batch`; `clock` is the decode clock after it.
        """
        for table in list(self._tables.values()):
            request = table.request
            if request.status == WAITING or (request.status == HELD and request.base == 0):
                self._strip(table)
        if self._journal:
            self._evict()
        if batch is None:
            return
        size = self._size
        for request in decodes:
            table = self._tables[request.id]
            tokens = request.base + (clock - request.joined if request.status == DECODING else 0)
            while len(table.blocks) * size < tokens:
                self._give(table, None)
        for chunk in batch.prefills:
            self._extend(chunk.request, chunk.context, chunk.context + chunk.tokens)

    def release(self, request: Request) -> None:
        """`request` ended: only what the prefix cache keeps stays, blocks of the answer that it took just now too."""
        table = self._tables.pop(request.id, None)
        if table is not None:
            if request.names_answer:
                self._adopt(table, self._index)
            self._free += [
                block for block, owner in zip(table.blocks, table.owners, strict=True) if owner is None
            ]
        _, blocks = self._remains.pop(request.id, (None, ()))
        self._free += blocks

    def _strip(self, table: _Table) -> None:
        """The request lost its KV; its remains, if the core keeps them, lie behind what it offered to the cache."""
        request = table.request
        del self._tables[request.id]
        ghost = request.ghost
        start = stop = request.shared
        if ghost is not None and ghost.kind == REMAINS:
            stop += ghost.blocks
            self._remains[request.id] = (ghost, table.blocks[start:stop])
        for number, (block, owner) in enumerate(zip(table.blocks, table.owners, strict=True)):
            if owner is None and not start <= number < stop:
                self._free.append(block)

    def _evict(self) -> None:
        lost = set(self._journal)
        self._journal.clear()
        for segment in lost:
            block = self._cached.pop(segment, None)
            if block is not None:
                self._free.append(block)
        for ghost, blocks in self._remains.values():
            if ghost in lost:
                self._free += blocks[ghost.blocks :]
                del blocks[ghost.blocks :]

    def _extend(self, request: Request, context: int, tokens: int) -> None:
        """Blocks for [0, tokens) of a prompt under way; [0, context) may come from the cache on admission."""
        table = self._tables.get(request.id)
        remains: list[int] = []
        if table is None:
            table = self._tables[request.id] = _Table(request)
            _, remains = self._remains.pop(request.id, (None, []))
        size = self._size
        shared = {segment.key: segment for segment in request.segments if segment.kind == SHARED}
        names = request.block_ids
        hits = context // size
        kept = iter(remains)
        used = 0
        for number in range(len(table.blocks), (tokens + size - 1) // size):
            owner = shared.get(names[number]) if number < len(names) else None
            cached = None if owner is None else self._cached.get(owner)
            if cached is not None:
                table.blocks.append(cached)
                table.owners.append(owner)
            elif number < hits:
                table.blocks.append(next(kept))
                table.owners.append(None)
                used += 1
            else:
                self._give(table, owner)
        self._free += remains[used:]
        self._adopt(table, shared)

    def _adopt(self, table: _Table, shared: Mapping[int, Segment]) -> None:
        """Blocks that were partial, private therefore, and are full now, may have entered the prefix cache `shared`."""
        names = table.request.block_ids
        for number in range(len(table.blocks) - 1, -1, -1):
            if number < len(names) and table.owners[number] is None:
                owner = shared.get(names[number])
                if owner is not None and owner not in self._cached:
                    table.owners[number] = owner
                    self._cached[owner] = table.blocks[number]

    def _give(self, table: _Table, owner: Segment | None) -> None:
        block = self._free.pop()
        table.blocks.append(block)
        table.owners.append(owner)
        if owner is not None:
            self._cached[owner] = block

    def check(self) -> None:
        """Every physical block has one owner or none. Raises RuntimeError with the first that has not."""
        seen = [0] * self._num_blocks
        for block in self._free:
            seen[block] += 1
        for block in self._cached.values():
            seen[block] += 1
        for _, blocks in self._remains.values():
            for block in blocks:
                seen[block] += 1
        for table in self._tables.values():
            for block, owner in zip(table.blocks, table.owners, strict=True):
                if owner is None:
                    seen[block] += 1
                elif self._cached.get(owner) != block:
                    raise RuntimeError(f"block {block} of request {table.request.id} is no longer cached")
        for block, count in enumerate(seen):
            if count != 1:
                raise RuntimeError(f"physical KV block {block} has {count} owners")

    @property
    def used(self) -> int:
        """Physical blocks with content that somebody may still want."""
        return self._num_blocks - len(self._free)
