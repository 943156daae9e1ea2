"""The sum law: the labels of every request are its latency, whatever the workload, the policy and the engine."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.explain.laws import check_equal, check_sums
from tests.sim import cases
from tests.sim.cases import Case
from tests.sim.test_host import drawn, returning

from hasten.explain.attribution import Costs, attribute
from hasten.sim.steps import StepLog

FEW = settings(max_examples=settings().max_examples // 2)


def explained(case: Case, *, stepping: bool = False):
    log = StepLog()
    run = cases.play(case, stepping=stepping, log=log)
    return attribute(run.as_ended, log, Costs(case.cost))


@FEW
@given(st.data())
def test_labels_sum_to_the_latency(data):
    work = data.draw(
        st.one_of(cases.workloads(), cases.workloads(), cases.closed_loops(), cases.conversations())
    )
    case = data.draw(cases.deployed(work))
    found = explained(case)
    check_sums(found)
    check_equal(found, explained(case, stepping=True))


@FEW
@given(st.data())
def test_labels_sum_to_the_latency_with_host_memory(data):
    case = drawn(data, data.draw(returning()))
    found = explained(case)
    check_sums(found)
    check_equal(found, explained(case, stepping=True))


@FEW
@given(st.data())
def test_labels_sum_to_the_latency_of_ranks_in_lockstep(data):
    check_sums(explained(data.draw(cases.deployed_in_lockstep(data.draw(cases.workloads())))))
