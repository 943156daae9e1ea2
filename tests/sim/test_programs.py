"""Programs in virtual time: who waits for whom, and the jump equals the step."""

import numpy as np
import pytest

from hasten.deployment import Deployment
from hasten.latency.compiled import LinearCost
from hasten.sim.run import simulate
from hasten.workload import Workload, parse_workload
from hasten.workload.agents import kinds
from hasten.workload.programs import Call, Program, workload_of

COST = LinearCost(0.01, per_prefill_token=1e-5, per_sequence=1e-4, per_context=1e-8)


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return Deployment.of("llama-3.1-8b", "h100-sxm", replicas=2)


def play(deployment: Deployment, work: Workload, **settings: object) -> dict[int, tuple[float, float]]:
    records = simulate(deployment, work, cost=COST, **settings).records  # type: ignore[arg-type]
    return {
        int(i): (float(a), float(f))
        for i, a, f in zip(records.id, records.arrival, records.finish, strict=True)
    }


def test_a_join_waits_for_the_last(deployment: Deployment) -> None:
    calls = (Call(10, 2), Call(10, 50, (0,)), Call(10, 5, (0,)), Call(10, 2, (1, 2), wait_s=3.0))
    times = play(deployment, workload_of([Program(0.0, calls)]))
    assert times[1][0] == times[2][0] == times[0][1]
    assert times[3][0] == max(times[1][1], times[2][1]) + 3.0


def test_a_quorum_waits_for_the_first(deployment: Deployment) -> None:
    calls = (Call(10, 50), Call(10, 5), Call(10, 2, (0, 1), quorum=1))
    times = play(deployment, workload_of([Program(0.0, calls)]))
    assert times[2][0] == min(times[0][1], times[1][1])


@pytest.mark.parametrize("kind", kinds())
def test_jumps_equal_steps(deployment: Deployment, kind: str) -> None:
    work = parse_workload(f"agents:kind={kind},rate=2,n=3").head(60)
    jumped, stepped = play(deployment, work), play(deployment, work, stepping=True)
    assert jumped.keys() == stepped.keys()
    assert np.allclose([jumped[i] for i in jumped], [stepped[i] for i in jumped], rtol=1e-9)


def test_later_turns_find_the_answers_before_them(deployment: Deployment) -> None:
    work = parse_workload("agents:kind=swe,rate=1,n=2")
    report = simulate(deployment, work, route="prefix_affinity", cost=COST)
    follow_ups = work.parent is not None and float((work.parent >= 0).mean())
    assert report.prefix_hit_share > 0.9 * float(follow_ups)
    assert report.programs.calls.sum() == len(work)


def single_blocks(work: Workload) -> Workload:
    """The same workload with a name for every block instead of runs."""
    names: dict[tuple[int, int], int] = {}
    ids, counts = [], []
    for row in range(len(work)):
        start = 0
        before = len(ids)
        for run, end in zip(work.blocks_of(row), work.ends_of(row), strict=True):
            places = range((end - start) // work.block_tokens)
            ids.extend(names.setdefault((run, place), len(names)) for place in places)
            start = end
        counts.append(len(ids) - before)
    return work.replaced(
        block_ids=ids, block_offsets=np.concatenate(([0], np.cumsum(counts))), block_spans=None
    )


@pytest.mark.parametrize("kind", ["swe", "bfcl", "orchestrator"])
@pytest.mark.parametrize(("block_size", "room"), [(16, None), (32, None), (128, None), (16, 90_000)])
def test_runs_are_as_good_as_single_blocks(kind: str, block_size: int, room: int | None) -> None:
    """Also where blocks of text and of KV differ in size, and where the cache is too small to keep everything."""
    served = Deployment.of(
        "llama-3.1-8b", "h100-sxm", block_size=block_size, max_model_len=80_000, kv_cache_tokens=room
    )
    work = parse_workload(f"agents:kind={kind},rate=1,n=8,seed=1").head(120)
    work = work.slice(0, int((np.cumsum(work.prompt_tokens + work.output_tokens >= 80_000) == 0).sum()))
    runs, singles = simulate(served, work, cost=COST), simulate(served, single_blocks(work), cost=COST)
    assert runs.prefix_hit_share == pytest.approx(singles.prefix_hit_share, abs=0.002)
    assert runs.e2e.mean == pytest.approx(singles.e2e.mean, rel=0.01)
    if room is None:
        assert np.array_equal(runs.records.cached_tokens, singles.records.cached_tokens)
