"""The simulator against a scheduler that shares nothing with it but the step costs, and visits every request.

`hasten.testing.walking` follows vLLM's rules request by request and block by block: first come first served, and what
an engine of that kind allows.
"""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from tests.sim import cases
from tests.sim.cases import Case, play

from hasten import Deployment, Workload, simulate
from hasten.core.limits import Limits
from hasten.testing.walking import Walked, in_turn, least_outstanding, walk

CHOICES = {"round_robin": in_turn, "least_outstanding": least_outstanding}
PERCENT = (50, 90, 99)


@st.composite
def engines(draw: st.DrawFn, work: Workload) -> Limits:
    """Limits of vLLM: memory, slots or the budget bind, and the largest request fits the pool."""
    block_size = draw(st.sampled_from((4, 16)))
    if work.block_tokens:
        block_size = work.block_tokens
    longest = int((work.prompt_tokens + work.output_tokens).max())
    chunked = draw(st.sampled_from((True, True, False)))
    budget = draw(st.sampled_from((64, 300, 2048)))
    return Limits(
        num_blocks=int((longest // block_size + 2) * draw(st.sampled_from((1, 1.5, 3, 10)))),
        block_size=block_size,
        max_num_seqs=draw(st.sampled_from((1, 2, 8, cases.MOST_SEQUENCES))),
        max_num_batched_tokens=budget if chunked else max(budget, longest),
        max_model_len=draw(st.sampled_from((131072, 131072, 150))),
        prefix_caching=draw(st.booleans()),
        chunked_prefill=chunked,
        long_prefill_token_threshold=draw(st.sampled_from((0, 0, 32))),
        reserve_full_sequence=draw(st.booleans()),
    )


def check_same(records: Mapping[str, np.ndarray], gaps: np.ndarray, walked: list[Walked]) -> None:
    """Every request fared alike: times to 1e-9 relative, and every one of the sorted `gaps` between tokens."""
    assert records["output_tokens"].tolist() == [len(request.tokens) for request in walked]
    assert records["replica"].tolist() == [request.replica for request in walked]
    assert records["preemptions"].tolist() == [request.preemptions for request in walked]
    served = np.array([bool(request.tokens) for request in walked])
    firsts = np.array([request.tokens[0] for request in walked if request.tokens])
    lasts = np.array([request.tokens[-1] for request in walked if request.tokens])
    arrivals = records["arrival"][served]
    np.testing.assert_allclose(
        records["first_token"][served] - arrivals, firsts - arrivals, rtol=1e-9, atol=1e-11
    )
    np.testing.assert_allclose(records["finish"][served], lasts, rtol=1e-9)
    expected = np.sort(np.concatenate([np.diff(request.tokens) for request in walked]))
    np.testing.assert_allclose(gaps, expected, rtol=1e-9, atol=1e-11)
    if len(gaps):
        np.testing.assert_allclose(
            np.percentile(gaps, PERCENT), np.percentile(expected, PERCENT), rtol=1e-9, atol=1e-11
        )


@given(st.data())
def test_the_simulator_equals_a_walk_over_every_request(data):
    """Preemption, prefix cache, chunks, several replicas, caps and prompts that never fit, both depths."""
    work = data.draw(cases.workloads())
    limits = data.draw(engines(work))
    route = data.draw(st.sampled_from(sorted(CHOICES)))
    case = Case(
        work,
        limits,
        data.draw(st.one_of(cases.linear_costs(), cases.BENT_COSTS)),
        route=route,
        replicas=data.draw(st.integers(1, 3)),
        depth=data.draw(st.integers(1, 2)),
        frontend=data.draw(st.sampled_from((0.0, 0.0, 0.0021))),
    )
    walked, steps = walk(
        work,
        limits,
        case.cost,
        depth=case.depth,
        replicas=case.replicas,
        choose=CHOICES[route],
        front_end=(case.frontend, 0.0),
    )
    played = play(case, stepping=False)
    check_same(played.records, played.gaps, walked)
    assert sum(loop.steps for loop in played.loops) == steps
    event(f"preemptions: {any(request.preemptions for request in walked)}")


@pytest.mark.parametrize(
    ("trace", "device", "rate"), [("azure-conv", "l4", 12.0), ("mooncake-conversation", "h100-sxm", 2.0)]
)
def test_real_traces_under_the_vllm_profile_equal_a_walk(trace, device, rate):
    """Asynchronous scheduling, the profile's front end and limits, KV memory that runs out; Mooncake's prefixes."""
    work = Workload.from_trace(trace).head(200).scaled(rate=rate)
    placed = Deployment.of("llama-3.1-8b", device, replicas=2)
    profile = placed.profile
    walked, _ = walk(
        work,
        placed.scheduler_limits,
        placed.cost,
        depth=profile.loop_depth,
        replicas=2,
        front_end=(profile.front_end_seconds, profile.front_end_seconds_per_prompt_token),
    )
    records = simulate(placed, work).records
    values, weights = records.gaps.expand()
    order = np.argsort(records.id)
    columns = {name: np.asarray(getattr(records, name))[order] for name in cases.COLUMNS}
    check_same(columns, np.sort(np.repeat(values, weights)), walked)
    assert any(request.preemptions for request in walked)
    assert profile.loop_depth == 2
