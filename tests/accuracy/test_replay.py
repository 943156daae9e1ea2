"""Recorded runs: they decode to what upstream published, and the parts of an error sum to it."""

import numpy as np
import pytest

from hasten.accuracy.layers import left_out
from hasten.accuracy.recorded import latencies, load_run, run_names
from hasten.accuracy.replay import replay, split
from hasten.errors import InputError
from hasten.latency.compiled import LinearCost
from hasten.latency.scaled import scaled
from hasten.latency.tables import profile_paths

# Published: mean TTFT and TPOT in ms, engine-side (LLMServingSim, commit 5daddb21a545, bench/).
PUBLISHED = {
    "llama-3.1-8b-rtx-4090": (65457, 32.45),
    "llama-3.1-8b-rtx-pro-6000": (7097, 32.46),
    "qwen3-30b-a3b-rtx-pro-6000-dp2": (1086, 47.29),
}


@pytest.mark.parametrize("name", run_names())
def test_runs_decode_to_what_was_published(name: str) -> None:
    run = load_run(name)
    ttft, tpot = PUBLISHED[name]
    assert run.measured.ttft.mean() * 1e3 == pytest.approx(ttft, rel=1e-4)
    assert np.nanmean(run.measured.tpot) * 1e3 == pytest.approx(tpot, rel=1e-3)
    assert len(run.work) == 300
    assert (run.measured.e2e >= run.measured.ttft).all()


def test_an_unknown_run_is_named_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"'nope' is unknown: use one of llama"):
        load_run("nope")


def test_parts_of_an_error_sum_to_it_and_the_factor_meets_tpot() -> None:
    run = load_run("llama-3.1-8b-rtx-4090")
    first = replay(run)
    parts, factor = split(first)
    for name, part in parts.items():
        assert part.capacity + part.step_time + part.scheduling == pytest.approx(part.total)
        assert part.total == pytest.approx(first.errors()[name])
    assert abs(parts["tpot mean"].scheduling) < 1e-3
    assert 0.8 < factor < 1.25


def test_capacity_is_no_part_of_the_error_when_the_recorded_one_is_used() -> None:
    run = load_run("llama-3.1-8b-rtx-4090")
    tokens = run.kv_cache_tokens
    parts, _ = split(replay(run, kv_cache_tokens=tokens), kv_cache_tokens=tokens)
    assert all(part.capacity == 0.0 for part in parts.values())


def test_scheduling_alone_explains_the_dense_runs_within_a_percent() -> None:
    parts, _ = split(replay(load_run("llama-3.1-8b-rtx-pro-6000")))
    assert abs(parts["e2e mean"].scheduling) < 0.01
    assert abs(parts["ttft mean"].scheduling) < 0.01


def test_latencies_in_closed_form() -> None:
    found = latencies(np.array([0.0, 1.0]), np.array([1.0, 2.0]), np.array([3.0, 2.0]), [5, 1])
    assert found.ttft.tolist() == [1.0, 1.0]
    assert found.tpot[0] == 0.5
    assert np.isnan(found.tpot[1])
    assert found.throughput == 2.0


def test_scaled_costs_scale() -> None:
    cost = scaled(LinearCost(1.0, per_context=2.0), 3.0)
    assert cost.decode_line(4, 10)[:2] == (3.0, 6.0)
    assert cost.mixed([], 1, 10) == 63.0


def test_layers_left_out_are_met_within_a_few_percent() -> None:
    for path in profile_paths():
        errors = left_out(path)
        assert np.median(np.abs(errors["dense"])) < 0.01
        assert np.median(np.abs(errors["decode attention"])) < 0.04
        assert np.median(np.abs(errors["prefill attention"])) < 0.04


def test_held_out_part_of_the_dense_runs() -> None:
    for name in ("llama-3.1-8b-rtx-4090", "llama-3.1-8b-rtx-pro-6000"):
        found = replay(load_run(name), since=15.0)
        errors = found.errors()
        assert abs(errors["e2e mean"]) < 0.03
        assert abs(errors["tpot mean"]) < 0.03
        assert abs(errors["ttft mean"]) < 0.06
        assert abs(errors["ttft p99"]) < 0.12
        assert found.per_request("e2e") < 0.03
