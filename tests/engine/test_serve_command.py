"""`hasten serve` as a process: it starts, answers, drains on SIGTERM, and leaves its record."""

import json
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.engine.checkpoints import write_servable

from hasten.cli import main
from hasten.engine.policies import Policies
from hasten.engine.recording import Recording
from hasten.engine.replay import replay


def started(model: Path, *options: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """`hasten serve` on a free port with one thread, and what it says once it listens."""
    command = [sys.executable, "-m", "hasten", "serve", str(model), "--port", "0", "--threads", "1"]
    process = subprocess.Popen(
        [*command, *options, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    head = ""
    while not head.endswith("}\n"):
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        head += line
    return process, json.loads(head)


def test_a_served_run_is_recorded_and_replays_equally(tmp_path: Path) -> None:
    write_servable(tmp_path / "tiny")
    record = tmp_path / "run.jsonl"
    process, ready = started(
        tmp_path / "tiny", "--record", str(record), "--dtype", "float32", "--schedule", "prefill_first"
    )
    assert (ready["model"], ready["dtype"], ready["context_tokens"]) == ("tiny", "float32", 512)
    connection = HTTPConnection("127.0.0.1", urlsplit(ready["url"]).port or 0, timeout=20)
    body = json.dumps({"prompt": "hello", "max_tokens": 200, "stream": True, "ignore_eos": True})
    connection.request("POST", "/v1/completions", body)
    answer = connection.getresponse()
    first = answer.readline()
    process.send_signal(signal.SIGTERM)  # in the midst of an answer, which goes on to its end
    rest = answer.read().decode()
    connection.close()
    assert (first + rest.encode()).count(b"data: ") == 201
    assert rest.endswith("data: [DONE]\n\n")
    out, said = process.communicate(timeout=20)
    assert (out, said.count("\n")) == ("", 1)
    assert said.startswith("stopping: 1 under way: up to 30 s for them")
    assert process.returncode == 0
    recording = Recording.load(record)
    assert recording.settings["policies"]["schedule"] == "prefill_first"
    assert replay(recording, Policies.named({"schedule": "prefill_first"})) == 200


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--port", "70000"], "no port"),
        (["--kv-cache-gib", "0"], "more than 0"),
        (["--kv-cache-gib", "0.0000001"], "hold no block"),
        (["--device", "abacus"], "unknown"),
        (["--schedule", "nobody"], "nobody"),
        (["--host", "256.0.0.1"], "can't be listened on"),
    ],
)
def test_bad_options_are_one_line(
    options: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_servable(tmp_path)
    assert main(["serve", str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_directory_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(tmp_path / "nowhere")]) == 2
    assert "no such directory" in capsys.readouterr().err


def test_a_second_signal_drops_what_runs(tmp_path: Path) -> None:
    write_servable(tmp_path / "tiny")
    process, ready = started(tmp_path / "tiny", "--dtype", "float32", "--kernels", "torch", "--drain", "600s")
    assert process.stdout is not None
    assert process.stderr is not None
    prompts = ["hello"] * 30  # some seconds of work
    body = json.dumps({"prompt": prompts, "max_tokens": 500, "stream": True, "ignore_eos": True})
    connection = HTTPConnection("127.0.0.1", urlsplit(ready["url"]).port or 0, timeout=60)
    connection.request("POST", "/v1/completions", body)
    answer = connection.getresponse()
    assert answer.readline().startswith(b"data: ")
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline().startswith("stopping: 30 under way")
    time.sleep(1.2)  # a signal that follows at once is the same one, passed on twice
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    connection.close()
    process.stdout.close()
    process.stderr.close()
