"""The sum law: the labels of every request are its latency, whatever the workload, the policy and the engine."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sim import cases
from tests.sim.cases import Case
from tests.sim.test_host import drawn, returning

from hasten.explain.attribution import METRICS, Costs, attribute
from hasten.explain.labels import ORDER
from hasten.sim.steps import StepLog

FEW = settings(max_examples=settings().max_examples // 2)


def explained(case: Case, *, stepping: bool = False):
    log = StepLog()
    run = cases.play(case, stepping=stepping, log=log)
    return attribute(run.as_ended, log, Costs(case.cost))


def check(case: Case) -> None:
    found = explained(case)
    for metric in METRICS:
        latency, labels = found.latency(metric), found.labels(metric)
        known = ~np.isnan(latency)
        np.testing.assert_allclose(labels.sum(axis=1)[known], latency[known], rtol=1e-9, atol=1e-12)
    assert (found.to_first >= -1e-12).all()
    assert (found.after_first >= -1e-12).all()


def check_stepped(case: Case) -> None:
    """Jumps are attributed in closed form: label by label what single steps come to."""
    found = explained(case)
    stepped = explained(case, stepping=True)
    order = [np.argsort(each.records.id) for each in (found, stepped)]
    # A jump keeps the reason of its first step; in its midst another door may close behind the one that is shut.
    doors = [ORDER[name] for name in ("queue_routing", "queue_memory", "queue_reservation", "queue_policy")]
    for mine, other in ((found.to_first, stepped.to_first), (found.after_first, stepped.after_first)):
        mine, other = mine[order[0]], other[order[1]]
        for labels in (mine, other):
            labels[:, doors[0]] = labels[:, doors].sum(axis=1)
            labels[:, doors[1:]] = 0.0
        np.testing.assert_allclose(mine, other, rtol=1e-7, atol=1e-9)


@FEW
@given(st.data())
def test_labels_sum_to_the_latency(data):
    work = data.draw(
        st.one_of(cases.workloads(), cases.workloads(), cases.closed_loops(), cases.conversations())
    )
    case = Case(
        work,
        data.draw(cases.limits(work)),
        data.draw(st.one_of(cases.linear_costs(), cases.BENT_COSTS)),
        schedule=data.draw(cases.SCHEDULES),
        cache=data.draw(cases.CACHES),
        route=data.draw(cases.ROUTES),
        replicas=data.draw(st.integers(1, 3)),
        depth=data.draw(st.integers(1, 2)),
        frontend=data.draw(st.sampled_from((0.0, 0.0, 0.0021))),
    )
    check(case)

    check_stepped(case)


@FEW
@given(st.data())
def test_labels_sum_to_the_latency_with_host_memory(data):
    case = drawn(data, data.draw(returning()))
    check(case)
    check_stepped(case)


@FEW
@given(st.data())
def test_labels_sum_to_the_latency_of_ranks_in_lockstep(data):
    work = data.draw(cases.workloads())
    check(
        Case(
            work,
            data.draw(cases.limits(work)),
            data.draw(cases.LOCKSTEP_COSTS),
            schedule=data.draw(cases.SCHEDULES),
            replicas=data.draw(st.integers(1, 2)),
            ranks=data.draw(st.integers(1, 4)),
            depth=data.draw(st.integers(1, 2)),
        )
    )
