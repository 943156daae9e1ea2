"""What the command prints agrees with a simulation and with itself."""

import json
from typing import Any

import pytest

import hasten
from hasten.cli import main

RUN = ["explain", "llama-3.1-8b", "--device", "l40s", "--rate", "2", "--limit", "60", "--ttft", "300ms"]


def result(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    assert main([*RUN, *argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_composition_sums_to_what_the_tail_waits(capsys: pytest.CaptureFixture[str]) -> None:
    found = result(capsys)
    work = hasten.Workload.from_trace("azure-conv", rate=None, limit=60).scaled(rate=2)
    report = hasten.simulate(hasten.Deployment.of("llama-3.1-8b", "l40s"), work)
    assert found["value_ms"] == pytest.approx(report.ttft.p99 * 1e3, rel=1e-12)
    composition = found["composition"]
    for group in ("usual_ms", "tail_ms"):
        assert sum(each[group] for each in composition["labels"]) == pytest.approx(
            composition[group], rel=1e-9
        )
    assert composition["tail_ms"] >= composition["usual_ms"]


def test_what_ifs_are_ranked_and_replayable(capsys: pytest.CaptureFixture[str]) -> None:
    found = result(capsys)
    relative = [each["relative"] for each in found["what_ifs"]]
    assert relative == sorted(relative)
    kinds = {each["kind"] for each in found["what_ifs"]}
    assert kinds == {"cause", "knob", "rent", "policy"}
    twice = next(each for each in found["what_ifs"] if each["name"] == "replicas=2")
    work = hasten.Workload.from_trace("azure-conv", rate=None, limit=60).scaled(rate=2)
    report = hasten.simulate(hasten.Deployment.of("llama-3.1-8b", "l40s", replicas=2), work)
    assert twice["value_ms"] == pytest.approx(report.ttft.p99 * 1e3, rel=1e-12)
    for each in found["causal_profile"]:
        assert [point["faster_share"] for point in each["points"]] == [0.1, 0.25, 0.5]


def test_text_names_metric_limit_bottleneck_and_origin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(RUN) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("p99 TTFT ")
    assert "the limit of 300 ms" in lines[2]
    assert any(line.startswith("Bottleneck: ") for line in lines)
    assert any(line.startswith("Origin: step times analytical") for line in lines)


def test_speeds_that_do_not_fit_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--replica-speeds", "1,0.5"]) == 2
    assert "speeds are 1, 0.5 for 1 replica" in capsys.readouterr().err


@pytest.mark.parametrize("metric", ["tpot", "e2e"])
def test_other_metrics(capsys: pytest.CaptureFixture[str], metric: str) -> None:
    found = result(capsys, "--metric", metric)
    assert found["objective"] == f"p99 {metric.upper()}"
    assert found["composition"]["metric"] == metric
