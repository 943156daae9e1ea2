"""A deployment of a plan explains itself at the point it was planned for."""

import json
import math
from functools import cache

import pytest
from tests.page.build import workload

from hasten.cli import main
from hasten.core.request import SLO
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.explain.objective import tightest
from hasten.hardware import load_device
from hasten.plan import plan
from hasten.plan.result import Row
from hasten.sim.run import simulate


@cache
def work():
    return workload(rate=3.0).head(150)


@cache
def planned(**more):
    return plan(
        "llama-3.1-8b",
        work(),
        SLO(ttft=1.0, tpot=0.06),
        devices=[load_device("l40s")],
        tp=[1],
        jobs=1,
        **more,
    )


def test_the_best_says_where_the_milliseconds_of_its_own_run_go():
    found = planned()
    why = found.best.explain(only_causes=True)
    report = simulate(found.best.deployment, work())
    assert why.value == pytest.approx(why.objective.value(why.objective.column(report.records)))
    for group in (why.composition.usual, why.composition.tail):
        assert sum(group.labels.values()) == pytest.approx(group.seconds, rel=1e-9)
    strains = {check.name.split()[0]: check.strain for check in found.best.outcome.checks}
    assert why.objective.metric.upper() == max(strains, key=strains.get)
    assert why.objective.limit in (1.0, 0.06)
    said = str(why)
    assert said.startswith(why.objective.text)
    assert "what if" in said
    assert why.sentence in repr(why)


def test_a_cautious_plan_says_that_it_is_explained_with_likely_steps():
    assert planned().best.explain(only_causes=True).notes == ()
    (note,) = planned(confidence=0.9).best.explain(only_causes=True).notes
    assert "likely step times" in note


def test_what_a_shape_holds_at_most_is_explained_there():
    best = planned(rate="capacity").best
    assert math.isnan(best.rate)
    why = best.explain(only_causes=True)
    assert why.report.records.arrival.max() == pytest.approx(
        (len(why.report.records) - 1) / best.full.rate, rel=0.05
    )


def test_a_row_of_no_plan_cannot():
    row = Row(deployment=Deployment.of("llama-3.1-8b", "l40s"), outcome=planned().best.outcome)
    with pytest.raises(InputError, match="comes from no plan"):
        row.explain()


def test_the_tightest_limit_is_the_one_nearest_to_being_missed():
    records = simulate(Deployment.of("llama-3.1-8b", "l40s"), workload(rate=1.0)).records
    assert tightest(records, SLO(ttft=1e-3, tpot=9.0)).metric == "ttft"
    assert tightest(records, SLO(ttft=1e3, tpot=1e-3, e2e=1e6)).metric == "tpot"
    share = tightest(records, SLO(ttft=1e-3, tpot=9.0), attainment=0.9)
    assert share.unit == "share"
    assert share.limit == pytest.approx(0.1)
    assert tightest(records, SLO()).limit is None


def test_the_command_explains_its_choice(capsys):
    arguments = ["plan", "llama-3.1-8b", "--devices", "l40s", "--tp", "1", "--rate", "2", "--limit", "60"]
    arguments += ["--ttft", "1s", "--tpot", "100ms", "--jobs", "1", "--explain"]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["explanation"]["what_ifs"]
    assert found["explanation"]["objective"].startswith("p99")
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "at the rate above:" in said
    assert "Bottleneck: " in said
    assert main([*arguments[:-1], "--ttft", "1ms", "--explain"]) == 1
    assert "Bottleneck: " not in capsys.readouterr().out
