"""`predict`: parts sum to the whole, and a simulation of the same step takes as long."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.prediction import PARTS, predict
from hasten.sim.run import simulate
from hasten.workload import Workload

H100 = Deployment.of("llama-3.1-8b", "h100-sxm")
SYNCHRONOUS = Deployment.of("llama-3.1-8b", "l40s", engine="vllm-0.11", kv_dtype="fp8")


@settings(max_examples=40)
@given(
    deployment=st.sampled_from([H100, SYNCHRONOUS]),
    batch=st.integers(1, 256),
    context=st.integers(1, 8000),
    prompt=st.integers(1, 40_000),
)
def test_parts_sum_to_the_whole_and_more_work_takes_no_less_time(
    deployment: Deployment, batch: int, context: int, prompt: int
) -> None:
    found = predict(deployment, batch=batch, context=context, prompt=prompt)
    for step in (found.decode.time, found.prefill.time):
        assert math.isclose(sum(getattr(step, part) for part in PARTS), step.seconds, rel_tol=1e-9)
    assert found.tpot > 0.0
    longer = predict(deployment, batch=batch, context=context + 1, prompt=prompt + 1)
    assert longer.tpot >= found.tpot
    assert longer.ttft >= found.ttft
    assert longer.room <= found.room
    assert found.output_tokens_per_second == pytest.approx(batch / found.tpot)
    steps = -(-prompt // deployment.limits.max_num_batched_tokens)
    assert found.prefill.steps == steps


@pytest.mark.parametrize("deployment", [H100, SYNCHRONOUS])
@pytest.mark.parametrize("prompt", [1, 100, 5000, 20_000])
def test_a_lone_prompt_takes_as_long_in_a_simulation(deployment: Deployment, prompt: int) -> None:
    work = Workload.from_records([{"arrival": 0.0, "prompt_tokens": prompt, "output_tokens": 1}])
    report = simulate(deployment, work)
    assert report.ttft.mean == pytest.approx(predict(deployment, prompt=prompt).ttft, rel=1e-6)


@pytest.mark.parametrize("deployment", [H100, SYNCHRONOUS])
def test_a_lone_sequence_decodes_as_fast_in_a_simulation(deployment: Deployment) -> None:
    work = Workload.from_records([{"arrival": 0.0, "prompt_tokens": 1000, "output_tokens": 49}])
    # 48 steps with 1,000 to 1,047 tokens in KV, linear in between
    assert simulate(deployment, work).tpot.mean == pytest.approx(
        predict(deployment, context=1024).tpot, rel=1e-3
    )


def test_replicas_and_ranks_multiply_rates_and_not_times() -> None:
    one, two = predict(H100, batch=8), predict(H100.with_replicas(2), batch=8)
    assert two.tpot == one.tpot
    assert two.output_tokens_per_second == 2 * one.output_tokens_per_second
    ranks = predict(Deployment.of("llama-3.1-8b", "h100-sxm", dp=2), batch=8)
    assert ranks.output_tokens_per_second == pytest.approx(2 * one.output_tokens_per_second, rel=0.05)


def test_room_is_what_the_cache_holds() -> None:
    found = predict(H100, context=1023)  # 64 blocks of 16 hold 1,024 tokens
    assert found.room == found.kv.usable_blocks // 64
    assert [note.partition(" ")[0] for note in found.notes] == [
        "extrapolated:"
    ]  # no 16-bit weights were published
    assert "KV cache holds" in predict(H100, batch=found.room + 1, context=1023).notes[-1]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"batch": 0}, "batch is 0"),
        ({"context": 131_072}, "context is 131,072: give 1 to 131,071"),
        ({"prompt": 131_073}, "prompt is 131,073: give 1 to 131,072"),
    ],
)
def test_what_cannot_be_is_refused(asked: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        predict(H100, **asked)
