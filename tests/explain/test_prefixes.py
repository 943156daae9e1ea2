"""Prefixes that could have been hits: by the time at which somebody had them, and by where."""

from typing import Any

import numpy as np
import pytest

from hasten.deployment import Deployment
from hasten.explain.attribution import Attribution
from hasten.explain.setup import Setup
from hasten.latency import LinearCost
from hasten.workload import Workload

COST = LinearCost(0.01, per_prefill_token=1e-4)


def explained(
    arrival: list[float], blocks: list[list[int]], *, replicas: int = 1, **settings: Any
) -> Attribution:
    """Requests with prompts of named blocks of 16 tokens each, and one token more."""
    work = Workload(
        arrival=np.array(arrival),
        prompt_tokens=np.array([16 * len(each) + 1 for each in blocks]),
        output_tokens=np.full(len(blocks), 2),
        block_ids=np.array([*(name for each in blocks for name in [*each, 1000 + sum(each)])]),
        block_offsets=np.cumsum([0, *(len(each) + 1 for each in blocks)]),
        block_tokens=16,
    )
    served = Deployment.of("llama-3.1-8b", "h100-sxm", replicas=replicas, **settings)
    return Setup(deployment=served, work=work, cost=COST).attributed()[1]


def test_a_prefix_on_another_replica_counts_once_it_is_computed() -> None:
    early = explained([0.0, 0.001], [[1, 2, 3, 4], [1, 2, 3, 4]], replicas=2)
    assert "prefill_elsewhere" not in early.of(1)  # nobody had it yet
    late = explained([0.0, 1.0], [[1, 2, 3, 4], [1, 2, 3, 4]], replicas=2)
    whole = late.of(0)["prefill_own"]
    assert late.of(1)["prefill_elsewhere"] == pytest.approx(whole * 64 / 65)


def test_a_hit_is_no_miss() -> None:
    found = explained([0.0, 1.0], [[1, 2, 3, 4], [1, 2, 3, 4]])
    assert found.records.cached_tokens.max() == 64
    assert {"prefill_elsewhere", "prefill_evicted"}.isdisjoint(found.of(1))


def test_what_the_cache_lost_is_told_from_what_it_never_had() -> None:
    """A pool of 12 blocks: the prompts between push the first one out."""
    blocks = [[1, 2, 3, 4, 5, 6], [11, 12, 13, 14, 15, 16], [21, 22, 23, 24, 25, 26], [1, 2, 3, 4, 5, 6]]
    found = explained([0.0, 1.0, 2.0, 3.0], blocks, kv_cache_tokens=192, max_model_len=192, watermark=0.0)
    missed = found.of(3)
    assert missed["prefill_evicted"] > 0.0
    assert "prefill_elsewhere" not in missed
    assert "prefill_evicted" not in found.of(2)
