"""KV blocks in runs and counts against one block at a time: conservation, hits, and the order of eviction.

`Blocks` follows the free queue of vLLM 0.19 (v1/core/block_pool.py and kv_cache_manager.py) block by block: hashed
full blocks, reference counts, freed last to first to the tail of one queue, taken from its head. It differs as the
pool does: a block whose content another one caches already is not findable.
"""

from __future__ import annotations

from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.driving import request

from hasten.core.kv import BlockPool
from hasten.core.policy import CachePolicy
from hasten.core.prefix import NO_PREFIX, coarsen
from hasten.core.request import Request, Segment

SIZE = 16


class Blocks:
    """Every block on its own. A key names a full block's content and all that goes before it."""

    def __init__(self, count: int) -> None:
        self.free: OrderedDict[int, None] = OrderedDict((block, None) for block in range(count))
        self.users = [0] * count
        self.key_of: dict[int, object] = {}
        self.block_of: dict[object, int] = {}
        self.held: dict[Request, list[int]] = {}
        self.named: dict[Request, int] = {}  # leading blocks whose names are settled
        self.evicted_prompts = 0

    def hits(self, keys: list[object], target: int) -> list[int]:
        """The longest chain of cached blocks among the first target - 1 tokens."""
        found: list[int] = []
        for key in keys[: (target - 1) // SIZE]:
            if key not in self.block_of:
                break
            found.append(self.block_of[key])
        return found

    def take(self, one: Request, blocks: int) -> None:
        for _ in range(blocks):
            block, _ = self.free.popitem(last=False)
            key = self.key_of.pop(block, None)
            if key is not None:
                del self.block_of[key]
                self.evicted_prompts += isinstance(key, int)
            self.users[block] = 1
            self.held[one].append(block)

    def admit(self, one: Request, hits: list[int]) -> None:
        for block in hits:
            self.users[block] += 1
            self.free.pop(block, None)
        self.held[one] = list(hits)
        self.named[one] = len(hits)

    def name(self, one: Request, keys: list[object]) -> None:
        """Full blocks of `one` become findable, each when it fills; what is cached already stays a duplicate."""
        for block, key in list(zip(self.held[one], keys, strict=False))[self.named[one] :]:
            if block not in self.key_of and key not in self.block_of:
                self.key_of[block] = key
                self.block_of[key] = block
        self.named[one] = len(keys)

    def release(self, one: Request) -> None:
        for block in reversed(self.held.pop(one)):
            self.users[block] -= 1
            if not self.users[block]:
                self.free[block] = None


class Pair:
    """The pool and its reference, told the same things."""

    def __init__(self, count: int) -> None:
        self.pool = BlockPool(count, SIZE, True, CachePolicy())
        self.blocks = Blocks(count)
        self.running: list[tuple[Request, int]] = []  # with tokens in KV
        self.waiting: list[Request] = []  # preempted
        self.seen: list[Request] = []

    def keys(self, one: Request, tokens: int) -> list[object]:
        """Names of the full blocks among the first `tokens`: the prompt's ids, then what only `one` can repeat."""
        full = one.prompt_tokens // SIZE
        prompt: list[object] = list(one.block_ids[:full])
        return (prompt + [(one.id, block) for block in range(full, tokens // SIZE)])[: tokens // SIZE]

    def admit(self, one: Request) -> bool:
        """As the scheduler does: hits are acquired before new blocks are taken, the prompt is computed at once."""
        found = self.pool.find(one)
        naive = self.blocks.hits(self.keys(one, one.target), one.target)
        assert found.blocks == self.pool.hits(one) == len(naive)
        assert found.unused == sum(self.blocks.users[block] == 0 for block in naive)
        first = -(-one.target // SIZE) - found.blocks
        if first + found.unused > self.pool.free:
            return False
        self.pool.acquire(one, found)
        self.pool.take(first)
        self.blocks.admit(one, naive)
        self.blocks.take(one, first)
        if one.block_ids:
            self.pool.register(one, one.target // SIZE)
        self.blocks.name(one, self.keys(one, one.target))
        self.running.append((one, one.target))
        return True

    def decode(self, at: int, tokens: int) -> None:
        """Sample `tokens` more, block by block while there are any."""
        one, context = self.running[at]
        for _ in range(tokens):
            if context % SIZE == 0:
                if not self.pool.free:
                    break
                self.pool.take(1)
                self.blocks.take(one, 1)
            context += 1
            self.blocks.name(one, self.keys(one, context))
        self.running[at] = (one, context)

    def leave(self, at: int, *, preempt: bool) -> None:
        one, context = self.running.pop(at)
        self.pool.release(one, context, keep=preempt)
        self.blocks.release(one)
        if preempt:
            one.target = context + 1  # the last token sampled is not in KV yet
            self.waiting.append(one)

    def check(self) -> None:
        assert self.pool.free == len(self.blocks.free)
        held = {block for blocks in self.blocks.held.values() for block in blocks}
        assert self.pool.free + len(held) == self.pool.num_blocks
        assert self.pool.evicted_blocks == self.blocks.evicted_prompts
        for one in self.seen:
            probe = request(10_000, one.prompt_tokens + 1, blocks=one.block_ids)
            assert self.pool.hits(probe) == len(
                self.blocks.hits(self.keys(one, one.prompt_tokens), probe.target)
            )


PROMPTS = st.lists(st.integers(0, 1), max_size=5)  # a path in a binary tree of full blocks
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(("arrive", "arrive", "decode", "finish", "preempt", "resume")),
        PROMPTS,
        st.integers(0, 40),
    ),
    max_size=40,
)


def play(events, count: int, rest: int) -> Pair:
    """Prompts are paths of full blocks and `rest` tokens more; ids name paths."""
    pair = Pair(count)
    for number, (kind, path, value) in enumerate(events):
        pair.pool.now = float(number)
        if kind == "arrive":
            names = [int("1" + "".join(map(str, path[: depth + 1])), 2) for depth in range(len(path))]
            if len(path) * SIZE + rest > 0:
                one = request(number, len(path) * SIZE + rest, blocks=names)
                if pair.admit(one):
                    pair.seen.append(one)
        elif kind == "resume" and pair.waiting:
            if pair.admit(pair.waiting[0]):
                pair.waiting.pop(0)
        elif kind == "decode" and pair.running:
            pair.decode(value % len(pair.running), value)
        elif kind in ("finish", "preempt") and pair.running:
            pair.leave(value % len(pair.running), preempt=kind == "preempt")
        pair.check()
    return pair


@given(EVENTS, st.integers(1, 25), st.integers(1, SIZE - 1))
def test_runs_of_blocks_live_and_die_like_single_blocks(events, count, rest):
    """Equal hits, equal evictions, equal counts, after every event, preemption included."""
    play(events, count, rest)


@given(EVENTS, st.integers(1, 25))
def test_prompts_of_full_blocks_recompute_their_last_one(events, count):
    """Their last block stays a duplicate, and what a preempted request computed behind it is found again."""
    play(events, count, 0)


@given(EVENTS, st.integers(1, 25), st.integers(1, SIZE - 1))
def test_when_all_have_left_every_block_is_free(events, count, rest):
    pair = play(events, count, rest)
    while pair.running:
        pair.leave(0, preempt=False)
    assert pair.pool.free == count
    for one in pair.waiting:
        pair.pool.forget(one)
    pair.pool.take(count)
    assert pair.pool.free == 0
    assert not pair.pool.index


def cached(
    pool: BlockPool, id: int, prompt: int, blocks: tuple[int, ...], tokens: int | None = None
) -> Request:
    """A request that comes, is computed and goes."""
    one = request(id, prompt, blocks=blocks)
    found = pool.find(one)
    pool.acquire(one, found)
    pool.take(-(-prompt // pool.block_size) - found.blocks)
    pool.register(one, prompt // pool.block_size)
    pool.release(one, prompt if tokens is None else tokens)
    return one


def test_the_end_of_a_prompt_is_evicted_before_its_beginning():
    pool = BlockPool(4, SIZE, True, CachePolicy())
    cached(pool, 0, 64, (1, 2, 3, 4))
    pool.take(2)
    assert sorted(pool.index) == [1, 2]
    assert pool.evicted_blocks == 2


def test_the_least_recently_released_prefix_goes_first():
    pool = BlockPool(4, SIZE, True, CachePolicy())
    cached(pool, 0, 32, (1, 2))
    cached(pool, 1, 32, (3, 4))
    cached(pool, 2, 32, (1, 2))  # finds 1 and computes the last block again, in the place of the old 2
    pool.take(1)
    assert sorted(pool.index) == [1, 2, 3]
    pool.take(1)
    assert sorted(pool.index) == [1, 2]


def test_blocks_in_use_are_never_evicted():
    pool = BlockPool(3, SIZE, True, CachePolicy())
    one = request(0, 33, blocks=(1, 2, 9))
    pool.take(3)
    pool.acquire(one, NO_PREFIX)
    pool.register(one, 2)
    assert pool.free == 0
    pool.release(one, 33)
    again = request(1, 33, blocks=(1, 2, 8))
    pool.acquire(again, pool.find(again))
    pool.take(1)
    assert sorted(pool.index) == [1, 2]
    assert pool.free == 0


def test_without_a_cache_nothing_is_found():
    pool = BlockPool(10, SIZE, False, CachePolicy())
    one = request(0, 40, blocks=(1, 2, 3))
    pool.acquire(one, NO_PREFIX)
    pool.take(3)
    pool.release(one, 40)
    assert pool.hits(request(1, 40, blocks=(1, 2, 3))) == 0
    assert pool.free == 10


@pytest.mark.parametrize(
    ("tokens", "blocks", "coarse"),
    [(4, (1, 2, 3, 4, 5, 6, 7, 8, 9), (4, 8)), (8, (1, 2, 3), (2,)), (8, (1,), ())],
)
def test_finer_ids_are_named_by_the_last_they_span(tokens, blocks, coarse):
    """Ids are chained, so the last of those that fill a block names them all; what does not fill one is left out."""
    one = Request(0, 0.0, 100, 10, block_ids=blocks, block_tokens=tokens)
    coarsen(one, SIZE)
    assert one.block_ids == coarse
    assert one.block_tokens == SIZE
    assert [end // SIZE for end in one.block_ends] == list(range(1, len(coarse) + 1))


@given(st.integers(1, 6), st.integers(1, 12), st.integers(0, 30), st.integers(1, 100))
def test_ids_of_several_blocks_are_cached_and_evicted_in_parts(per_id, ids, taken, extra):
    """A run is eaten from its end: what is left of it is found up to the first missing block."""
    pool = BlockPool(per_id * ids, SIZE, True, CachePolicy())
    prompt = per_id * ids * SIZE
    one = Request(0, 0.0, prompt, 10, block_ids=tuple(range(ids)), block_tokens=per_id * SIZE)
    pool.acquire(one, NO_PREFIX)
    pool.take(per_id * ids)
    pool.register(one, per_id * ids)
    pool.release(one, prompt)
    assert pool.free == per_id * ids
    taken = min(taken, per_id * ids)
    pool.take(taken)
    longer = Request(1, 0.0, prompt + extra, 10, block_ids=one.block_ids, block_tokens=per_id * SIZE)
    assert pool.hits(longer) == per_id * ids - taken
    assert pool.evicted_blocks == taken


class Whim(CachePolicy):
    """Evicts in an order that has nothing to do with prefixes."""

    def score(self, segment: Segment, now: float) -> float:
        return float(segment.key * 7919 % 101)


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=5), st.integers(0, 8), st.booleans()),
        max_size=20,
    ),
    st.sampled_from((CachePolicy, Whim)),
    st.integers(12, 60),
)
def test_what_is_found_ends_with_the_first_block_that_is_missing(visits, policy, count):
    """Runs of one to four blocks, evicted from their ends and from their midst, against a walk block by block."""
    pool = BlockPool(count, SIZE, True, policy())
    for number, (path, extra, stays) in enumerate(visits):
        pool.now = float(number)
        one = Request(number, 0.0, 1, 10)
        names = ("1" + "".join(map(str, path[: depth + 1])) for depth in range(len(path)))
        one.block_ids = tuple(int(name, 3) for name in names)
        lengths = [key % 4 + 1 for key in one.block_ids]
        one.block_ends = tuple(SIZE * sum(lengths[: depth + 1]) for depth in range(len(path)))
        one.prompt_tokens = one.target = one.block_ends[-1] + extra
        found = pool.find(one)
        blocks = [(key, at) for key, num in zip(one.block_ids, lengths, strict=True) for at in range(num)]
        expected = 0
        for key, at in blocks[: (one.target - 1) // SIZE]:
            if key not in pool.index or pool.index[key].blocks <= at:
                break
            expected += 1
        held = {key for key, _ in blocks[:expected]}
        assert found.blocks == found.shared == expected
        assert [segment.key for segment in found.segments] == [key for key in one.block_ids if key in held]
        assert found.unused == sum(each.blocks for each in found.segments if not each.users)
        whole = -(-one.target // SIZE)
        if whole - expected + found.unused <= pool.free:
            pool.acquire(one, found)
            pool.take(whole - expected)
            pool.register(one, one.target // SIZE)
            if not stays:
                pool.release(one, one.target)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.sampled_from((8, 16, 24)))
def test_each_block_is_named_by_the_first_id_that_reaches_its_end(lengths, size):
    """Whatever the ids span, and whether or not that divides into blocks."""
    ends = tuple(sum(lengths[: at + 1]) for at in range(len(lengths)))
    one = Request(0, 0.0, ends[-1], 10, block_ids=tuple(range(len(lengths))), block_tokens=1)
    one.block_ends = ends
    coarsen(one, size)
    pool = BlockPool(ends[-1], size, True, CachePolicy())
    assert pool._named(one) == ends[-1] // size
    for block in range(ends[-1] // size):
        first = next(at for at, end in enumerate(ends) if end >= (block + 1) * size)
        name, start, stop = pool._name_of(one, block)
        assert (name, start <= block < stop) == (first, True)
