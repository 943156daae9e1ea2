"""A second tier of KV blocks: nothing is lost or counted twice, and it keeps what a larger device would keep."""

from hypothesis import given
from hypothesis import strategies as st
from tests.core.driving import request

from hasten.core.host import HostCache, TieredPool
from hasten.core.kv import BlockPool
from hasten.core.limits import Limits
from hasten.core.policy import CachePolicy
from hasten.core.prefix import NO_PREFIX
from hasten.core.request import BLANK, Request
from hasten.policies import load_policy

SIZE = 4
PER_ID = 2  # blocks that one name spans


def tiered(
    device: int, host: int, *, moves: bool = True, pays: bool = True, policy: str = "lru"
) -> TieredPool:
    behind = HostCache(host, SIZE, load_policy("cache", policy))
    limits = Limits(num_blocks=device, block_size=SIZE)
    return TieredPool(limits, CachePolicy(), behind, moves=moves, pays=lambda tokens, context, now: pays)


def asking(number: int, names: tuple[int, ...], extra: int = 1) -> Request:
    """A prompt of whole named runs, and `extra` tokens of its own."""
    made = request(number, prompt=len(names) * PER_ID * SIZE + extra)
    made.block_ids, made.block_tokens = names, PER_ID * SIZE
    return made


def serve(pool: BlockPool, one: Request, now: float) -> tuple[int, int]:
    """Admit, load, compute and release `one`; returns the leading blocks found on the device and in all."""
    pool.now = now
    found = pool.find(one)
    hits = found.blocks
    reach = max(hits, pool.reach(one, hits) // SIZE)
    whole = -(-one.target // SIZE)
    pool.acquire(one, found)
    pool.take(whole - hits)
    pool.register(one, reach)
    pool.register(one, one.target // SIZE)
    pool.release(one, one.target)
    return hits, reach


def check(pool: TieredPool) -> None:
    """Nobody runs: all blocks are free, and what is findable fits in; a block that moves is in one tier only."""
    host = pool.host
    assert pool.free == pool.num_blocks
    assert host.free == host.num_blocks
    assert sum(run.blocks for run in host.index.values()) <= host.num_blocks
    for each in (pool, host):
        queue = [(entry, segment) for _, entry, segments in each._queue for segment in segments]
        queued = sum(segment.blocks for entry, segment in queue if segment.entry == entry)
        assert queued == each.num_blocks
    for key, run in host.index.items():
        assert run.blocks > 0
        assert 0 <= run.start < run.start + run.blocks <= PER_ID
        here = pool.index.get(key)
        if pool._moves and here is not None:
            assert here.blocks <= run.start


@st.composite
def visits(draw: st.DrawFn) -> list[tuple[int, ...]]:
    """Chains of names out of a small tree: equal names mean equal prefixes."""
    depth = st.integers(1, 4)
    return [
        tuple(branch * 10 + level for level in range(draw(depth)))
        for branch in draw(st.lists(st.integers(0, 4), min_size=1, max_size=40))
    ]


@given(
    visits(),
    st.integers(9, 20),
    st.integers(1, 40),
    st.booleans(),
    st.sampled_from(("lru", "fifo", "one_bit")),
)
def test_books(found: list[tuple[int, ...]], device: int, host: int, moves: bool, policy: str) -> None:
    pool = tiered(device, host, moves=moves, policy=policy)
    for number, names in enumerate(found):
        hits, reach = serve(pool, asking(number, names), float(number))
        assert hits <= reach <= len(names) * PER_ID
        check(pool)


@given(visits(), st.integers(9, 20), st.integers(1, 40))
def test_what_moves_is_kept_as_on_a_device_with_the_room_of_both(
    found: list[tuple[int, ...]], device: int, host: int
) -> None:
    """Last use decides in both tiers together as in one, when there is room for what is on its way: it stays in host
    memory until it has arrived. The larger device also queues blocks without content, so it keeps no more."""
    pool, large = tiered(device, host + 4 * PER_ID), BlockPool(device + host, SIZE, True, CachePolicy())
    for number, names in enumerate(found):
        _, reach = serve(pool, asking(number, names), float(number))
        hits, _ = serve(large, asking(number, names), float(number))
        assert reach >= hits


@given(visits(), st.integers(9, 20), st.integers(1, 40))
def test_copies_keep_no_more_than_what_moves(found: list[tuple[int, ...]], device: int, host: int) -> None:
    """Copied tiers overlap."""
    tiers = [tiered(device, host, moves=moves) for moves in (False, True)]
    copied, moved = (
        sum(serve(pool, asking(n, names), float(n))[1] for n, names in enumerate(found)) for pool in tiers
    )
    assert copied <= moved


@given(visits(), st.integers(9, 20), st.integers(1, 40))
def test_what_does_not_pay_stays_there(found: list[tuple[int, ...]], device: int, host: int) -> None:
    pool, alone = tiered(device, host, pays=False), BlockPool(device, SIZE, True, CachePolicy())
    for number, names in enumerate(found):
        assert serve(pool, asking(number, names), float(number)) == serve(
            alone, asking(number, names), float(number)
        )


def test_a_run_comes_back_from_where_the_device_ends() -> None:
    """The device lost the second block of a run: the load begins there, and the host then forgets it."""
    pool = tiered(5, 4)
    serve(pool, asking(0, (1, 2)), 0.0)  # 4 blocks and a blank one
    filler = request(1, prompt=2 * SIZE)
    pool.acquire(filler, NO_PREFIX)
    pool.take(2)  # the blank one, and the last block of run 2
    assert pool.host.found(2, 1) == 1
    assert pool.host.found(2, 0) == 0  # its first block is still on the device
    pool.release(filler, 2 * SIZE)
    again = asking(2, (1, 2))
    assert pool.hits(again) == 3
    assert pool.reach(again, 3) == 4 * SIZE
    assert serve(pool, again, 1.0) == (3, 4)
    assert pool.host.found(2, 1) == 0
    assert pool.host.written_blocks >= 1


def test_the_last_token_is_computed() -> None:
    pool = tiered(5, 8)
    serve(pool, asking(0, (1, 2)), 0.0)
    serve(pool, asking(1, (3, 4)), 1.0)
    whole = asking(2, (1, 2), extra=0)
    assert pool.hits(whole) == 0
    assert pool.reach(whole, 0) == 3 * SIZE


def test_a_full_host_drops_the_least_recently_used() -> None:
    pool = tiered(3, 2)
    for number, name in enumerate((1, 2, 3)):
        serve(pool, asking(number, (name,)), float(number))
    assert pool.host.found(1, 0) == 0
    assert pool.host.found(2, 0) == 2
    assert pool.host.evicted_blocks == 2
    assert all(segment.kind != BLANK or segment.blocks for segment in pool.host.index.values())
