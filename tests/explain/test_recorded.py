"""Recorded runs of our engine, foreign servers' metrics, and timelines."""

import gzip
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest

import hasten
from hasten.cli import main
from hasten.errors import InputError
from hasten.explain.foreign import UNKNOWN, server_means
from hasten.explain.trace_events import trace_events
from hasten.policies import policy_names
from hasten.sim.steps import StepLog


@pytest.mark.parametrize("name", policy_names("schedule"))
def test_labels_of_a_recorded_run_sum_to_its_latencies(name: str) -> None:
    pytest.importorskip("torch")
    from tests.engine.engines import Harness, some_prompts

    from hasten.engine.policies import Policies
    from hasten.engine.recording import Recording
    from hasten.explain.recorded import explain_recording

    spec = "static:batch_size=6,wait=0.002" if name == "static" else name
    policies = Policies.named({"schedule": spec, "length": "mean"})
    harness = Harness(num_blocks=40, policies=policies, record=True)
    numbers = random.Random(1)
    for prompt in some_prompts(25, 3, low=5, high=60):
        harness.submit(prompt, numbers.randint(1, 30))
    harness.finish()
    recording = harness.recording
    assert isinstance(recording, Recording)
    found, _ = explain_recording(recording, policies)
    assert len(found.records) == 25
    for metric in ("ttft", "tpot", "e2e"):
        latency = found.latency(metric)
        known = ~np.isnan(latency)
        np.testing.assert_allclose(
            found.labels(metric).sum(axis=1)[known], latency[known], rtol=1e-9, atol=1e-12
        )
    assert found.notes


METRICS = """# HELP vllm:e2e_request_latency_seconds x
vllm:e2e_request_latency_seconds_bucket{engine="0",le="+Inf"} 4
vllm:e2e_request_latency_seconds_count{engine="0"} 4
vllm:e2e_request_latency_seconds_sum{engine="0"} 8.0
vllm:time_to_first_token_seconds_count{engine="0"} 4
vllm:time_to_first_token_seconds_sum{engine="0"} 3.0
vllm:request_queue_time_seconds_count{engine="0"} 4
vllm:request_queue_time_seconds_sum{engine="0"} 2.0
vllm:request_prefill_time_seconds_count{engine="0"} 4
vllm:request_prefill_time_seconds_sum{engine="0"} 0.8
vllm:request_decode_time_seconds_count{engine="0"} 4
vllm:request_decode_time_seconds_sum{engine="0"} 5.0
"""


def test_metrics_of_a_foreign_server_give_means_and_say_what_they_hide() -> None:
    found = server_means(METRICS)
    assert found.phases == {"queue": 0.5, "prefill": 0.2, "decode": 1.25}
    assert found.rest == pytest.approx(0.05)
    assert found.largest == "decode"
    assert UNKNOWN
    with pytest.raises(InputError, match="counts no request"):
        server_means(METRICS, before=METRICS)
    with pytest.raises(InputError, match="hold no histogram"):
        server_means("nothing 1")
    doubled = re.sub(
        r"(_count|_sum)(.*) (\S+)", lambda line: f"{line[1]}{line[2]} {2 * float(line[3])}", METRICS
    )
    assert (
        server_means(METRICS + doubled) == found
    )  # the last page of a file, without what its first one counts
    with pytest.raises(InputError, match=r"metrics: line 1: .* is nan"):
        server_means("vllm:x_sum NaN")


def test_trace_events_hold_every_step_and_every_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.json.gz"
    argv = ["simulate", "llama-3.1-8b", "--device", "l40s", "--limit", "50", "--trace-events", str(path)]
    assert main(argv) == 0
    with gzip.open(path, "rt") as file:
        events = json.load(file)["traceEvents"]
    log = StepLog()
    work = hasten.Workload.from_trace("azure-conv", limit=50)
    report = hasten.simulate(hasten.Deployment.of("llama-3.1-8b", "l40s"), work, log=log)
    assert events == json.loads(json.dumps(list(trace_events(report.records, log))))
    slices = [event for event in events if event["ph"] == "X"]
    assert len(slices) == sum(row[2] > 0 for row in log.ranks[0].rows)
    assert sum(event["args"]["prefill_tokens"] for event in slices) == int(work.prompt_tokens.sum())
    opened = [event["id"] for event in events if event["ph"] == "b" and event["name"].startswith("request")]
    assert sorted(opened) == list(range(50))
    assert main([*argv[:-1], "run.txt"]) == 2
