"""What the commands print: figures that agree with the library, with each other and with the files written."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import hasten
from hasten.cli import main
from hasten.report.files import load_requests

LIMIT = ["--limit", "200"]
SERVER = ["llama-3.1-8b", "--device", "h100-sxm"]


def result(capsys: pytest.CaptureFixture[str], *argv: str, status: int = 0) -> Any:
    """The JSON that a command prints."""
    assert main([*argv, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def shown(capsys: pytest.CaptureFixture[str], *argv: str, status: int = 0) -> str:
    """The text that a command prints."""
    assert main(list(argv)) == status
    return capsys.readouterr().out


# ---- predict --------------------------------------------------------------------------------------------------


def test_predict_prints_what_the_library_predicts(capsys: pytest.CaptureFixture[str]) -> None:
    found = result(capsys, "predict", *SERVER, "--batch", "8", "--context", "2048", "--prompt", "9000")
    own = hasten.predict(hasten.Deployment.of("llama-3.1-8b", "h100-sxm"), batch=8, context=2048, prompt=9000)
    assert found == json.loads(json.dumps(own.to_dict()))
    assert found["prefill"]["steps"] == 2


def test_predict_says_where_time_and_memory_go_and_how_sure_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "predict", *SERVER, "--batch", "5000", "--set", "max_num_seqs=512")
    for part in (
        "reading weights",
        "KV cache",
        "tok/s per user",
        "GiB",
        "blocks",
        "Origin: analytical",
        "25%",
    ):
        assert part in text
    assert "Note: the engine runs at most max_num_seqs = 512 sequences" in text
    assert "Note: the KV cache holds" in text


def test_predict_frames_its_steps(capsys: pytest.CaptureFixture[str]) -> None:
    found = result(capsys, "predict", *SERVER)
    decode, prefill = found["decode"], found["prefill"]
    assert decode["interval_low_ms"] < decode["tpot_ms"] < decode["interval_high_ms"]
    assert prefill["interval_low_ms"] < prefill["ttft_ms"] < prefill["interval_high_ms"]
    text = shown(capsys, "predict", "llama-3.1-8b", "--device", "l40s", "--batch", "300")
    assert "90% interval" in text
    assert "extrapolated: no published deployment on a device like l40s" in text
    assert "at most 256 sequences" in text


def test_simulate_shows_both_ends(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["simulate", *SERVER, "--limit", "50", "--ttft", "1s", "--interval", "90"]
    found = result(capsys, *argv)
    span = found["intervals"]["p99_ttft"]
    assert span["low_ms"] < span["value_ms"] < span["high_ms"]
    text = shown(capsys, *argv)
    assert "90% intervals" in text
    assert "goodput" in text
    assert f"{span['high_ms']:,.2f}" in text


def test_settings_and_prices_reach_the_deployment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prices = tmp_path / "p.toml"
    prices.write_text('[h100-sxm]\ndollars_per_hour = 2.5\ndate = "2026-11"\n')
    argv = ["predict", *SERVER, "--replicas", "2", "--prices", str(prices), "--kv-cache-tokens", "160000"]
    found = result(capsys, *argv, "--set", "block-size=32")
    assert found["price_usd_per_hour"] == 5.0
    assert found["memory"]["kv_cache_tokens"] == 160000
    assert found["memory"]["kv_cache_blocks"] == 5000
    assert found["memory"]["kv_cache_origin"] == "measured"


# ---- simulate -------------------------------------------------------------------------------------------------


def test_simulate_prints_the_labels_of_vllm_bench(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "simulate", *SERVER, *LIMIT, "--percentiles", "90,99.9", "--ttft", "1s")
    for label in (
        "Successful requests:",
        "Mean TTFT (ms):",
        "P99.9 TPOT (ms):",
        "Request goodput (req/s):",
        "P90 E2EL",
    ):
        assert label in text
    assert "P95" not in text
    assert text.splitlines()[-1].startswith("Service level held: TTFT p99")


def test_the_exit_status_says_whether_the_service_level_was_held(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "simulate", *SERVER, *LIMIT, "--ttft", "1s", "--tpot", "2ms", status=1)
    assert text.splitlines()[-1].startswith("Service level MISSED: TPOT p99")
    found = result(capsys, "simulate", *SERVER, *LIMIT, "--tpot", "2ms", "--attainment", "1%", status=1)
    assert found["service_level"]["held"] is False
    assert found["attainment"] < 0.01
    assert result(capsys, "simulate", *SERVER, *LIMIT)["service_level"]["held"] is None


def test_stepping_and_jumping_print_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["simulate", *SERVER, "--limit", "60", "--rate", "20"]
    jumped, stepped = result(capsys, *argv), result(capsys, *argv, "--stepping")
    assert stepped["p99_ttft_ms"] == pytest.approx(jumped["p99_ttft_ms"], rel=1e-9)
    assert stepped["mean_itl_ms"] == pytest.approx(jumped["mean_itl_ms"], rel=1e-9)


def test_policies_and_seed_reach_the_simulation(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["simulate", *SERVER, *LIMIT, "--rate", "40", "--replicas", "2"]
    chosen = [
        "--schedule",
        "sjf",
        "--length",
        "noisy_oracle:sigma=2",
        "--route",
        "power_of_two",
        "--cache",
        "fifo",
    ]
    first = result(capsys, *argv, *chosen, "--seed", "1")
    assert first["policies"]["schedule"] == "sjf"
    assert result(capsys, *argv, *chosen, "--seed", "1") == first
    assert result(capsys, *argv, *chosen, "--seed", "2")["mean_ttft_ms"] != first["mean_ttft_ms"]
    assert result(capsys, *argv)["mean_ttft_ms"] != first["mean_ttft_ms"]


LAST_FIRST = '''from dataclasses import dataclass
from hasten import SchedulingPolicy


@dataclass
class LastFirst(SchedulingPolicy):
    """Last come, first served."""

    sign: float = -1.0

    def rank(self, request, view):
        return self.sign * request.arrival
'''


def test_a_policy_file_is_a_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "last_first.py"
    file.write_text(LAST_FIRST)
    argv = ["simulate", *SERVER, *LIMIT, "--rate", "100"]
    fcfs = result(capsys, *argv)
    assert result(capsys, *argv, "--schedule", str(file))["p99_ttft_ms"] != fcfs["p99_ttft_ms"]
    assert result(capsys, *argv, "--schedule", f"{file}:sign=1")["p99_ttft_ms"] == fcfs["p99_ttft_ms"]


def test_sessions_replay_conversations(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["simulate", *SERVER, "--workload", "mooncake-conversation", "--limit", "200", "--rate", "2"]
    found = result(capsys, *argv, "--sessions")
    assert found["workload"]["follow_up_share"] > 0
    assert result(capsys, *argv)["workload"]["follow_up_share"] is None
    assert "follow-up turns" in shown(capsys, *argv, "--sessions")


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_one_row_per_request_in_order(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / name
    found = result(capsys, "simulate", *SERVER, *LIMIT, "--rate", "50", "--out", str(out))
    records = load_requests(out)
    assert records.id.tolist() == list(range(200))
    assert records.output_tokens.sum() == found["total_output_tokens"]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    if name.endswith(".csv"):
        with out.open(newline="") as file:
            rows = list(csv.DictReader(file))
        mean = sum(float(row["ttft_s"]) for row in rows) / len(rows)
        assert 1e3 * mean == pytest.approx(found["mean_ttft_ms"], rel=1e-9)


# ---- compare --------------------------------------------------------------------------------------------------


def test_compare_agrees_with_simulate_and_pairs_the_sides(capsys: pytest.CaptureFixture[str]) -> None:
    slo = ["--ttft", "100ms"]
    argv = ["compare", "llama-3.1-8b", *LIMIT, "--rate", "20", *slo]
    found = result(capsys, *argv, "--schedule", "fcfs,static:batch_size=8,wait=0.1,prefill_first")
    assert [row["side"] for row in found["rows"]] == ["fcfs", "static:batch_size=8,wait=0.1", "prefill_first"]
    for row in found["rows"]:
        alone = result(
            capsys, "simulate", *SERVER, *LIMIT, "--rate", "20", *slo, "--schedule", row["side"], status=1
        )
        assert row["ttft_p99_ms"] == pytest.approx(alone["p99_ttft_ms"], rel=1e-9)
        assert row["attainment"] == alone["attainment"]
        low, high = row["ttft_p99_ms_interval"]
        assert low <= row["ttft_p99_ms"] <= high
    (comparison,) = found["comparisons"]
    assert comparison["baseline"] == "fcfs"
    assert comparison["paired_requests"] == 200


def test_compare_devices_sizes_and_policies_in_every_combination(capsys: pytest.CaptureFixture[str]) -> None:
    argv = [
        "compare",
        "--limit",
        "100",
        "--device",
        "h100-sxm,l40s",
        "--tp",
        "1,2",
        "--route",
        "round_robin,power_of_two",
    ]
    sides = [row["side"] for row in result(capsys, *argv)["rows"]]
    assert len(sides) == 8
    assert sides[0] == "h100-sxm tp1 round_robin"
    assert sides[-1] == "l40s tp2 power_of_two"
    text = shown(capsys, *argv[:5], "--engine", "vllm,sglang")
    assert "h100-sxm sglang" in text
    assert "Changes against the first side" in text


def test_a_sweep_repeats_the_sides_at_every_point(capsys: pytest.CaptureFixture[str]) -> None:
    found = result(capsys, "compare", *LIMIT, "--schedule", "fcfs,prefill_first", "--sweep", "rate=5..20:3")
    assert [row["rate"] for row in found["rows"]] == [5, 5, 12.5, 12.5, 20, 20]
    fcfs = [row["ttft_p99_ms"] for row in found["rows"] if row["side"] == "fcfs"]
    assert fcfs == sorted(fcfs), "more load, later tokens"
    found = result(capsys, "compare", *LIMIT, "--rate", "40", "--sweep", "replicas=1,2")
    assert found["rows"][0]["ttft_p99_ms"] > found["rows"][1]["ttft_p99_ms"]
    found = result(capsys, "compare", *LIMIT, "--rate", "9", "--sweep", "max_num_seqs=4,64")
    assert found["rows"][0]["ttft_p99_ms"] > found["rows"][1]["ttft_p99_ms"]
    argv = ["--schedule", "static:wait=0.5", "--sweep", "schedule.batch_size=4,8"]
    assert "schedule.batch_size" in shown(capsys, "compare", *LIMIT, *argv)


def test_seeds_that_change_nothing_are_no_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["compare", *LIMIT, "--schedule", "fcfs,prefill_first"]
    assert result(capsys, *argv, "--seeds", "2")["rows"] == result(capsys, *argv)["rows"]
    assert "every seed gave the same runs" in shown(capsys, *argv, "--seeds", "2")
    random = [
        "compare",
        "--limit",
        "100",
        "--replicas",
        "2",
        "--route",
        "round_robin,power_of_two",
        "--seeds",
        "2",
    ]
    assert "every seed gave the same runs" not in shown(capsys, *random)
    work = "poisson:rate=20,prompt=lognormal:500:1,output=50,n=100"
    found = result(capsys, *argv, "--workload", work, "--seeds", "2")
    assert found["rows"][0]["requests"] == 200


def test_rejected_requests_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "compare", *LIMIT, "--rate", "100", "--ttft", "200ms", "--admit", "always,slo_gate")
    assert "not served" in text


# ---- catalogues and check -------------------------------------------------------------------------------------


def test_catalogues_hold_what_the_library_lists(capsys: pytest.CaptureFixture[str]) -> None:
    from hasten.hardware import device_names
    from hasten.models import model_names
    from hasten.policies import policy_names, roles
    from hasten.profiles import profile_names

    assert [each["name"] for each in result(capsys, "models")] == model_names()
    assert [each["name"] for each in result(capsys, "devices")] == device_names()
    assert [each["name"] for each in result(capsys, "engines")] == profile_names()
    methods = [(each["role"], each["name"]) for each in result(capsys, "methods")]
    policies = [(role, name) for role in roles() for name in policy_names(role)]
    assert methods[: len(policies)] == policies
    assert ("plan", "token_limit") in methods[len(policies) :]
    for command in ("models", "devices", "engines", "methods"):
        lines = shown(capsys, command).splitlines()
        assert len(lines) == 1 + len(result(capsys, command))
    assert "azure-conv" in shown(capsys, "workloads")


@pytest.mark.parametrize("command", ["models", "devices", "engines", "methods"])
def test_every_entry_can_be_shown(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for each in result(capsys, command):
        name = f"{each['role']}/{each['name']}" if command == "methods" else each["name"]
        assert each["name"] in shown(capsys, command, "show", name)
        assert result(capsys, command, "show", name) == each


def test_methods_of_one_role(capsys: pytest.CaptureFixture[str]) -> None:
    assert {each["role"] for each in result(capsys, "methods", "--role", "route")} == {"route"}


def test_workloads_describes_traces_and_specs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text("timestamp,input_length,output_length\n0,10,3\n1,20,0\n2,30,5\n")
    assert main(["workloads", "show", str(trace)]) == 2
    capsys.readouterr()
    found = result(capsys, "workloads", "show", str(trace), "--drop-bad")
    assert (found["requests"], found["dropped"], found["prompt_tokens"]["mean"]) == (2, 1, 20.0)
    assert "output_length is 0" in shown(capsys, "workloads", "show", str(trace), "--drop-bad")
    spec = "constant:rate=4,prompt=100,output=10,n=41"
    assert result(capsys, "workloads", "show", spec)["duration_s"] == pytest.approx(10.0)
    assert result(capsys, "workloads", "show", spec, "--rate", "8", "--limit", "21")[
        "rate_per_s"
    ] == pytest.approx(8.0)


BAD_POLICY = '''from dataclasses import dataclass
from hasten import SchedulingPolicy


@dataclass
class Greedy(SchedulingPolicy):
    """Take more than there is."""

    def chunk(self, request, wanted, view):
        return wanted + 1
'''


def test_check_prints_every_law_and_fails_on_a_broken_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = result(capsys, "check", "lru", "--cases", "2")
    assert found["held"]
    assert {law["verdict"] for law in found["laws"]} == {"ok"}
    assert len(found["laws"]) >= 12
    file = tmp_path / "greedy.py"
    file.write_text(BAD_POLICY)
    text = shown(capsys, "check", str(file), "--cases", "2", status=1)
    assert "BROKEN" in text
    assert "Greedy.chunk returned" in text
    found = result(capsys, "check", str(file), "--cases", "2", status=1)
    assert [law["law"] for law in found["laws"] if law["verdict"] == "BROKEN"] == ["proposals"]
    assert found["violation"].startswith("Greedy.chunk returned")
