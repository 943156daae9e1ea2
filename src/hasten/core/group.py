"""The sequences that decode, as a group: one token each per step, so sums and a clock are all the books it needs."""

from hasten.core.request import Request


class DecodeGroup:
    """`size` sequences with `context` tokens in KV together; `clock` counts the decode steps scheduled so far.

    A member's context is base + (clock - joined). It needs a new KV block when its context is a multiple of the
    block size, so members are counted by (clock - context) mod block size, which never changes: the
    `takers[clock % block size]` take a block in the next step. `version` changes with the membership.
    """

    def __init__(self, block_size: int) -> None:
        self.size = 0
        self.context = 0
        self.clock = 0
        self.version = 0
        self.takers = [0] * block_size
        self._block_size = block_size

    @property
    def blocks_next(self) -> int:
        """Blocks that the next step takes."""
        return self.takers[self.clock % self._block_size]

    def join(self, request: Request) -> None:
        """Take `request` in, with `request.base` tokens in KV."""
        context = request.base
        self.takers[(self.clock - context) % self._block_size] += 1
        self.size += 1
        self.context += context
        self.version += 1

    def leave(self, request: Request) -> None:
        """Let `request` go; `base` then holds its tokens in KV, and `sampled` the tokens it sampled here too."""
        clock = request.left = self.clock
        joined = request.joined
        context = request.base
        self.takers[(joined - context) % self._block_size] -= 1
        steps = clock - joined
        context += steps
        request.base = context
        request.sampled += steps
        self.size -= 1
        self.context -= context
        self.version += 1

    def advance(self, steps: int) -> int:
        """Every member takes `steps` steps. Returns the blocks they took: `size` per block size, and the rest's."""
        size = self._block_size
        takers = self.takers
        clock = self.clock
        cycles = steps // size
        start = clock % size
        stop = start + steps - cycles * size
        self.clock = clock + steps
        self.context += self.size * steps
        if stop <= size:
            return cycles * self.size + sum(takers[start:stop])
        return cycles * self.size + sum(takers[start:]) + sum(takers[: stop - size])

    def steps_that_fit(self, free: int, limit: int) -> int:
        """How many of the next `limit` steps find blocks when `free` are left."""
        cycles = free // self.size
        steps = cycles * self._block_size
        left = free - cycles * self.size
        while steps < limit:
            left -= self.takers[(self.clock + steps) % self._block_size]
            if left < 0:
                return steps
            steps += 1
        return limit
