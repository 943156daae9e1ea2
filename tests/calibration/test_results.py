"""Result files of load generators: a run of known step times, written as each tool does, gives them back."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hasten.calibration import calibrate
from hasten.calibration.model import Predictor, blank
from hasten.calibration.reading import read_files
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.latency.calibration import Coefficients
from hasten.report.files import save_requests
from hasten.sim.run import simulate
from hasten.workload.arrivals import Poisson
from hasten.workload.columns import ClosedLoop
from hasten.workload.lengths import Uniform
from hasten.workload.synthetic import synthesise

PLAIN = Deployment.of("llama-3.1-8b", "h100-sxm", step_times="analytical", prefix_caching=False)
TRUTH = replace(
    PLAIN,
    calibration=replace(
        blank(PLAIN),
        coefficients=Coefficients(
            memory=1.15, compute=1.25, step_seconds=8e-4, mixed_seconds=4e-3, front_end_seconds=5e-3
        ),
    ),
)


def run(arrivals, num=200, seed=0):
    work = synthesise(
        arrivals, prompt=Uniform(200, 1800), output=Uniform(50, 250), num_requests=num, seed=seed
    )
    return simulate(TRUTH, work.replaced(max_tokens=work.output_tokens)).records


OPEN, CLOSED = run(Poisson(6.0)), [run(ClosedLoop(n), num=10 * n) for n in (1, 4, 16, 48)]


def parts(records):
    """(TTFT, TPOT, E2E) per request, in seconds."""
    ttft, end = records.first_token - records.arrival, records.finish - records.arrival
    return ttft, (end - ttft) / (records.output_tokens - 1), end


def vllm(records, *, users=None, detailed=False):
    ttft, tpot, end = parts(records)
    span = float(records.finish.max() - records.arrival.min())
    found = {
        "completed": len(records),
        "total_input_tokens": int(records.prompt_tokens.sum()),
        "total_output_tokens": int(records.output_tokens.sum()),
        "request_throughput": len(records) / span,
        "mean_ttft_ms": ttft.mean() * 1e3,
        "median_ttft_ms": float(np.median(ttft)) * 1e3,
        "mean_tpot_ms": tpot.mean() * 1e3,
        "mean_e2el_ms": end.mean() * 1e3,
        "max_concurrency": users,
    }
    if detailed:
        gaps = [[float(t)] * int(n - 1) for t, n in zip(tpot, records.output_tokens, strict=True)]
        found |= {
            "input_lens": records.prompt_tokens.tolist(),
            "output_lens": records.output_tokens.tolist(),
            "ttfts": ttft.tolist(),
            "itls": gaps,
            "start_times": (1000.0 + records.arrival).tolist(),
            "errors": [""] * len(records),
        }
    return found


def guidellm(records):
    ttft, tpot, end = parts(records)
    span = float(records.finish.max() - records.arrival.min())

    def of(mean, median=0.0):
        return {"successful": {"mean": float(mean), "median": float(median)}}

    return {
        "benchmarks": [
            {
                "metrics": {
                    "prompt_token_count": of(records.prompt_tokens.mean()),
                    "output_token_count": of(records.output_tokens.mean()),
                    "time_to_first_token_ms": of(ttft.mean() * 1e3, np.median(ttft) * 1e3),
                    "inter_token_latency_ms": of(tpot.mean() * 1e3),
                    "time_per_output_token_ms": of((end / records.output_tokens).mean() * 1e3),
                    "requests_per_second": of(len(records) / span),
                }
            }
        ]
    }


def aiperf(records, unit="ms"):
    ttft, tpot, _ = parts(records)
    scale = {"ms": 1e3, "sec": 1.0}[unit]
    span = float(records.finish.max() - records.arrival.min())
    return {
        "time_to_first_token": {
            "unit": unit,
            "avg": ttft.mean() * scale,
            "p50": float(np.median(ttft)) * scale,
        },
        "inter_token_latency": {"unit": unit, "avg": tpot.mean() * scale},
        "input_sequence_length": {"unit": "tokens", "avg": float(records.prompt_tokens.mean())},
        "output_sequence_length": {"unit": "tokens", "avg": float(records.output_tokens.mean())},
        "request_count": {"unit": "requests", "avg": len(records)},
        "request_throughput": {"unit": "requests/sec", "avg": len(records) / span},
    }


def errors(found):
    """Errors of the two calibrations' decode and prefill seconds on steps in range."""
    true, fitted = TRUTH.latency, replace(PLAIN, calibration=found.calibration).latency
    steps = [((), 4, 4000), ((), 16, 16_000), (((1000, 0),), 0, 0), (((700, 0),), 16, 16_000)]
    return np.array([fitted.step_time(*step).seconds / true.step_time(*step).seconds - 1.0 for step in steps])


def calibrated(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    read = read_files([path], PLAIN)
    return calibrate(PLAIN, read.samples, notes=read.notes, inputs=read.inputs)


def test_detailed_results_of_vllm_give_the_step_times_back(tmp_path):
    found = calibrated(tmp_path / "r.json", vllm(OPEN, detailed=True))
    assert np.abs(errors(found)).max() < 0.10
    assert found.calibration.inputs[0][:2] == ("r.json", "vllm bench serve")
    assert found.calibration.after < 0.05 < found.calibration.before


def test_request_files_give_the_step_times_back(tmp_path):
    save_requests(OPEN, tmp_path / "requests.csv")
    read = read_files([tmp_path / "requests.csv"], PLAIN)
    assert np.abs(errors(calibrate(PLAIN, read.samples))).max() < 0.10


@pytest.mark.parametrize(
    "write",
    [
        lambda records, users: vllm(records, users=users),
        lambda records, users: vllm(records, users=users) | {"random_input_len": 1000},
        lambda records, users: guidellm(records),
        lambda records, users: aiperf(records),
        lambda records, users: aiperf(records, "sec"),
    ],
    ids=["vllm", "sglang", "guidellm", "aiperf", "aiperf in s"],
)
def test_summaries_at_a_few_loads_give_the_step_times_back(write, tmp_path):
    paths = []
    for users, records in zip((1, 4, 16, 48), CLOSED, strict=True):
        paths.append(tmp_path / f"{users}.json")
        paths[-1].write_text(json.dumps(write(records, users)))
    read = read_files(paths, PLAIN)
    found = calibrate(PLAIN, read.samples)
    assert np.abs(errors(found)[:2]).max() < 0.05
    assert np.abs(errors(found)[2:]).max() < 0.12


def test_lines_of_results_are_read_one_by_one(tmp_path):
    lines = "\n".join(
        json.dumps(vllm(records, users=n)) for n, records in zip((1, 16), (CLOSED[0], CLOSED[2]), strict=True)
    )
    found = calibrated(tmp_path / "r.jsonl", lines)
    assert {each.where.partition(",")[2].split(",")[0].strip() for each in found.judged} == {
        "line 1",
        "line 2",
    }


def test_guidellm_is_translated_with_a_note(tmp_path):
    found = calibrated(tmp_path / "g.json", guidellm(CLOSED[1]))
    assert any("its TPOT includes the first token" in note for note in found.calibration.notes)


def test_queueing_is_not_taken_for_step_time(tmp_path):
    short = run(ClosedLoop(64), num=128)
    content = vllm(short, users=64)
    content["total_output_tokens"] = 20 * content["completed"]
    content.pop("mean_e2el_ms")
    found = calibrated(tmp_path / "r.json", content)
    assert any("TTFT left out" in note for note in found.calibration.notes)


GOOD = vllm(CLOSED[1], users=4, detailed=True)


def without(*keys):
    return {key: value for key, value in GOOD.items() if key not in keys}


BAD = {
    "cut": (json.dumps(GOOD)[:500], ["r.json", "not JSON", "cut"]),
    "first token included": (
        GOOD
        | {
            "mean_tpot_ms": GOOD["mean_e2el_ms"] / GOOD["total_output_tokens"] * GOOD["completed"],
            "mean_ttft_ms": 2000.0,
        },
        ["includes the first token", "guidellm"],
    ),
    "seconds in ms keys": (GOOD | {"mean_tpot_ms": GOOD["mean_tpot_ms"] / 1e3}, ["E2E", "units"]),
    "all in seconds": (
        without("input_lens") | {k: v / 1e3 for k, v in GOOD.items() if k.endswith("_ms")},
        ["times shorter", "ms, read as s"],
    ),
    "not a number": (GOOD | {"mean_tpot_ms": float("nan")}, ["mean_tpot_ms", "nan"]),
    "negative": (GOOD | {"median_ttft_ms": -3.0}, ["median_ttft_ms", "-3.0"]),
    "nothing completed": (GOOD | {"completed": 0}, ["completed", "0"]),
    "no completed": (without("completed"), ["completed", "another tool"]),
    "arrays cut": (GOOD | {"ttfts": GOOD["ttfts"][:5]}, ["differ in length"]),
    "a zero ttft": (GOOD | {"ttfts": [0.0, *GOOD["ttfts"][1:]]}, ["request 1", "not above 0"]),
    "a word among gaps": (GOOD | {"itls": [["x"], *GOOD["itls"][1:]]}, ["request 1", "no numbers"]),
    "another tool": ({"p50_latency": 3.0, "qps": 7}, ["no known tool"]),
    "our own report": ({"origin": "analytical", "ttft_ms": {}}, ["report of hasten"]),
    "guidellm without metrics": ({"benchmarks": [{}]}, ["benchmark 1", "metrics"]),
    "aiperf in minutes": (aiperf(OPEN) | {"inter_token_latency": {"unit": "min", "avg": 1}}, ["'min'"]),
    "aiperf without streaming": (
        {k: v for k, v in aiperf(OPEN).items() if k != "inter_token_latency"},
        ["--streaming"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_files_that_can_t_be(case, tmp_path):
    content, expected = BAD[case]
    with pytest.raises(InputError) as error:
        calibrated(tmp_path / "r.json", content)
    assert "\n" not in str(error.value)
    for part in expected:
        assert part in str(error.value), str(error.value)


def test_a_calibration_from_traffic_predicts_another_load():
    """Fitted at 6 requests/s, scored at 14: TTFT and TPOT of a simulation against those of the truth."""
    from hasten.calibration.traffic import request_samples

    found = calibrate(PLAIN, list(request_samples(OPEN, PLAIN, "open")))
    work = synthesise(
        Poisson(14.0), prompt=Uniform(200, 1800), output=Uniform(50, 250), num_requests=300, seed=5
    )
    work = work.replaced(max_tokens=work.output_tokens)
    true, before, after = (
        [part.mean() for part in parts(simulate(each, work).records)[:2]]
        for each in (TRUTH, PLAIN, replace(PLAIN, calibration=found.calibration))
    )
    gap = np.abs(np.array(after) / true - 1.0)
    assert gap[1] < 0.03
    assert gap[0] < 0.10
    assert (gap < 0.5 * np.abs(np.array(before) / true - 1.0)).all()


def test_predictors_agree_with_the_deployment():
    found = Predictor(TRUTH).deployment
    assert found == PLAIN
