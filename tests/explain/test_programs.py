"""Programs: their labels are their completion time, and tools and users are told apart from serving."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten.deployment import Deployment
from hasten.explain.labels import ORDER
from hasten.explain.programs import attribute_programs, completions
from hasten.explain.setup import Setup
from hasten.latency import LinearCost
from hasten.report.programs import programs
from hasten.workload import Workload, parse_workload
from hasten.workload.agents import kinds
from hasten.workload.programs import Call, Program, workload_of

COST = LinearCost(0.01, per_prefill_token=1e-5, per_sequence=1e-4, per_context=1e-8)
SERVED = Deployment.of("llama-3.1-8b", "h100-sxm", replicas=2)


def explained(work: Workload):
    report, found, _ = Setup(deployment=SERVED, work=work, cost=COST).attributed()
    return report, attribute_programs(found, work)


@st.composite
def dags(draw: st.DrawFn) -> Workload:
    """Programs of calls that wait for some of the calls before them, for tools, for users, or for a quorum."""
    made = []
    for _ in range(draw(st.integers(1, 4))):
        calls: list[Call] = []
        for number in range(draw(st.integers(1, 7))):
            after = draw(st.lists(st.integers(0, number - 1), unique=True, max_size=3)) if number else []
            calls.append(
                Call(
                    draw(st.integers(1, 400)),
                    draw(st.integers(1, 40)),
                    tuple(after),
                    wait_s=draw(st.sampled_from((0.0, 0.0123, 0.7))) if after else 0.0,
                    tool=draw(st.sampled_from((None, "search"))) if after else None,
                    quorum=draw(st.integers(0, len(after))) if after else 0,
                )
            )
        made.append(Program(draw(st.floats(0.0, 1.0)), tuple(calls)))
    return workload_of(made)


@settings(max_examples=settings().max_examples // 3)
@given(dags())
def test_labels_sum_to_the_completion_time(work: Workload) -> None:
    report, found = explained(work)
    whole = programs(report.records)
    np.testing.assert_array_equal(found.session, whole.session)
    np.testing.assert_allclose(found.completion, whole.completion, rtol=1e-12)
    np.testing.assert_allclose(found.spent.sum(axis=1), whole.completion, rtol=1e-9)
    np.testing.assert_allclose(completions(report.records), whole.completion, rtol=1e-12)
    assert (found.spent >= -1e-12).all()


@pytest.mark.parametrize("kind", kinds())
def test_labels_sum_for_every_kind_of_agent(kind: str) -> None:
    report, found = explained(parse_workload(f"agents:kind={kind},rate=2,n=3").head(60))
    np.testing.assert_allclose(found.spent.sum(axis=1), programs(report.records).completion, rtol=1e-9)


def test_tools_and_users_are_apart_and_only_the_critical_path_counts() -> None:
    calls = (
        Call(10, 2),
        Call(10, 30, (0,), wait_s=3.0, tool="search"),
        Call(10, 2, (0,), wait_s=0.5, tool="search"),
        Call(10, 2, (1, 2), wait_s=7.0),
    )
    _, found = explained(workload_of([Program(0.0, calls)]))
    assert found.spent[0, ORDER["tool"]] == pytest.approx(3.0)  # 0.5 s ran beside it
    assert found.spent[0, ORDER["client"]] == pytest.approx(7.0)
