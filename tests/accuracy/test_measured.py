"""A measured run against its simulation: parts sum to the difference, and name what was changed."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hasten.accuracy.measured import join
from hasten.calibration.model import blank
from hasten.cli import main
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.latency.calibration import Coefficients
from hasten.report.files import save_requests
from hasten.report.records import Status
from hasten.sim.run import simulate
from hasten.workload.arrivals import Poisson
from hasten.workload.columns import ClosedLoop
from hasten.workload.lengths import Uniform
from hasten.workload.synthetic import synthesise

PLAIN = Deployment.of("llama-3.1-8b", "h100-sxm", step_times="analytical", prefix_caching=False)


def truth(**coefficients):
    calibration = replace(blank(PLAIN), coefficients=Coefficients(**coefficients))
    return replace(PLAIN, calibration=calibration)


def run(deployment, arrivals, num=150):
    work = synthesise(arrivals, prompt=Uniform(100, 1500), output=Uniform(20, 200), num_requests=num)
    return simulate(deployment, work.replaced(max_tokens=work.output_tokens)).records


def figures(found):
    return {each.name: each for each in found.figures}


def test_a_run_of_the_model_itself_differs_in_nothing():
    found = join(PLAIN, run(PLAIN, Poisson(5.0)))
    assert all(abs(each.error) < 1e-9 for each in found.figures)
    assert found.step_factor == 1.0
    assert found.front_end == pytest.approx(0.0, abs=1e-9)
    measured, predicted = found.throughput
    assert predicted == pytest.approx(measured, rel=1e-9)


@pytest.mark.parametrize(
    "real", [truth(memory=1.3, compute=1.2), truth(step_seconds=2e-3), truth(front_end_seconds=0.02)]
)
def test_parts_sum_to_the_difference(real):
    found = join(PLAIN, run(real, Poisson(5.0)), kv_cache_tokens=300_000)
    for each in found.figures:
        assert sum(each.parts.values()) == pytest.approx(each.predicted - each.measured, rel=1e-9, abs=1e-12)


def test_throughput_is_tokens_until_the_last_one():
    records = run(truth(step_seconds=5e-3), Poisson(50.0))
    measured, predicted = join(PLAIN, records).throughput
    assert measured == pytest.approx(
        records.output_tokens.sum() / (records.finish.max() - records.arrival.min())
    )
    assert predicted > 1.02 * measured


def test_prompts_from_the_prefix_cache_are_told():
    records = run(PLAIN, Poisson(5.0))
    columns = records.columns() | {"cached_tokens": records.prompt_tokens // 2}
    assert any("prefix cache" in note for note in join(PLAIN, type(records)(**columns)).notes)
    assert not any("prefix cache" in note for note in join(PLAIN, records).notes)


def test_slow_steps_are_step_time():
    found = join(PLAIN, run(truth(memory=1.3, compute=1.3, kernel=1.3), Poisson(5.0)))
    tpot = figures(found)["tpot mean"]
    assert found.step_factor == pytest.approx(1.3, rel=0.03)
    assert tpot.error == pytest.approx(1 / 1.3 - 1.0, abs=0.03)
    assert abs(tpot.parts["scheduling"]) < 0.1 * abs(tpot.parts["step time"])


def test_time_before_the_engine_is_the_front_end():
    found = join(PLAIN, run(truth(front_end_seconds=0.05), Poisson(0.5), num=60))
    assert found.front_end == pytest.approx(0.05, abs=0.005)
    ttft = figures(found)["ttft mean"]
    assert abs(ttft.parts["scheduling"]) < 0.2 * abs(ttft.parts["front end"])


def test_a_small_kv_cache_is_capacity():
    small = replace(PLAIN, kv_cache_tokens=16_000)
    found = join(PLAIN, run(small, Poisson(20.0), num=200), kv_cache_tokens=16_000)
    ttft = figures(found)["ttft mean"]
    assert ttft.error < -0.3
    assert ttft.parts["capacity"] < 0.8 * (ttft.predicted - ttft.measured)


def test_closed_loops_are_replayed_as_such():
    found = join(PLAIN, run(PLAIN, ClosedLoop(8), num=80), users=8)
    assert abs(figures(found)["tpot mean"].error) < 0.02


def test_requests_that_failed_are_left_out():
    records = run(PLAIN, Poisson(5.0))
    status = records.status.copy()
    status[3] = Status.REJECTED
    columns = records.columns() | {"status": status}
    found = join(PLAIN, type(records)(**columns))
    assert found.requests == len(records) - 1
    assert "1 requests that were not served" in found.notes[0]
    with pytest.raises(InputError, match="nothing to compare"):
        join(PLAIN, type(records)(**(records.columns() | {"status": np.full(len(records), Status.REJECTED)})))


def test_the_command_reads_what_bench_writes(tmp_path, capsys):
    save_requests(run(truth(memory=1.2), Poisson(5.0)), tmp_path / "run.csv")
    argv = ["compare", "llama-3.1-8b", "--measured", str(tmp_path / "run.csv"), "--latency", "analytical"]
    argv += ["--set", "prefix_caching=false"]
    assert main([*argv, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["figures"]["tpot mean"]["error"] == pytest.approx(-0.1, abs=0.08)
    assert main(argv) == 0
    assert "would meet the measured mean TPOT" in capsys.readouterr().out
    assert main([*argv, "--device", "h100-sxm,l40s"]) == 2
    assert "one deployment" in capsys.readouterr().err
    (tmp_path / "means.json").write_text(
        json.dumps(
            {
                "completed": 1,
                "total_input_tokens": 9,
                "total_output_tokens": 9,
                "mean_ttft_ms": 9,
                "mean_tpot_ms": 9,
            }
        )
    )
    assert main(["compare", "--measured", str(tmp_path / "means.json")]) == 2
    assert "--save-detailed" in capsys.readouterr().err
