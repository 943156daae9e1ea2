"""The load generator against our own server: every request measured, from when it was due."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.engine.checkpoints import write_servable
from tests.engine.serving import Running, running

from hasten.cli import main
from hasten.engine.load import Load, Target
from hasten.report.files import load_requests
from hasten.workload import Workload, parse_workload
from hasten.workload.columns import ClosedLoop


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    path = tmp_path_factory.mktemp("tiny")
    write_servable(path)
    with running(path, max_waiting=20) as made:
        yield made


def workload(count: int, **columns: Any) -> Workload:
    return Workload(
        **{
            "arrival": np.arange(count) * 0.01,
            "prompt_tokens": np.full(count, 20),
            "output_tokens": 1 + np.arange(count) % 7,
        }
        | columns
    )


def measure(server: Running, work: Workload) -> Load:
    load = Load(Target(server.url, "tiny", vocab=256), work)
    asyncio.run(load.run())
    return load


def test_open_loop_counts_from_the_scheduled_arrival(server: Running) -> None:
    work = workload(30)
    load = measure(server, work)
    records = load.records()
    assert load.errors == {}
    assert records.is_ok.all()
    assert np.array_equal(records.arrival, work.arrival)
    assert np.array_equal(records.output_tokens, work.output_tokens)
    assert records.gaps is not None
    assert sum(len(each.gaps) for each in load.outcomes) == int((work.output_tokens - 1).sum())


def test_closed_loop_keeps_its_users(server: Running) -> None:
    load = measure(server, workload(12, closed_loop=ClosedLoop(concurrency=3, think_s=0.0)))
    spans = [(each.arrival, each.finish) for each in load.outcomes]
    assert load.errors == {}
    assert max(sum(a <= at < b for a, b in spans) for at, _ in spans) <= 3


def test_turns_wait_for_their_parents(server: Running) -> None:
    parent = np.array([-1, 0, 1, -1])
    think = np.array([0.0, 0.05, 0.05, 0.0])
    load = measure(server, workload(4, parent=parent, think_s=think, session=np.array([0, 0, 0, 1])))
    first, second, third, _ = load.outcomes
    assert second.arrival >= first.finish + 0.05
    assert third.arrival >= second.finish + 0.05


def test_equal_blocks_are_equal_tokens_and_hit_the_cache(server: Running) -> None:
    work = workload(
        4,
        prompt_tokens=np.full(4, 40),
        arrival=np.arange(4) * 0.1,
        block_ids=np.array([7, 8, 9] * 4),
        block_offsets=np.arange(5) * 3,
        block_tokens=16,
    )
    load = measure(server, work)
    assert load.prompt(0) == load.prompt(1)[:32] + load.prompt(0)[32:]
    assert [each.cached_tokens for each in load.outcomes] == [0, 32, 32, 32]


def test_refused_requests_are_counted_not_hidden(server: Running) -> None:
    load = measure(server, workload(5, prompt_tokens=np.array([20, 600, 20, 600, 20])))
    (said,) = load.errors
    assert load.errors == {said: 2}
    assert said.startswith("status 400: This model's maximum context length is 512 tokens. However")
    assert load.records().is_ok.tolist() == [True, False, True, False, True]


def test_the_command_prints_and_writes(
    server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace.jsonl"
    rows = [
        {"timestamp": 10 * row, "input_length": 8, "output_length": 4, "hash_ids": [row]} for row in range(10)
    ]
    trace.write_text("\n".join(json.dumps(row) for row in rows))
    assert len(parse_workload(str(trace))) == 10
    out = tmp_path / "rows.csv"
    options = [server.url, "--workload", str(trace), "--vocab", "256", "--out", str(out)]
    assert main(["bench", *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["completed"], found["failed"], found["total_output_tokens"]) == (10, 0, 40)
    assert found["mean_ttft_ms"] > 0
    assert len(load_requests(out)) == 10
    assert main(["bench", *options]) == 0
    assert "Successful requests" in capsys.readouterr().out
    assert main(["bench", "http://127.0.0.1:1", "--workload", str(trace)]) == 2
    assert "is the server up?" in capsys.readouterr().err
    assert main(["bench", "ftp://x"]) == 2
    assert "is no address" in capsys.readouterr().err
