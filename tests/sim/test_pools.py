"""Prefill and decode pools: who waits for what, that nothing is lost, and that the jump equals the step."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten.deployment import Deployment
from hasten.disaggregation import Disaggregated
from hasten.errors import InputError
from hasten.hardware import Link
from hasten.latency.compiled import LinearCost
from hasten.report.report import Report
from hasten.sim.run import simulate
from hasten.sim.transfer import Transfers
from hasten.workload import Workload

COST = LinearCost(0.01, per_prefill_token=1e-4, per_sequence=1e-4, per_context=1e-8)
LINK = Link(name="slow", bandwidth=1e9, latency=1e-3, efficiency=1.0)


def pools(
    prefill: int = 1, decode: int = 1, *, link: Link = LINK, messages: str = "whole", **settings: Any
) -> Disaggregated:
    each = {"engine": "vllm", "kv_cache_tokens": 4096, "max_model_len": 2048} | settings
    return Disaggregated.of(
        Deployment.of("llama-3.1-8b", "h100-sxm", replicas=prefill, **each),
        Deployment.of("llama-3.1-8b", "h100-sxm", replicas=decode, **each),
        link,
        messages=messages,
    )


def work(rows: list[tuple[float, int, int]]) -> Workload:
    arrival, prompt, output = zip(*sorted(rows), strict=True)
    return Workload(arrival=np.array(arrival), prompt_tokens=np.array(prompt), output_tokens=np.array(output))


def play(deployment: Disaggregated, rows: list[tuple[float, int, int]], **options: Any) -> Report:
    return simulate(deployment, work(rows), cost=COST, **options)


def by_id(report: Report, column: str) -> Any:
    return getattr(report.records, column)[report.records.id.argsort()]


def test_one_request_pays_the_transfer_once() -> None:
    deployment = pools()
    report = play(deployment, [(0.0, 100, 3)])
    front = deployment.profile.front_end_seconds + 100 * deployment.profile.front_end_seconds_per_prompt_token
    first = by_id(report, "first_token")[0]
    assert first == pytest.approx(front + 0.01 + 100 * 1e-4)
    transfer = deployment.transfer_seconds(100)
    assert transfer == pytest.approx(1e-3 + 100 * deployment.kv_bytes_per_token / 1e9)
    # The decode side computes one token behind the 100 that came, then one per step.
    second = 0.01 + 1e-4
    third = 0.01 + 1e-4 + 101 * 1e-8
    assert by_id(report, "finish")[0] - first == pytest.approx(transfer + second + third)


def test_one_token_answers_never_travel() -> None:
    report = play(pools(), [(0.0, 100, 1), (0.1, 50, 1)])
    assert by_id(report, "replica").tolist() == [0, 0]
    assert report.records.is_ok.all()


def test_links_carry_one_transfer_at_a_time() -> None:
    transfers = Transfers(2, 2, lambda tokens: float(tokens))
    assert transfers.start(0, 0, 5, 1.0) == (1.0, 6.0)
    assert transfers.start(1, 0, 2, 2.0) == (6.0, 8.0)  # the receiver is busy until 6
    assert transfers.start(1, 1, 1, 3.0) == (8.0, 9.0)  # the sender until 8
    assert transfers.start(0, 1, 1, 20.0) == (20.0, 21.0)


def test_messages_cost_their_latency() -> None:
    blocks, layers, whole = (
        pools(messages=unit).transfer_seconds(160) for unit in ("block", "layer", "whole")
    )
    assert layers - whole == pytest.approx(31 * 1e-3)
    assert blocks - whole == pytest.approx((2 * 32 * 10 - 1) * 1e-3)


def test_decode_pulls_when_it_has_room() -> None:
    """A decode pool that holds one answer at a time starts the second transfer when the first answer has gone."""
    deployment = pools(kv_cache_tokens=256, max_model_len=256)
    report = play(deployment, [(0.0, 150, 50), (0.0, 150, 50)])
    first, second = sorted(by_id(report, "finish"))
    assert second - first > deployment.transfer_seconds(150)
    assert report.preemptions == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda one, other: Disaggregated.of(one, Deployment.of("qwen3-8b", "h100-sxm"), LINK),
            "one model only",
        ),
        (lambda one, other: Disaggregated.of(one, other, "no-such-link"), "unknown"),
        (lambda one, other: Disaggregated.of(one, other, LINK, messages="bit"), "messages 'bit'"),
        (
            lambda one, other: Disaggregated.of(
                one, Deployment.of("llama-3.1-8b", "h100-sxm", block_size=32), LINK
            ),
            "same block_size",
        ),
        (
            lambda one, other: Disaggregated.of(
                one, Deployment.of("llama-3.1-8b", "h100-sxm", kv_dtype="fp8"), LINK
            ),
            "make them equal",
        ),
    ],
)
def test_pools_that_do_not_fit_are_named(change: Any, words: str) -> None:
    one = Deployment.of("llama-3.1-8b", "h100-sxm")
    with pytest.raises(InputError, match=words):
        change(one, one)


row = st.tuples(st.floats(0.0, 3.0), st.integers(1, 600), st.integers(1, 200))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(row, min_size=1, max_size=25),
    st.integers(1, 2),
    st.integers(1, 2),
    st.sampled_from(["vllm", "sglang"]),
    st.sampled_from(["round_robin", "least_outstanding"]),
    st.sampled_from([640, 1024, 4096]),
)
def test_jumps_equal_steps_and_nothing_is_lost(
    rows: list[tuple[float, int, int]], prefill: int, decode: int, engine: str, route: str, room: int
) -> None:
    rows = [(arrival, min(prompt, room // 2), min(output, room // 3)) for arrival, prompt, output in rows]
    deployment = pools(
        prefill, decode, engine=engine, kv_cache_tokens=room, max_model_len=room, block_size=16, watermark=0.0
    )
    jumped, stepped = (play(deployment, rows, route=route, stepping=stepping) for stepping in (False, True))
    for column in ("first_token", "finish"):
        one, other = by_id(jumped, column), by_id(stepped, column)
        assert np.allclose(one, other, rtol=1e-9, atol=0.0, equal_nan=True)
    assert len(jumped.records) == len(rows)
    assert jumped.records.is_ok.all()
    assert jumped.itl.count == sum(output - 1 for _, _, output in rows)
    assert math.isclose(jumped.itl.mean, stepped.itl.mean, rel_tol=1e-9) or jumped.itl.count == 0
