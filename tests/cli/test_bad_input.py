"""Mistakes of every kind: one line on standard error that names place and value, exit status 2, no file left behind."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from hasten.cli import main

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
}
DEVICE = 'name = "mine"\nmemory_bytes = 48e9\nmemory_bandwidth = 1.2e12\n[flops]\nbf16 = 250e12\n'
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
RUN = ["simulate", "llama-3.1-8b", "--device", "h100-sxm", "--limit", "5", "--out", "out.csv"]
PREDICT = ["predict", "llama-3.1-8b", "--device", "h100-sxm"]
COMPARE = ["compare", "--limit", "5"]


def check(
    argv: list[str],
    expected: list[str],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    files: Mapping[str, str | bytes],
) -> None:
    """Run the command in `folder` with `files`: it must fail as the module says, naming all of `expected`."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = sorted(folder.rglob("*"))
    status = main(argv)
    shown = capsys.readouterr()
    assert status == 2, shown
    assert shown.out == ""
    assert shown.err.startswith("hasten: "), shown.err
    assert shown.err.endswith("\n")
    assert shown.err.count("\n") == 1, shown.err
    assert "Traceback" not in shown.err
    for part in expected:
        assert part in shown.err, f"{part!r} is not in {shown.err!r}"
    assert sorted(folder.rglob("*")) == before, "a file was left behind"


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


TRACES: dict[str, tuple[str, str | bytes, list[str]]] = {
    "empty": ("t.csv", "", ["t.csv", "empty"]),
    "only a header": ("t.csv", AZURE, ["t.csv"]),
    "no known format": ("t.csv", "a,b\n1,2\n", ["t.csv:1", "a,b"]),
    "not text": ("t.csv", b"\xff\xfe\x00\x01", ["t.csv"]),
    "time is no time": ("t.csv", AZURE + "soon,10,10\n", ["t.csv:2", "soon"]),
    "tokens are no number": ("t.csv", AZURE + "2023-11-16 18:17:03,many,10\n", ["t.csv:2", "many"]),
    "negative tokens": ("t.csv", AZURE + "2023-11-16 18:17:03,-4,10\n", ["t.csv:2", "-4"]),
    "no output tokens": ("t.csv", AZURE + "2023-11-16 18:17:03,4,0\n", ["t.csv:2", "0"]),
    "a fraction of a token": ("t.csv", AZURE + "2023-11-16 18:17:03,4.5,10\n", ["t.csv:2", "4.5"]),
    "too many tokens": ("t.csv", AZURE + "2023-11-16 18:17:03,99999999999,10\n", ["t.csv:2", "99999999999"]),
    "a column too few": ("t.csv", AZURE + "2023-11-16 18:17:03,4\n", ["t.csv:2", "2 columns"]),
    "a column is missing": ("t.csv", "timestamp,input_length\n0,4\n", ["t.csv", "input_length"]),
    "time is not finite": ("t.csv", "timestamp,input_length,output_length\ninf,4,4\n", ["t.csv:2", "inf"]),
    "json breaks off": (
        "t.jsonl",
        '{"timestamp": 0, "input_length": 4, "output_length": 4}\n{"timestamp": 1, "inp\n',
        ["t.jsonl:2", "JSON"],
    ),
    "json line is a list": (
        "t.jsonl",
        '{"timestamp": 0, "input_length": 4, "output_length": 4}\n[1, 2]\n',
        ["t.jsonl:2", "[1, 2]"],
    ),
    "key is missing": (
        "t.jsonl",
        '{"timestamp": 0, "input_length": 4, "output_length": 4}\n{"timestamp": 1, "input_length": 4}\n',
        ["t.jsonl:2", "output_length"],
    ),
    "hash id is text": (
        "t.jsonl",
        '{"timestamp": 0, "input_length": 600, "output_length": 4, "hash_ids": [1, "x"]}\n',
        ["t.jsonl:1", "hash_ids"],
    ),
    "a bad row names its flag": ("t.csv", AZURE + "2023-11-16 18:17:03,4,0\n", ["--drop-bad"]),
    "times decades apart": (
        "t.csv",
        "timestamp,input_length,output_length\n0,4,4\n1e300,4,4\n",
        ["t.csv:3", "1e+300", "30 years"],
    ),
    "a column twice": (
        "t.csv",
        "timestamp,input_length,input_length,output_length\n0,4,4,4\n",
        ["t.csv:1", "input_length", "twice"],
    ),
    "another encoding": ("t.csv", AZURE.encode("utf-16"), ["t.csv:1", "UTF-16", "UTF-8"]),
    "broken gzip": ("t.csv.gz", b"\x1f\x8b\x08 nothing", ["t.csv.gz"]),
}


@pytest.mark.parametrize("case", TRACES)
def test_malformed_trace(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, content, expected = TRACES[case]
    check([*RUN, "--workload", name], expected, tmp_path, capsys, {name: content})


CONFIGS: dict[str, tuple[object, list[str]]] = {
    "not json": ("{", ["config.json", "line 1", "JSON"]),
    "a list": ("[]", ["JSON list"]),
    "unknown architecture": (
        CONFIG | {"architectures": ["MambaForCausalLM"]},
        ["architectures", "MambaForCausalLM"],
    ),
    "no layers": (
        {k: v for k, v in CONFIG.items() if k != "num_hidden_layers"},
        ["num_hidden_layers", "missing"],
    ),
    "text for a number": (CONFIG | {"hidden_size": "big"}, ["hidden_size", "big"]),
    "negative": (CONFIG | {"vocab_size": -1}, ["vocab_size", "-1"]),
    "heads that don't divide": (
        CONFIG | {"num_attention_heads": 5, "head_dim": None},
        ["num_attention_heads"],
    ),
    "unknown field of the shape": (CONFIG | {"attn_layer_period": 8}, ["attn_layer_period", "8"]),
    "unknown quantisation": (
        CONFIG | {"quantization_config": {"quant_method": "magic"}},
        ["quant_method", "magic"],
    ),
    "unknown dtype": (CONFIG | {"dtype": "float2"}, ["dtype", "float2"]),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_malformed_model(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, expected = CONFIGS[case]
    text = content if isinstance(content, str) else json.dumps(content)
    argv = ["predict", "./m", "--device", "h100-sxm"]
    check(argv, ["m/config.json", *expected], tmp_path, capsys, {"m/config.json": text})


def test_unknown_trace_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [*RUN, "--workload", "t.csv", "--format", "cvs"]
    check(argv, ["cvs", "minimal"], tmp_path, capsys, {"t.csv": AZURE + "2023-11-16 18:17:03,4,4\n"})


DEVICES: dict[str, tuple[str, list[str]]] = {
    "not toml": ('name = "mine" 3', ["d.toml", "line 1"]),
    "no memory": (DEVICE.replace("memory_bytes = 48e9\n", ""), ["d.toml", "memory_bytes"]),
    "wrong unit": (DEVICE.replace("1.2e12", "1200"), ["d.toml", "memory_bandwidth", "1200"]),
    "unknown key": ("speed = 3\n" + DEVICE, ["d.toml", "speed"]),
    "unknown dtype": (DEVICE + "bf17 = 1e12\n", ["d.toml", "bf17"]),
    "text for a number": (DEVICE.replace("48e9", '"much"'), ["d.toml", "memory_bytes", "much"]),
    "share above one": (DEVICE + "[efficiency]\nmemory = 1.5\n", ["d.toml", "memory", "1.5"]),
}


@pytest.mark.parametrize("case", DEVICES)
def test_malformed_device(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, expected = DEVICES[case]
    check(["predict", "llama-3.1-8b", "--device", "d.toml"], expected, tmp_path, capsys, {"d.toml": content})


POLICIES: dict[str, tuple[str, list[str]]] = {
    "no policy": ("x = 1\n", ["p.py", "no public subclass"]),
    "syntax": ("def (:\n", ["p.py:1"]),
    "ends the program": ("import sys\nsys.exit(3)\n", ["p.py", "SystemExit"]),
    "import fails": ("import nowhere_at_all\n", ["p.py", "nowhere_at_all"]),
    "two policies": (
        "from hasten import SchedulingPolicy\nclass A(SchedulingPolicy): ...\nclass B(SchedulingPolicy): ...\n",
        ["p.py", "A, B"],
    ),
}


@pytest.mark.parametrize("case", POLICIES)
def test_malformed_policy(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, expected = POLICIES[case]
    check([*RUN, "--schedule", "./p.py"], expected, tmp_path, capsys, {"p.py": content})


FLAGS: dict[str, tuple[list[str], list[str]]] = {
    "unknown command": (["simulat"], ["simulat", "simulate"]),
    "unknown option before a command": (["--jsn"], ["--jsn", "option"]),
    "no model": (["predict", "--device", "h100-sxm"], ["MODEL"]),
    "no device": (["predict", "llama-3.1-8b"], ["--device"]),
    "unknown flag": ([*RUN, "--schedul", "fcfs"], ["--schedul", "--schedule"]),
    "unknown flag with a value": ([*PREDICT, "--bacth=3"], ["--bacth", "--batch"]),
    "a stray word": ([*PREDICT, "fast"], ["fast", "argument"]),
    "flag without its value": ([*RUN, "--rate"], ["--rate", "argument"]),
    "unknown model": (["predict", "llama-9", "--device", "h100-sxm"], ["llama-9", "nearest"]),
    "no such config": (["predict", "./none/config.json", "--device", "h100-sxm"], ["none/config.json"]),
    "unknown device": (["predict", "llama-3.1-8b", "--device", "h100-sxn"], ["h100-sxn", "h100-sxm"]),
    "no such device file": (["predict", "llama-3.1-8b", "--device", "none.toml"], ["none.toml"]),
    "unknown engine": ([*PREDICT, "--engine", "vlm"], ["vlm", "vllm"]),
    "model does not fit": (["predict", "llama-3.1-70b", "--device", "l4"], ["llama-3.1-70b", "l4", "GiB"]),
    "tp does not divide": ([*PREDICT, "--tp", "3"], ["tp 3", "32"]),
    "tp of zero": ([*PREDICT, "--tp", "0"], ["--tp", "'0'"]),
    "half a device": ([*PREDICT, "--tp", "1.5"], ["--tp", "1.5"]),
    "ep on a dense model": ([*PREDICT, "--ep", "2"], ["ep", "2"]),
    "no sequences": ([*PREDICT, "--batch", "0"], ["--batch", "'0'"]),
    "context beyond the window": ([*PREDICT, "--context", "200000"], ["context", "200,000", "131,072"]),
    "prompt beyond the window": ([*PREDICT, "--prompt", "200000"], ["prompt", "200,000", "131,072"]),
    "unknown KV type": ([*PREDICT, "--kv-dtype", "fp3"], ["--kv-dtype", "fp3", "fp8"]),
    "KV room larger than the device": ([*PREDICT, "--kv-cache-tokens", "99999999"], ["99,999,999", "h100-sxm"]),
    "host memory without a unit": ([*PREDICT, "--host-kv", "64"], ["--host-kv", "'64'", "GiB"]),
    "host memory for less than a block": ([*PREDICT, "--host-kv", "1MiB"], ["host_kv_bytes", "1,048,576"]),
    "host memory in place of its flag": ([*PREDICT, "--set", "host_kv_bytes=5"], ["--host-kv"]),
    "unknown rule of reloading": (
        [*PREDICT, "--host-kv", "64GiB", "--set", "host_kv_reload=often"],
        ["host_kv_reload", "often", "cheaper"],
    ),
    "setting without a value": ([*PREDICT, "--set", "max_num_seqs"], ["--set", "max_num_seqs", "key=value"]),
    "unknown setting": ([*PREDICT, "--set", "max_seqs=3"], ["max_seqs", "max_num_seqs"]),
    "setting of the wrong type": ([*PREDICT, "--set", "max_num_seqs=few"], ["max_num_seqs", "few"]),
    "setting that is no flag": ([*PREDICT, "--set", "prefix_caching=maybe"], ["prefix_caching", "maybe"]),
    "setting out of range": ([*PREDICT, "--set", "memory_fraction=1.7"], ["memory_fraction", "1.7"]),
    "setting given twice": ([*PREDICT, "--set", "block_size=8", "--set", "block_size=16"], ["block_size", "twice"]),
    "setting with a flag of its own": ([*PREDICT, "--set", "kv_dtype=fp8"], ["kv_dtype", "--kv-dtype"]),
    "no such price file": ([*PREDICT, "--prices", "none.toml"], ["none.toml"]),
    "rate of zero": ([*RUN, "--rate", "0"], ["--rate", "'0'"]),
    "rate that is no number": ([*RUN, "--rate", "nan"], ["--rate", "nan"]),
    "negative rate": ([*RUN, "--rate=-3"], ["--rate", "-3"]),
    "rate of once a decade": ([*RUN, "--rate", "1e-10"], ["4e+10 s", "1e+10 s", "rate"]),
    "a thousand million replicas": ([*RUN, "--replicas", "1000000000"], ["1,000,000,000", "100,000"]),
    "a thousand million ranks": ([*RUN, "--dp", "1000000000"], ["1,000,000,000", "100,000"]),
    "rate beyond any server": ([*RUN, "--rate", "1e9"], ["--rate", "1e9", "inf"]),
    "a plan for more replicas than requests": (
        ["plan", "llama-3.1-8b", "--limit", "20", "--rate", "1e6", "--ttft", "1s", "--devices", "l4", "--jobs", "1"],
        ["20 requests", "1,000,000 req/s", "more requests"],
    ),
    "a million processes": (["plan", "llama-3.1-8b", "--jobs", "1000000"], ["--jobs", "1000000", "1,024"]),
    "no requests": ([*RUN, "--limit", "0"], ["--limit", "'0'"]),
    "unknown workload": ([*RUN, "--workload", "azure-chat"], ["azure-chat", "azure-conv"]),
    "format of a sample": ([*RUN, "--format", "minimal"], ["azure-conv", "--format", "minimal"]),
    "synthetic key": ([*RUN, "--workload", "poisson:rat=8,n=5"], ["rat", "rate"]),
    "synthetic value": ([*RUN, "--workload", "poisson:rate=fast,prompt=9,output=9,n=5"], ["rate", "fast"]),
    "synthetic without lengths": ([*RUN, "--workload", "poisson:rate=8,n=5"], ["prompt", "output"]),
    "more requests than fit": ([*RUN, "--workload", "burst:prompt=9,output=9,n=1000000000"], ["1000000000"]),
    "a duration without end": ([*RUN, "--workload", "constant:rate=9,prompt=9,output=9,duration=1e99"], ["1e+99"]),
    "more programs than fit": ([*RUN, "--workload", "agents:kind=swe,rate=1,n=10000000"], ["10,000,000", "100,000"]),
    "method of two roles": (["methods", "show", "autellix"], ["route, schedule", "--role"]),
    "sessions of a trace without any": ([*RUN, "--sessions"], ["--sessions", "azure-conv"]),
    "time without a unit": ([*RUN, "--ttft", "500"], ["--ttft", "500ms", "500s"]),
    "time with another unit": ([*RUN, "--ttft", "5parsecs"], ["--ttft", "5parsecs", "ms"]),
    "negative time": ([*RUN, "--tpot=-50ms"], ["--tpot", "-50ms"]),
    "no time": ([*RUN, "--e2e", "0s"], ["--e2e", "0s"]),
    "time that is none": ([*RUN, "--ttft", "nans"], ["--ttft", "nans"]),
    "endless time": ([*RUN, "--ttft", "1e999s"], ["--ttft", "1e999s"]),
    "percentile out of range": ([*RUN, "--ttft", "1s", "--percentile", "101"], ["--percentile", "101"]),
    "percentile of nothing": ([*RUN, "--percentile", "90"], ["--percentile", "--ttft"]),
    "both kinds of service level": (
        [*RUN, "--ttft", "1s", "--percentile", "90", "--attainment", "0.9"],
        ["--attainment", "--percentile"],
    ),
    "share out of range": ([*RUN, "--ttft", "1s", "--attainment", "99"], ["--attainment", "99"]),
    "report percentiles": ([*RUN, "--percentiles", "50,,99"], ["--percentiles", "50,,99"]),
    "unknown policy": ([*RUN, "--schedule", "fcsf"], ["fcsf", "fcfs"]),
    "unknown policy parameter": ([*RUN, "--schedule", "static:size=3"], ["size", "batch_size"]),
    "policy parameter of the wrong type": ([*RUN, "--schedule", "static:batch_size=few"], ["batch_size", "few"]),
    "policy that needs lengths": ([*RUN, "--schedule", "sjf"], ["sjf", "length"]),
    "no such policy file": ([*RUN, "--route", "./none.py"], ["none.py"]),
    "result of an unknown kind": ([*RUN, "--out", "out.xls"], ["out.xls", ".csv"]),
    "result in no folder": ([*RUN, "--out", "none/out.csv"], ["none/out.csv", "folder"]),
    "seed": ([*RUN, "--seed", "-1"], ["--seed", "-1"]),
    "nothing to compare": (COMPARE, ["--schedule fcfs,sjf"]),
    "empty place in a list": ([*COMPARE, "--schedule", "fcfs,,edf"], ["--schedule", "fcfs,,edf"]),
    "named twice": ([*COMPARE, "--schedule", "fcfs,fcfs"], ["--schedule", "fcfs", "twice"]),
    "one side does not fit": (
        [*COMPARE, "llama-3.1-70b", "--device", "h100-sxm,l4", "--tp", "2"],
        ["l4", "does not fit"],
    ),
    "sweep of nothing": ([*COMPARE, "--sweep", "2..20"], ["--sweep", "2..20"]),
    "sweep of an unknown key": ([*COMPARE, "--sweep", "rte=2..20"], ["rte", "rate"]),
    "sweep backwards": ([*COMPARE, "--sweep", "rate=20..2"], ["rate=20..2", "LOW"]),
    "sweep of no numbers": ([*COMPARE, "--sweep", "rate=few..many"], ["few..many"]),
    "sweep and rate": ([*COMPARE, "--sweep", "rate=2..20", "--rate", "3"], ["--rate", "--sweep"]),
    "no seeds": ([*COMPARE, "--schedule", "fcfs,edf", "--seeds", "0"], ["--seeds", "'0'"]),
    "unknown source of step times": ([*PREDICT, "--latency", "guess"], ["--latency", "guess", "table"]),
    "catalogue word": (["models", "llama-3.1-8b"], ["llama-3.1-8b", "show llama-3.1-8b"]),
    "catalogue without a name": (["devices", "show"], ["name"]),
    "unknown method": (["methods", "show", "fcsf"], ["fcsf", "fcfs"]),
    "unknown role": (["methods", "--role", "sort"], ["--role", "sort", "schedule"]),
    "unknown engine shown": (["engines", "show", "vlm"], ["vlm", "vllm"]),
    "no such policy to check": (["check", "./none.py"], ["none.py"]),
}  # fmt: skip


@pytest.mark.parametrize("case", FLAGS)
def test_wrong_flags(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv, expected = FLAGS[case]
    check(argv, expected, tmp_path, capsys, {})


NESTED: dict[str, list[str]] = {
    "model": ["predict", "deep.json", "--device", "h100-sxm"],
    "trace": [*RUN, "--workload", "deep.json", "--format", "sharegpt"],
    "calibration": [*PREDICT, "--calibration", "deep.json"],
    "measurements": ["calibrate", "llama-3.1-8b", "deep.json", "--device", "h100-sxm"],
    "measured run": [*COMPARE, "--measured", "deep.json"],
    "time series": ["explain", "--metrics", "deep.json"],
    "recording": ["explain", "--recording", "deep.json"],
    "scenario": ["ui", "deep.json"],
}


@pytest.mark.parametrize("kind", NESTED)
def test_json_nested_deeper_than_anyone_reads(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(NESTED[kind], ["deep.json"], tmp_path, capsys, {"deep.json": "[" * 16_000})


def test_a_trace_from_a_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    check([*RUN, "--workload", "pipe"], ["pipe", "save it to a file"], tmp_path, capsys, {})


def test_an_earlier_result_survives_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check([*RUN, "--workload", "t.csv"], ["t.csv"], tmp_path, capsys, {"t.csv": "", "out.csv": "kept"})
    assert (tmp_path / "out.csv").read_text() == "kept"


def test_there_are_at_least_forty_mistakes() -> None:
    assert len(TRACES) + len(CONFIGS) + len(DEVICES) + len(POLICIES) + len(FLAGS) >= 40


def test_files_behind_options_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = "decodes,context,prefill_tokens,ms\n1,100,0,-3\n"
    argv = ["calibrate", "llama-3.1-8b", "--device", "h100-sxm", "steps.csv"]
    check(argv, ["steps.csv", "-3"], tmp_path, capsys, {"steps.csv": steps})


@pytest.mark.parametrize(
    "argv", [["explain", "--metrics", "s"], ["explain", "--server-metrics", "s"], ["ui", "s"]]
)
def test_what_the_system_refuses_is_said_in_words(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_text = Path.read_text

    def refuse(path: Path, encoding: str | None = None) -> str:
        if path.name == "s":
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, encoding)

    (tmp_path / "s").write_text("")
    monkeypatch.setattr(Path, "read_text", refuse)
    assert main(argv) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("hasten: s: ")
    assert shown.endswith("Permission denied\n")
    assert "Errno" not in shown
