"""Host memory behind the KV of a replica: laws over random runs, what a load costs, and what the tier is worth."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sim import cases
from tests.sim.cases import Case, check_complete, check_equal, play

from hasten.core.limits import Limits
from hasten.deployment import Deployment
from hasten.disaggregation import Disaggregated
from hasten.errors import InputError
from hasten.explain.attribution import Costs, attribute
from hasten.hardware import Link
from hasten.latency import LinearCost
from hasten.latency.host import HostMemory
from hasten.sim.host import host_stats
from hasten.sim.recorder import OK
from hasten.sim.run import simulate
from hasten.sim.steps import StepLog
from hasten.workload import Workload

FEW = settings(max_examples=settings().max_examples // 2)


@st.composite
def returning(draw: st.DrawFn) -> Workload:
    """Requests that begin with one of a few documents, as far as it suits them: more than the device can hold."""
    num = draw(st.integers(8, 30))
    chance = random.Random(draw(st.integers(0, 2**32)))
    unit = draw(st.sampled_from((4, 16, 64)))
    documents = [chance.randint(2, 8) for _ in range(draw(st.integers(2, 6)))]
    rows = []
    for at in range(num):
        which = chance.randrange(len(documents))
        shared = chance.randint(1, documents[which])
        rows.append([which * 100 + block for block in range(shared)] + [1000 + at])
    arrival = np.cumsum([chance.expovariate(1.0) * draw(st.sampled_from((0.001, 0.05))) for _ in rows])
    return Workload(
        arrival=arrival,
        prompt_tokens=np.array([len(row) * unit - chance.randrange(unit) for row in rows]),
        output_tokens=np.array([chance.randint(1, 2 * unit) for _ in rows]),
        block_ids=np.array([block for row in rows for block in row]),
        block_offsets=np.cumsum([0, *(len(row) for row in rows)]),
        block_tokens=unit,
    )


def drawn(data: Any, work: Workload) -> Case:
    """Anything that caches prefixes and whose blocks hardly suffice, with host memory behind it."""
    case = data.draw(cases.deployed(work))
    most = int((work.prompt_tokens + work.output_tokens).max()) // case.limits.block_size + 2
    blocks = int(most * data.draw(st.sampled_from((1, 1.2, 1.5))))
    limits = replace(case.limits, prefix_caching=True, num_blocks=blocks)
    return replace(case, limits=limits, host=data.draw(cases.host_memories(limits)))


@FEW
@given(st.data())
def test_jumps_equal_steps(data):
    check_jumps(drawn(data, data.draw(st.one_of(returning(), returning(), cases.conversations()))))


@FEW
@given(st.data())
def test_jumps_equal_steps_for_ranks_that_step_together(data):
    case = drawn(data, data.draw(returning()))
    check_jumps(replace(case, cost=data.draw(cases.LOCKSTEP_COSTS), ranks=data.draw(st.integers(1, 3))))


def check_jumps(case: Case) -> None:
    stepped = play(case, stepping=True)
    jumped = play(case, stepping=False)
    check_complete(case, stepped)
    check_equal(jumped, stepped)
    for mine, other in zip(jumped.loops, stepped.loops, strict=True):
        one, two = host_stats(mine), host_stats(other)
        assert (one.loads, one.loaded_tokens, one.written_bytes) == (
            two.loads,
            two.loaded_tokens,
            two.written_bytes,
        )
        assert one.load_wait_seconds == pytest.approx(two.load_wait_seconds, rel=1e-9, abs=1e-9)


COST = LinearCost(0.01, per_prefill_token=1e-4, per_sequence=1e-4, per_context=1e-8)


def served(host_gib: float, **settings: Any) -> Deployment:
    """512 tokens of KV in blocks of 16 on the device."""
    chosen = {"kv_cache_tokens": 512, "max_model_len": 512, "host_kv_writes": "evicted"} | settings
    return Deployment.of("llama-3.1-8b", "h100-sxm", host_kv_bytes=int(host_gib * 2**30), **chosen)


def turned(prompt: int = 400) -> Workload:
    """Two prompts of 25 blocks that the device can't both hold; then the first comes back."""
    blocks = prompt // 16
    rows = [range(blocks), range(100, 100 + blocks), range(blocks)]
    return Workload(
        arrival=np.array([0.0, 10.0, 20.0]),
        prompt_tokens=np.full(3, prompt + 8),
        output_tokens=np.ones(3, dtype=int),
        block_ids=np.array([block for row in rows for block in [*row, 1000 + row[0]]]),
        block_offsets=np.arange(4) * (blocks + 1),
        block_tokens=16,
    )


def ttft(report: Any) -> list[float]:
    order = report.records.id.argsort()
    return (report.records.first_token - report.records.arrival)[order].tolist()


def test_a_load_takes_its_messages_and_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "slow.toml"
    path.write_text('name = "slow"\nbandwidth = 1e10\nlatency = 1e-3\nefficiency = 1.0\n')
    deployment = served(1, host_kv_link=str(path))
    log = StepLog()
    report = simulate(deployment, turned(), cost=COST, log=log)
    first, _, again = ttft(report)
    whole = first - 0.01 - 408e-4  # the front end
    moved = report.host.loaded_tokens
    assert 0 < moved <= 400
    kept = 400 - moved  # what the second prompt left on the device
    assert report.host.loads == 1
    took = 32 * 1e-3 + moved * deployment.model.kv_bytes_per_token() / 1e10
    assert report.host.load_wait_seconds == pytest.approx(took)
    assert again - whole == pytest.approx(took + 0.01 + 8e-4)
    assert report.records.cached_tokens.max() == moved + kept
    found = attribute(report.records, log, Costs(COST))
    assert found.of(2)["kv_load"] == pytest.approx(took)
    assert report.to_dict()["host_loaded_bytes"] == moved * deployment.model.kv_bytes_per_token()


@pytest.mark.parametrize(("bandwidth", "loads"), [(1e12, 1), (2e8, 0)])
def test_cheaper_loads_only_what_is_sooner(tmp_path: Path, bandwidth: float, loads: int) -> None:
    """Computing 400 tokens takes 50 ms; 52 MB take 0.05 ms or 262 ms."""
    path = tmp_path / "link.toml"
    path.write_text(f'name = "link"\nbandwidth = {bandwidth}\nlatency = 1e-6\n')
    settings = {"host_kv_link": str(path), "host_kv_reload": "cheaper"}
    report = simulate(served(1, **settings), turned(), cost=COST)
    assert report.host.loads == loads
    assert ttft(report)[2] <= ttft(simulate(served(0), turned(), cost=COST))[2]


def test_no_host_memory_is_no_tier_to_the_bit() -> None:
    work = Workload.from_trace("mooncake-conversation", limit=60)
    plain = Deployment.of("llama-3.1-8b", "h100-sxm")
    one, other = (
        simulate(each, work) for each in (plain, replace(plain, host_kv_bytes=0, host_kv_writes="evicted"))
    )
    assert one.to_dict() == other.to_dict()
    assert one.host is None


@FEW
@given(st.data())
def test_a_tier_that_never_pays_changes_nothing(data):
    """A link slower than any prefill, asked again and again: the run is that without host memory, to rounding."""
    case = drawn(data, data.draw(returning()))
    dead = replace(
        case.host, link=Link(name="dead", bandwidth=1e-3, latency=1e3), reload="cheaper", writes="evicted"
    )
    plain, tier = (play(replace(case, host=host), stepping=False) for host in (None, dead))
    for name in cases.COLUMNS:
        np.testing.assert_allclose(plain.records[name], tier.records[name], rtol=1e-9, err_msg=name)


def library(num: int = 400, documents: int = 20) -> Workload:
    """Questions about 1,024 tokens of one of 20 documents, drawn at random, far enough apart to be served alone."""
    rng = np.random.default_rng(0)
    rows = [[100 * which + block for block in range(64)] for which in rng.integers(0, documents, num)]
    return Workload(
        arrival=np.arange(num, dtype=float),
        prompt_tokens=np.full(num, 1032),
        output_tokens=np.full(num, 4),
        block_ids=np.array([block for row in rows for block in [*row, 99_999]]),
        block_offsets=np.arange(num + 1) * 65,
        block_tokens=16,
    )


def test_an_instant_link_is_worth_a_larger_device() -> None:
    """Over a link that takes no time, host memory is about as good as the same memory on the device."""
    small, large = (served(0, kv_cache_tokens=size, max_model_len=2048) for size in (6_000, 14_000))
    tiered = replace(small, host_kv_bytes=int(8_000 * small.model.kv_bytes_per_token()))
    instant = replace(tiered.host, link=Link(name="instant", bandwidth=1e18, latency=0.0))
    tiered.__dict__["host"] = instant
    alone, both, roomy = (simulate(each, library(), cost=COST) for each in (small, tiered, large))
    assert alone.prefix_hit_share < 0.5 * roomy.prefix_hit_share
    assert both.prefix_hit_share == pytest.approx(roomy.prefix_hit_share, rel=0.05)
    assert both.ttft.mean == pytest.approx(roomy.ttft.mean, rel=0.05)


def test_a_step_that_preempts_everybody_is_not_the_end() -> None:
    """Two share blocks of a pool that holds one and a bit, until the last who runs is preempted too."""
    runs = (
        1,
        5,
        4,
        4,
        5,
        3,
        2,
        5,
        5,
    )  # blocks of 64 tokens at the beginning of each prompt that others have too
    documents = (100, 100, 100, 100, 100, 0, 100, 0, 0)
    rows = [
        [*range(first, first + n), 1000 + at]
        for at, (first, n) in enumerate(zip(documents, runs, strict=True))
    ]
    work = Workload(
        arrival=np.linspace(0.0001, 0.005, len(rows)),
        prompt_tokens=np.array([67, 328, 287, 313, 383, 245, 141, 384, 321]),
        output_tokens=np.array([86, 63, 84, 17, 49, 57, 62, 37, 115]),
        block_ids=np.concatenate(rows),
        block_offsets=np.cumsum([0, *map(len, rows)]),
        block_tokens=64,
    )
    tight = Limits(111, 4, max_num_seqs=2, max_num_batched_tokens=64, long_prefill_token_threshold=32)
    link = Link(name="any", bandwidth=1e12, latency=0.0)
    memory = HostMemory(num_blocks=1, block_size=4, block_bytes=7000.0, link=link)
    run = play(Case(work, tight, LinearCost(1e-3, per_prefill_token=1e-5), host=memory), stepping=True)
    assert (run.records["status"] == OK).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"host_kv_bytes": -1}, "host_kv_bytes is -1"),
        ({"host_kv_bytes": 100}, "a KV block takes"),
        ({"host_kv_bytes": 1 << 30, "host_kv_writes": "never"}, "use one of computed, evicted"),
        ({"host_kv_bytes": 1 << 30, "host_kv_reload": "often"}, "use one of always, cheaper"),
        ({"host_kv_bytes": 1 << 30, "host_kv_messages": "bit"}, "use one of layer, block, whole"),
        ({"host_kv_bytes": 1 << 30, "host_kv_link": "no-such"}, "unknown"),
        ({"host_kv_bytes": 1 << 30, "host_kv_policy": "continuum"}, "who releases blocks"),
    ],
)
def test_settings_that_cannot_be_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        simulate(Deployment.of("llama-3.1-8b", "h100-sxm", **settings), turned(), cost=COST)


def test_the_prefill_pool_may_have_it() -> None:
    work = turned()
    one, tier = served(0), served(1)
    split = simulate(Disaggregated.of(tier, one, "infiniband-ndr"), work, cost=COST)
    assert split.host.loads == 1
    assert split.records.is_ok.all()
    with pytest.raises(InputError, match="decode pool"):
        Disaggregated.of(one, tier, "infiniband-ndr")


def test_ranks_that_step_together_have_a_part_each() -> None:
    made = Deployment.of(
        "qwen3-30b-a3b", "h100-sxm", dp=2, ep=2, host_kv_bytes=64 << 30, kv_cache_tokens=2048
    )
    per_rank = made.host.num_blocks * made.host.block_bytes
    assert per_rank == pytest.approx(32 * 2**30, rel=1e-3)
    report = simulate(replace(made, host_kv_writes="evicted"), library(60, 4))
    assert report.records.is_ok.all()
    assert report.host.num_blocks == 2 * made.host.num_blocks
    assert report.host.loads > 0
