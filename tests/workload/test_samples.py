"""The shipped traces: equal to upstream, with the published statistics."""

import hashlib
import json
import time
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from hasten.workload import Workload, samples, sessions
from hasten.workload.samples.loading import read_columns

# SHA-256 of the upstream files (commits in the samples' README), uncompressed.
UPSTREAM = {
    "azure-conv": "2f1e5b666d4e3055fdbba98598ce2ec307767b9064e03e2fa46676dbcc7d0bf8",
    "azure-code": "54e9a6d2a4bd06ba1e060304b900abbc74cbea53de96506e60fe5bb4f2277fb6",
    "mooncake-conversation": "b8cbb061a85206d729d91cdc2981f43c9e0d99209dce588d3af5f7934408b9df",
}
# SHA-256 of the parents (int32, little endian) that the derivation published with the trace found.
PARENTS = "33d5bed4be810fbe50425dc0cefd1abcde28dd2584863eb4d3e91dcaa50270c2"


@pytest.fixture(scope="module")
def conversation():
    """The Mooncake trace at upstream's batched times."""
    return Workload.from_trace("mooncake-conversation", spread=False)


def azure_text(name):
    """The upstream file, written again from the stored columns."""
    raw = read_columns(name)
    start = datetime.fromisoformat(raw["about"]["start"][:26])
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    ticks = np.cumsum(raw["ticks"].astype(np.int64)).tolist()
    for tick, prompt, output in zip(ticks, raw["prompt"].tolist(), raw["output"].tolist(), strict=True):
        moment = start + timedelta(microseconds=tick)
        lines.append(f"{moment.isoformat(sep=' ', timespec='microseconds')}0,{prompt},{output}")
    return "\r\n".join(lines)


@pytest.mark.parametrize("name", ["azure-conv", "azure-code"])
def test_azure_samples_are_the_upstream_rows(name):
    content = azure_text(name).encode()
    assert hashlib.sha256(content).hexdigest() == UPSTREAM[name] == read_columns(name)["about"]["sha256"]


def test_mooncake_sample_is_the_upstream_rows(conversation):
    lists = conversation.columns_as_lists()
    digest = hashlib.sha256()
    for row, arrival in enumerate(lists.arrival):
        record = {
            "timestamp": round(arrival * 1000),
            "input_length": lists.prompt_tokens[row],
            "output_length": lists.output_tokens[row],
            "hash_ids": list(lists.block_ids[row]),
        }
        digest.update((json.dumps(record) + "\n").encode())
    assert digest.hexdigest() == UPSTREAM["mooncake-conversation"]


@pytest.mark.parametrize(
    ("name", "rows", "span", "rate", "cv", "dispersion", "peak", "prompt", "output"),
    [
        ("azure-code", 8819, 3435.9, 2.567, 13.15, 13.18, 67,
         (2047.9, 1469, 5188, 7436, 7437), (27.9, 13, 55, 251, 1899)),
        ("azure-conv", 19366, 3501.7, 5.530, 1.09, 1.39, 16,
         (1154.7, 1020, 2735, 4142, 14050), (211.1, 129, 424, 601, 1000)),
        ("mooncake-conversation:spread=false", 12031, 3537, 3.40, 3.03, 7.89, 28,
         (12035, 6909, 27367, 85400, 126195), (343, 350, 597, 1119, 2000)),
    ],
)  # fmt: skip
def test_published_statistics(name, rows, span, rate, cv, dispersion, peak, prompt, output):
    name, _, option = name.partition(":")
    found = Workload.from_trace(name, **({"spread": False} if option else {})).describe()
    assert (found.requests, found.peak_per_s) == (rows, peak)
    assert found.duration_s == pytest.approx(span, abs=0.06)
    assert found.rate_per_s == pytest.approx(rate, rel=1e-3)
    assert found.gap_cv == pytest.approx(cv, abs=0.005)
    assert found.count_dispersion == pytest.approx(dispersion, abs=0.005)
    for lengths, published in ((found.prompt, prompt), (found.output, output)):
        seen = (lengths.mean, lengths.p50, lengths.p90, lengths.p99, lengths.max)
        assert seen == pytest.approx(published, rel=1e-4, abs=0.51)
        assert lengths.mean == pytest.approx(published[0], rel=2e-3)


def test_mooncake_blocks_and_conversations(conversation):
    assert conversation.describe().block_hit_share == pytest.approx(0.366, abs=0.0005)
    assert len(conversation.block_ids) == pytest.approx(288_500, abs=50)
    turns = conversation.as_sessions()
    follow_up = turns.parent >= 0
    assert follow_up.sum() == 3898
    assert turns.describe().follow_up_share == pytest.approx(0.324, abs=0.0005)
    assert hashlib.sha256(turns.parent.astype("<i4").tobytes()).hexdigest() == PARENTS
    depth = sessions.turns(turns.parent)
    assert np.percentile(depth, [90, 99]).tolist() == [3, 12]
    assert depth.max() == 43
    gaps = np.percentile(turns.think_s[follow_up], [50, 90, 99])
    assert gaps == pytest.approx([126, 484, 1470], abs=0.5)
    uncached = uncached_tokens(conversation)
    assert uncached[follow_up].mean() == pytest.approx(1931, abs=0.5)
    assert np.percentile(uncached[follow_up], [50, 90, 99]) == pytest.approx([752, 5050, 17687], abs=0.5)
    assert uncached[~follow_up].mean() == pytest.approx(10226, abs=0.5)


def uncached_tokens(work):
    """Prompt tokens past the blocks an infinite cache holds."""
    seen, uncached = set(), []
    for ids, prompt in zip(work.columns_as_lists().block_ids, work.prompt_tokens.tolist(), strict=True):
        hits = next((place for place, block in enumerate(ids) if block not in seen), len(ids))
        seen.update(ids)
        uncached.append(max(prompt - hits * work.block_tokens, 0))
    return np.array(uncached)


def test_spreading_batches_is_seeded_keeps_order_and_is_reported(conversation):
    spread = Workload.from_trace("mooncake-conversation")
    assert (spread.prompt_tokens == conversation.prompt_tokens).all()
    moved = spread.arrival - conversation.arrival
    assert -3.0 < moved.min() < 0 < moved.max() < 3.004  # the first row is time 0 in both
    assert spread.describe().gap_cv < 1.1 < conversation.describe().gap_cv
    assert "spread uniformly over 3 s" in spread.origin
    assert "spread" not in conversation.origin
    again = Workload.from_trace("mooncake-conversation")
    other = Workload.from_trace("mooncake-conversation", seed=1)
    assert (again.arrival == spread.arrival).all()
    assert (other.arrival != spread.arrival).any()
    assert (sessions.parents_from_blocks(spread) == sessions.parents_from_blocks(conversation)).all()


def test_samples_are_small_licensed_and_quick_to_load():
    folder = Path(samples.__file__).parent
    sizes = {name: (folder / f"{name}.npz").stat().st_size for name in samples.sample_names()}
    assert set(sizes) == set(UPSTREAM)
    assert sizes["azure-conv"] < 150_000
    assert sum(sizes.values()) < 1_000_000
    assert "Attribution 4.0" in (folder / "LICENSE-azure.txt").read_text(encoding="utf-8-sig")
    assert "Apache License" in (folder / "LICENSE-mooncake.txt").read_text(encoding="utf-8")
    best = min(timed(lambda: Workload.from_trace("azure-conv")) for _ in range(5))
    assert best < 0.060


def timed(action):
    """Seconds an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def test_rate_and_limit_apply_to_samples():
    work = Workload.from_trace("azure-conv", rate=12, limit=500)
    assert len(work) == 500
    assert work.rate == pytest.approx(12)
    assert work.arrival[0] == 0
    assert "CC-BY 4.0" in work.origin
    assert "12 req/s" in work.origin
