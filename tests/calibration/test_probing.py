"""Probes: few requests, each chosen to tell most, against a server that is made up and against real ones."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten.calibration import Sample, calibrate
from hasten.calibration.model import Predictor
from hasten.calibration.probing import TOKENS, Probe, candidates, run_probes
from hasten.calibration.traffic import probe_samples
from hasten.cli import main
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.latency.calibration import NAMES, relative_error
from hasten.sim.run import simulate
from hasten.sim.steps import StepLog
from hasten.workload import Workload

MADE = Deployment.of("llama-3.1-8b", "h100-sxm", step_times="analytical", max_model_len=8192)
PREDICTOR = Predictor(MADE)


class MadeUp:
    """A server with known coefficients and a clock of its own."""

    predictor = PREDICTOR

    def __init__(self, noise=0.02, **values):
        self.theta = np.zeros(len(NAMES))
        for name, value in values.items():
            self.theta[NAMES.index(name)] = value
        self.now, self.sent, self.noise = 0.0, [], np.random.default_rng(0).normal(0.0, noise, 1000)

    def clock(self):
        return self.now

    def measure(self, probe, number):
        self.sent.append(probe)
        self.now += probe.seconds(self.predictor, self.theta)
        expected = probe.expected()
        seconds = self.predictor.seconds([expected], self.theta)[0] * np.exp(self.noise[number])
        return [
            Sample(f"probe {number + 1}", float(seconds), expected.steps, front_tokens=expected.front_tokens)
        ]


TRUTH = {"memory": 0.1, "compute": 0.2, "step_seconds": 1e-3, "front_end_seconds": 4e-3}
TARGETS = [Probe(32, 1000, 24).expected(), Probe(100, 500, 24).expected(), Probe(1, 1500, 1).expected()]


def errors(samples, theta):
    found = calibrate(MADE, samples)
    return np.abs(
        PREDICTOR.seconds(TARGETS, found.fit.theta) / PREDICTOR.seconds(TARGETS, theta) - 1.0
    ), found


def test_ten_probes_are_enough_and_all_differ():
    server = MadeUp(**TRUTH)
    samples = run_probes(MADE, server.measure, server.clock, count=10)
    assert len(server.sent) == len(set(server.sent)) == 10
    gaps, found = errors(samples, server.theta)
    assert gaps.max() < 0.06
    assert relative_error(found.calibration.decode) < 0.08
    assert {each.output == 1 for each in server.sent} == {True, False}


def test_an_engine_bound_by_its_host_is_found(tmp_path):
    """Twenty milliseconds a step and 0.3 for every sequence, on a device whose own share is a millisecond."""
    small = {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 8, "vocab_size": 2048}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024}
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **small, **heads}
    (tmp_path / "config.json").write_text(json.dumps(config))
    made = Deployment.of(tmp_path, "cpu", engine="hasten", max_num_seqs=32)
    server = MadeUp(step_seconds=20e-3, sequence_seconds=0.3e-3, compute=1.0, front_end_seconds=3e-3)
    server.predictor = Predictor(made)
    found = calibrate(made, run_probes(made, server.measure, server.clock, count=10), own_clock=True)
    assert found.calibration.coefficients.sequence_seconds == pytest.approx(0.3e-3, rel=0.35)
    targets = [Probe(n, 256, 24).expected() for n in (1, 4, 32)]
    truth, fitted = (server.predictor.seconds(targets, theta) for theta in (server.theta, found.fit.theta))
    assert np.abs(fitted / truth - 1.0).max() < 0.05


def test_chosen_probes_leave_less_open_than_small_ones():
    """Against the first ten candidates in order, small ones for the most part."""
    chosen, listed = MadeUp(**TRUTH), MadeUp(**TRUTH)
    best = calibrate(MADE, run_probes(MADE, chosen.measure, chosen.clock, count=8)).calibration
    plain = [listed.measure(probe, i)[0] for i, probe in enumerate(candidates(MADE)[:8])]
    other = calibrate(MADE, plain).calibration
    assert (
        best.decode.systematic + best.prefill.systematic < other.decode.systematic + other.prefill.systematic
    )


def test_time_is_kept():
    server = MadeUp(**TRUTH)
    run_probes(MADE, server.measure, server.clock, count=40, seconds=2.0)
    assert 2 < len(server.sent) < 40
    assert server.now < 2.0
    with pytest.raises(InputError, match="no probe came back"):
        run_probes(MADE, server.measure, server.clock, seconds=1e-3)


def test_candidates_fit_the_limits():
    small = Deployment.of("llama-3.1-8b", "h100-sxm", max_model_len=700, max_num_seqs=6, kv_cache_tokens=1600)
    found = candidates(small)
    assert len(found) > 4
    for each in found:
        assert each.prompt + each.output <= 700
        assert each.sequences <= 6
        assert each.sequences * (each.prompt + each.output) <= 1600


@settings(max_examples=20)
@given(st.integers(1, 24), st.sampled_from([16, 60, 64, 200, 512, 700]), st.sampled_from([64, 512, 1000]))
def test_probes_tell_the_steps_that_were_run(sequences, prompt, budget):
    """A probe is simulated; its steps, told from the times of its tokens alone, take as long as they took."""
    made = Deployment.of(
        "llama-3.1-8b",
        "h100-sxm",
        engine="hasten",
        step_times="analytical",
        max_model_len=8192,
        max_num_batched_tokens=budget,
        max_num_seqs=32,
    )
    ones = np.ones(sequences, dtype=np.int32)
    output = TOKENS + sequences * prompt // (budget - sequences)  # nobody ends before the last begins
    work = Workload(arrival=0.0 * ones, prompt_tokens=prompt * ones, output_tokens=output * ones)
    log = StepLog()
    records = simulate(made, work, stepping=True, log=log).records
    ends = np.array([row[1] for row in log.ranks[0].rows])
    times = [ends[ends > begin - 1e-9][:output] for begin in records.first_token]
    found = probe_samples(times, prompt, made, "probe")
    assert len(found) == 1 + (len(set(records.first_token)) > 1)
    told = Predictor(made).seconds(found)
    assert told == pytest.approx([each.seconds for each in found], rel=1e-3)
    assert sum(each.count for each in found) + (sequences == 1) >= TOKENS - 1


def test_a_probe_whose_tokens_came_together_tells_nothing():
    times = [np.full(24, 1.0 + i) for i in range(4)]
    assert probe_samples(times, 64, MADE, "probe") == []


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    pytest.importorskip("torch")
    from tests.engine.checkpoints import write_servable

    folder = tmp_path_factory.mktemp("served")
    write_servable(folder)
    return folder


SMALL = [
    "--set",
    "max_model_len=256",
    "--set",
    "max_num_seqs=4",
    "--kv-cache-tokens",
    "4096",
    "--probe-time",
    "8s",
]


def test_our_own_engine_is_probed_in_this_process(checkpoint, tmp_path, capsys):
    out = tmp_path / "c.json"
    argv = ["calibrate", str(checkpoint), "--engine", str(checkpoint), "--device", "cpu", *SMALL]
    assert main([*argv, "--probes", "2", "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["engine"].startswith("hasten")
    assert found["samples"] >= 2
    assert found["coefficients"]["step_ms"] + found["coefficients"]["mixed_step_ms"] > 0.0
    same = ["--device", "cpu", "--engine", "hasten", *SMALL[:6], "--calibration", str(out), "--json"]
    assert main(["predict", str(checkpoint), *same, "--context", "64", "--prompt", "64"]) == 0
    assert json.loads(capsys.readouterr().out)["decode"]["origin"] == "calibrated"


def test_a_live_server_is_probed_over_http(checkpoint, capsys):
    from tests.engine.serving import running

    with running(checkpoint, engine={"max_model_len": 256}) as server:
        argv = [
            "calibrate",
            str(checkpoint),
            "--url",
            server.url,
            "--device",
            "cpu",
            "--engine",
            "hasten",
            *SMALL,
        ]
        assert main([*argv, "--vocab", "90", "--probes", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 3 <= found["samples"] <= 6
    assert {each["kind"] for each in found["samples_judged"]} >= {"decode", "request"}


def test_no_server_no_calibration(tmp_path, capsys):
    argv = ["calibrate", "llama-3.1-8b", "--device", "h100-sxm"]
    for url, expected in (("http://127.0.0.1:9", "is the server up?"), ("nowhere", "no address")):
        assert main([*argv, "--url", url]) == 2
        assert expected in capsys.readouterr().err
