"""Files to deploy: valid YAML with the fields that others read, commands that shells parse, all files or none."""

from __future__ import annotations

import itertools
import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hasten.cli import main
from hasten.delivery import Offer, files_of, write, writing
from hasten.delivery.yaml import dump
from hasten.deployment import Deployment
from hasten.disaggregation import Disaggregated
from hasten.errors import InputError
from hasten.workload import Workload, parse_workload

ENGINES = ("vllm", "sglang", "trtllm")


@pytest.fixture(scope="module")
def work() -> Workload:
    return parse_workload("poisson:rate=4,prompt=500,output=100,n=20")


def offer(work: Workload, engine: str = "vllm", *, split: bool = False, **settings: Any) -> Offer:
    one = Deployment.of(
        "llama-3.1-8b", "h100-sxm", engine=engine, replicas=2, tp=2, max_model_len=8192, **settings
    )
    deployment = Disaggregated.of(one, one, "infiniband-ndr") if split else one
    return Offer(
        deployment, work, {"median_ttft_ms": 50.0, "median_tpot_ms": 10.0}, policies={"schedule": "fcfs"}
    )


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("engine", ENGINES)
def test_every_file_parses(work: Workload, tmp_path: Path, engine: str, split: bool) -> None:
    names = write(offer(work, engine, split=split), tmp_path / "out")
    assert {"README.md", "benchmark.sh", "dynamo.yaml", "prediction.json"} <= set(names)
    assert ("ray-serve.yaml" in names) == (engine == "vllm")
    for path in (tmp_path / "out").iterdir():
        if path.suffix == ".yaml":
            assert yaml.safe_load(path.read_text())
        if path.suffix == ".sh":
            subprocess.run(["bash", "-n", path], check=True)
            assert path.stat().st_mode & 0o111
        if path.suffix == ".json":
            json.loads(path.read_text())


def test_vllm_command_says_what_was_simulated(work: Workload) -> None:
    made = files_of(offer(work, kv_dtype="fp8", prefix_caching=False))
    line = next(row for row in made["start.sh"].splitlines() if row.startswith("exec"))
    words = shlex.split(line)
    assert words[1:4] == ["vllm", "serve", "meta-llama/Llama-3.1-8B"]
    flags = dict(itertools.pairwise(words))
    assert flags["--tensor-parallel-size"] == "2"
    assert flags["--max-model-len"] == "8192"
    assert flags["--kv-cache-dtype"] == "fp8"
    assert "--no-enable-prefix-caching" in words


def test_start_runs_on_the_devices_of_its_replica(work: Workload, tmp_path: Path) -> None:
    write(offer(work), tmp_path / "out")
    fake = tmp_path / "vllm"
    fake.write_text('#!/bin/sh\necho "$CUDA_VISIBLE_DEVICES" "$@"\n')
    fake.chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    ran = subprocess.run(
        [tmp_path / "out" / "start.sh", "1"], env={"PATH": path}, capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("2,3 serve meta-llama/Llama-3.1-8B")
    assert ran.stdout.rstrip().endswith("--port 8001")


def test_manifests_have_the_fields_that_are_read(work: Workload) -> None:
    made = {
        name: yaml.safe_load(text)
        for name, text in files_of(offer(work, split=True)).items()
        if ".yaml" in name
    }
    dynamo = made["dynamo.yaml"]
    assert (dynamo["apiVersion"], dynamo["kind"]) == ("nvidia.com/v1alpha1", "DynamoGraphDeployment")
    workers = dynamo["spec"]["services"]
    assert {each.get("subComponentType") for each in workers.values()} == {None, "prefill", "decode"}
    assert workers["VllmDecodeWorker"]["resources"]["limits"]["gpu"] == "2"
    values = made["llm-d-values.yaml"]
    assert values["decode"]["parallelism"]["tensor"] == values["prefill"]["parallelism"]["tensor"] == 2
    assert values["routing"]["proxy"]["connector"] == "nixlv2"
    app = made["ray-serve.yaml"]["applications"][0]
    assert app["import_path"] == "ray.serve.llm:build_pd_openai_app"
    assert app["args"]["decode_config"]["engine_kwargs"]["tensor_parallel_size"] == 2


def test_prediction_names_its_inputs(work: Workload) -> None:
    one, again = (json.loads(files_of(offer(work))["prediction.json"]) for _ in range(2))
    assert one == again
    other = json.loads(files_of(offer(work.head(10)))["prediction.json"])
    assert other["input_sha256"]["workload"] != one["input_sha256"]["workload"]
    assert other["input_sha256"]["model"] == one["input_sha256"]["model"]
    assert one["engine_version"] == "0.19.0"


def test_nothing_is_overwritten_unasked(work: Workload, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write(offer(work), folder)
    with pytest.raises(InputError, match="not empty"):
        write(offer(work), folder)
    (folder / "notes.txt").write_text("mine")
    write(offer(work, split=True), folder, overwrite=True)
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "start-decode.sh").is_file()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="stays as it is"):
        write(offer(work), foreign, overwrite=True)
    assert [path.name for path in foreign.iterdir()] == ["thesis.tex"]


def test_a_failure_leaves_nothing(work: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(staged: Path, folder: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(writing, "_exchange", broken)
    with pytest.raises(OSError, match="disk full"):
        write(offer(work), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "nowhere/deep"], "does not exist"),
        (["--overwrite"], "--overwrite is for a folder"),
        (["--engine", "hasten", "--out", "out"], "no files can be written for engine hasten"),
    ],
)
def test_bad_folders_and_engines_are_named(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = ["plan", "llama-3.1-8b", "--workload", "poisson:rate=1,prompt=100,output=20,n=20", "--ttft", "9s"]
    assert main([*plan, "--devices", "h100-sxm", "--jobs", "1", *words]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_plan_writes_its_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    plan = ["plan", "llama-3.1-8b", "--workload", "poisson:rate=1,prompt=100,output=20,n=20", "--ttft", "9s"]
    assert main([*plan, "--devices", "h100-sxm", "--jobs", "1", "--out", str(folder)]) == 0
    assert "Files to deploy it" in capsys.readouterr().out
    told = json.loads((folder / "prediction.json").read_text())
    assert told["prediction"]["holds"]
    assert told["deployment"] == told["prediction"]["label"]


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(codec="utf-8", exclude_categories=["C"]))
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc-_.:1 ", max_size=6), inner, max_size=4)
    ),
)


@given(st.dictionaries(st.text("abcxyz-_/", min_size=1, max_size=8), values, min_size=1, max_size=5))
def test_yaml_reads_back(value: dict[str, Any]) -> None:
    assert yaml.safe_load(dump(value)) == value


@pytest.mark.parametrize(
    ("engine", "word"),
    [
        ("vllm", "--kv-offloading-size 64.0"),
        ("sglang", "--enable-hierarchical-cache --hicache-size 34 --hicache-write-policy write_through"),
        ("trtllm", "host_cache_size: 34359738368"),
    ],
)
def test_host_memory_is_asked_for(work: Workload, engine: str, word: str) -> None:
    """64 GiB of a replica of two devices; each engine counts in its own unit."""
    made = files_of(offer(work, engine, host_kv_bytes=64 << 30))
    assert any(word in text.replace("'", "") for text in made.values())


@pytest.mark.parametrize(
    "settings", [{"host_kv_writes": "evicted"}, {"host_kv_reload": "cheaper"}, {"host_kv_policy": "fifo"}]
)
def test_host_memory_that_the_engine_cannot_keep_so_is_refused(
    work: Workload, settings: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="has no setting for it"):
        files_of(offer(work, host_kv_bytes=64 << 30, **settings))
