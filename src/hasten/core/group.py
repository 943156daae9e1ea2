"""The sequences that decode, as a group: one token each per step, so sums and a clock are all the books it needs."""

from hasten.core.request import Request


class DecodeGroup:
    """`size` sequences with `context` tokens in KV together; `clock` counts the decode steps scheduled so far.

    A member's context is base + (clock - joined). It needs a new KV block when its context is a multiple of the
    block size, so members are counted by (clock - context) mod block size, which never changes: those counted at
    `clock` mod block size take a block in the next step, `blocks_next` in all.
    """

    def __init__(self, block_size: int) -> None:
        self.size = 0
        self.context = 0
        self.clock = 0
        self.blocks_next = 0
        self._block_size = block_size
        self._phase = [0] * block_size

    def join(self, request: Request) -> None:
        """Take `request` in, with `request.base` tokens in KV."""
        clock = self.clock
        phase = self._phase
        size = self._block_size
        context = request.base
        phase[(clock - context) % size] += 1
        self.blocks_next = phase[clock % size]
        self.size += 1
        self.context += context

    def leave(self, request: Request) -> None:
        """Let `request` go; `base` then holds its tokens in KV, and `sampled` the tokens it sampled here too."""
        clock = self.clock
        phase = self._phase
        size = self._block_size
        phase[(request.joined - request.base) % size] -= 1
        self.blocks_next = phase[clock % size]
        steps = clock - request.joined
        context = request.base + steps
        request.base = context
        request.sampled += steps
        request.left = clock
        self.size -= 1
        self.context -= context

    def step(self) -> None:
        """Every member takes a step."""
        self.clock += 1
        self.context += self.size
        self.blocks_next = self._phase[self.clock % self._block_size]

    def advance(self, steps: int) -> int:
        """Every member takes `steps` steps. Returns the blocks they took: `size` per block size, and the rest's."""
        size = self._block_size
        phase = self._phase
        cycles = steps // size
        start = self.clock % size
        stop = start + steps - cycles * size
        self.clock += steps
        self.context += self.size * steps
        if stop < size:
            self.blocks_next = phase[stop]
            return cycles * self.size + sum(phase[start:stop])
        stop -= size
        self.blocks_next = phase[stop]
        return cycles * self.size + sum(phase[start:]) + sum(phase[:stop])

    def steps_that_fit(self, free: int, limit: int) -> int:
        """How many of the next `limit` steps find blocks when `free` are left."""
        if (limit // self._block_size + 1) * self.size <= free:
            return limit
        cycles = free // self.size
        steps = cycles * self._block_size
        left = free - cycles * self.size
        while steps < limit:
            left -= self._phase[(self.clock + steps) % self._block_size]
            if left < 0:
                return steps
            steps += 1
        return limit
