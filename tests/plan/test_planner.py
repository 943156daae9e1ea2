"""The planner's laws: what it picks is what trying everything picks, and better conditions never cost more."""

import itertools
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.plan.build import DEVICES, LOOSE, planned, work

from hasten.core.request import SLO
from hasten.deployment import Deployment
from hasten.plan import Constraints
from hasten.plan.probe import Outcome
from hasten.plan.result import Row, pareto_front
from hasten.plan.table import render
from hasten.sim.run import simulate

ONE = Deployment.of("llama-3.1-8b", "l40s")
TIGHT = SLO(ttft=0.3, tpot=0.025)


def cheapest_of_all(traffic, constraints, most=4):
    """The cheapest holding deployment by trying every one on the whole workload."""
    found = []
    for device, tp, replicas in itertools.product(DEVICES, (1, 2), range(1, most + 1)):
        made = Deployment.of("llama-3.1-8b", device, tp=tp, replicas=replicas)
        records = simulate(made, traffic, slo=constraints.slo).records
        if all(check.holds for check in constraints.check(records)):
            found.append((made.price_per_hour, made.devices, made.label))
    return min(found)


@pytest.mark.parametrize(
    ("rate", "slo", "attainment"),
    [(30.0, LOOSE, None), (30.0, TIGHT, 0.95), (45.0, TIGHT, None)],
)
def test_the_best_is_the_one_that_trying_everything_finds(rate, slo, attainment):
    traffic = work(rate)
    found = planned(slo, work=traffic, attainment=attainment).best
    assert found.is_verified
    wanted = cheapest_of_all(traffic, Constraints(slo, attainment=attainment))
    assert (found.cost, found.devices, found.label) == pytest.approx(wanted)


def test_looser_limits_never_cost_more():
    limits = [(0.15, 0.015), (0.3, 0.025), (5.0, 0.2)]
    costs = [
        found.best.cost if (found := planned(SLO(ttft=ttft, tpot=tpot), work=work(40.0))) else math.inf
        for ttft, tpot in limits
    ]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < costs[0]


def test_more_traffic_and_slower_steps_never_cost_less():
    costs = [planned(work=work(rate)).best.cost for rate in (5.0, 20.0, 80.0)]
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]
    assert planned(work=work(40.0), pessimism=0.5).best.cost >= planned(work=work(40.0)).best.cost


def test_confidence_costs_and_says_what() -> None:
    likely = planned(work=work(40.0))
    sure = planned(work=work(40.0), confidence=0.95)
    assert sure.likely.label == likely.best.label
    assert sure.best.cost >= likely.best.cost
    assert sure.confidence_cost == pytest.approx(sure.best.cost - likely.best.cost)
    assert "confidence of 95%" in render(sure).replace("\n  ", " ")
    shown = sure.to_dict()
    assert shown["confidence"] == 0.95
    assert shown["confidence_cost_usd_per_hour"] == pytest.approx(sure.confidence_cost)
    assert shown["likely_best"]["label"] == likely.best.label
    assert likely.likely is None
    assert likely.to_dict()["confidence_cost_usd_per_hour"] is None


def test_half_confidence_is_the_plan_as_it_is() -> None:
    assert planned(work=work(20.0), confidence=0.5).to_dict() == planned(work=work(20.0)).to_dict()


def test_a_goodput_share_and_a_percentile_are_different_constraints():
    share, each = planned(TIGHT, attainment=0.99), planned(TIGHT)
    assert share.to_dict()["constraint"] == "goodput share"
    assert each.to_dict()["constraint"] == "percentile"
    assert share.best.cost >= each.best.cost  # one request must meet all limits at once
    assert [check.name for check in share.best.outcome.checks] == ["goodput share"]
    assert [check.name for check in each.best.outcome.checks] == ["TTFT p99", "TPOT p99"]


def test_every_verified_row_tells_what_a_simulation_tells():
    traffic = work(30.0)
    found = planned(work=traffic)
    for row in found.rows:
        if row.is_verified:
            report = simulate(row.deployment, traffic, slo=LOOSE)
            assert row.outcome.ttft == pytest.approx(report.ttft.p99)
            assert row.outcome.tpot == pytest.approx(report.tpot.p99)
            assert row.outcome.attainment == pytest.approx(report.attainment)


def test_rows_come_by_cost_and_the_front_beats_all_others():
    found = planned(work=work(40.0), tp=(1, 2, 4))
    assert [row.cost for row in found.rows] == sorted(row.cost for row in found.rows)
    front = found.pareto
    assert found.best in front
    for row in found.rows:
        if row.holds and row not in front:
            assert any(
                other.cost <= row.cost
                and other.outcome.ttft <= row.outcome.ttft
                and other.outcome.tpot <= row.outcome.tpot
                for other in front
            )
    assert pareto_front(front) == front
    assert pareto_front(()) == ()


@given(
    st.lists(
        st.tuples(*[st.sampled_from([1.0, 2.0, 3.0])] * 2, st.sampled_from([1.0, 2.0, math.nan])), max_size=12
    )
)
def test_the_front_is_what_comparing_all_with_all_leaves(figures):
    def row(cost, ttft, tpot):
        return Row(
            deployment=replace(ONE, price_per_hour_per_device=cost), outcome=Outcome(1.0, (), ttft, tpot)
        )

    def beats(one, other):
        mine, theirs = ([0.0 if math.isnan(each) else each for each in it] for it in (one, other))
        return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))

    rows = [row(*each) for each in figures]
    left = [rows[at] for at, each in enumerate(figures) if not any(beats(other, each) for other in figures)]
    assert [id(each) for each in pareto_front(rows)] == [id(each) for each in left]


def test_sensitivity_covers_growth_and_the_model_s_error_and_gets_worse_with_growth():
    found = planned()
    growth = [each.outcome.ttft for each in found.sensitivity[:3]]
    assert [each.name for each in found.sensitivity] == [
        "traffic +10%",
        "traffic +25%",
        "traffic +50%",
        "steps 25% slower",
    ]
    assert growth[-1] >= growth[0]
    assert found.sensitivity[-1].outcome.tpot > found.best.outcome.tpot
    assert [each.replicas for each in found.sensitivity[:3]] == sorted(
        each.replicas for each in found.sensitivity[:3]
    )


def test_wants_of_devices_and_kv_types_are_kept():
    found = planned(work=work(45.0), kv_dtypes=("auto", "fp8"), max_devices=2)
    assert {row.deployment.kv_dtype for row in found.rows} == {"auto", "fp8"}
    assert all(row.devices <= 2 for row in found.rows)


def test_experts_may_be_split_either_way():
    found = planned(work=work(20.0, 100), tp=(2,), ep=None, devices=("h100-sxm",))
    assert {row.deployment.parallelism.ep for row in found.rows} == {1}


def test_the_dictionary_is_json_and_the_text_names_what_matters():
    found = planned()
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert json.loads(text)["best"]["verified"] is True
    shown = render(found)
    for part in (
        "<- cheapest that holds",
        "bound by",
        "margin",
        "Trust:",
        "error 25%",
        "What if traffic +50%",
    ):
        assert part in shown


def test_policies_reach_the_simulation():
    found = planned(policies={"schedule": "static:batch_size=1"}, work=work(12.0, 150))
    assert found.best is None or found.best.cost > planned(work=work(12.0, 150)).best.cost
