"""Closed-loop points: what is read, how it is simulated, and what ten points of a deployment teach."""

import argparse
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from hasten.accuracy.closed_loop import Point, load_points, simulate_point
from hasten.accuracy.judging import Judged, joined, judge, why_not
from hasten.accuracy.ten_points import Coefficients, fit_points
from hasten.cli import accuracy
from hasten.errors import InputError


def chosen(concurrency: int = 4, **wanted: object) -> list[Point]:
    known = {
        "model": "llama-3.1-70b",
        "device": "h100-sxm",
        "engine": "vllm",
        "concurrency": concurrency,
        **wanted,
    }
    return [
        each for each in load_points() if all(getattr(each, key) == value for key, value in known.items())
    ]


def test_points_are_whole() -> None:
    points = load_points()
    assert len(points) == len(set(points)) > 2000
    for each in points:
        assert 0.0 < each.tpot < 10.0
        assert 0.0 < each.ttft < 1e4
        assert each.shortest_share in (0.8, 1.0)


def test_requests_are_those_of_the_load_generator() -> None:
    (point,) = chosen(tp=2, input_tokens=1024, output_tokens=1024)
    work = point.workload()
    assert len(work) == 40
    assert work.closed_loop is not None
    assert work.closed_loop.concurrency == 4
    assert work.prompt_tokens.min() >= 819
    assert work.prompt_tokens.max() <= 1024
    assert work.max_tokens is not None
    assert np.array_equal(work.max_tokens, work.output_tokens)


def test_burst_of_first_requests_raises_the_mean() -> None:
    """With one user there is no burst: TTFT is a lone prefill. With more, prefills queue up behind each other."""
    (point,) = chosen(tp=4, input_tokens=8192, output_tokens=1024)
    alone = simulate_point(replace(point, concurrency=1))
    model = point.deployment().latency
    longest = sum(model.step_time([(4096, past)]).seconds for past in (0, 4096))
    assert 0.7 * longest < alone.ttft < 1.3 * longest
    assert simulate_point(point).ttft > 1.2 * alone.ttft


def test_steps_twice_as_long_double_both_figures() -> None:
    (point,) = chosen(tp=8, input_tokens=1024, output_tokens=1024)
    once, twice = simulate_point(point), Coefficients(2.0, 2.0).simulate(point)
    assert twice.tpot == pytest.approx(2.0 * once.tpot, rel=1e-6)
    assert twice.ttft == pytest.approx(2.0 * once.ttft, rel=1e-6)


def test_split_deployments_are_simulated_as_two_pools() -> None:
    point = next(each for each in load_points() if each.is_split and why_not(each) is None)
    pools, found = point.pools(), simulate_point(point)
    assert (pools.prefill.replicas, pools.decode.replicas) == (point.prefill_workers, point.decode_workers)
    assert pools.prefill.parallelism.tp == point.prefill_tp
    # A prompt takes at least its own step and the answer's KV its way over the link, which TTFT does not hold.
    alone = pools.prefill.latency.step_time([(point.input_tokens * 8 // 10, 0)]).seconds
    assert found.ttft > alone
    decode = pools.decode.latency
    assert found.tpot > 0.9 * decode.step_time((), 1, point.input_tokens * 8 // 10).seconds


def test_split_deployments_of_unknown_size_are_left_out() -> None:
    point = next(each for each in load_points() if each.is_split and not each.prefill_workers)
    assert why_not(replace(point, concurrency=8)) == "number of workers not recorded"


def test_ten_points_find_the_corrections_that_made_them() -> None:
    truth = Coefficients(1.2, 0.8, every=3e-4, mixed=4e-3)
    made = []
    for point in (*chosen(output_tokens=1024, tp=2), *chosen(output_tokens=1024, tp=4)):
        seen = truth.simulate(point)
        made.append(replace(point, ttft=seen.ttft, tpot=seen.tpot))
    found = fit_points(made)
    for point in chosen(8, output_tokens=1024, tp=4):
        seen, guess = truth.simulate(point), found.simulate(point)
        assert guess.tpot == pytest.approx(seen.tpot, rel=0.02)
        assert guess.ttft == pytest.approx(seen.ttft, rel=0.06)


def test_too_few_points_are_refused() -> None:
    with pytest.raises(InputError, match="3 points for 4 coefficients"):
        fit_points(chosen()[:3])


def test_what_is_left_out_is_counted() -> None:
    (point,) = chosen(tp=4, input_tokens=1024, output_tokens=1024)
    cases = {
        "more than 256 users": replace(point, concurrency=512),
        "load generator unknown": replace(point, shortest_share=1.0),
        "does not fit, or device unknown": replace(point, device="gb300"),
        "contradicts itself": replace(point, ttft=100.0),
    }
    for reason, case in cases.items():
        assert why_not(case) == reason
    both = joined([judge(cases.values()), judge([point])])
    assert both.left_out == dict.fromkeys(cases, 1)
    assert len(both.simulated) == 1
    assert math.isnan(Judged(()).mape("ttft"))


def call(*words: str) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    accuracy.configure(parser)
    return accuracy.run(parser.parse_args(words))


def test_command_prints_a_row_per_split(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = tuple(each for each in load_points() if each.engine != "vllm" or each.concurrency <= 4)
    monkeypatch.setattr("hasten.accuracy.closed_loop.load_points", lambda: some)
    only = ("--points", "--model", "llama-3.1-70b", "--device", "h100-sxm", "--engine", "vllm")
    assert call(*only) == 0
    text = capsys.readouterr().out
    assert call("--json", *only) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["split"] for row in rows] == ["tp2", "tp4", "tp8"]
    assert all(f"{row['ttft_mape']:.1%}" in text for row in rows)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("--points", "--model", "gpt-2"), "has no closed-loop points"),
        (("--points", "llama-3.1-8b-rtx-4090"), "leave 'llama-3.1-8b-rtx-4090' out"),
        (("--model", "llama-3.1-70b"), "give --points too"),
    ],
)
def test_bad_choices_are_refused(words: tuple[str, ...], match: str) -> None:
    with pytest.raises(InputError, match=match):
        call(*words)
