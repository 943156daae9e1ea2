"""Series from CSV, /metrics pages and range queries: the same figures from each, one line for what can't."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from hasten.cli import main
from hasten.errors import InputError
from hasten.explain.series import UNKNOWN, load_series

TTFT = "vllm:time_to_first_token_seconds"
START = 1_763_740_000.0


def counters(at: int) -> dict[str, float]:
    """Values at scrape `at`: 10 requests per scrape whose first token takes 0.1 s, 0.5 s from the 20th scrape on."""
    slow = max(0, at - 19)
    return {
        f"{TTFT}_sum": 1.0 * at + 4.0 * slow,
        f"{TTFT}_count": 10.0 * at,
        "vllm:prompt_tokens_total": 500.0 * at,
        "vllm:num_requests_waiting": 40.0 if at >= 18 else float(at % 2),
        "vllm:num_requests_running": 8.0,
    }


def page(at: int) -> str:
    lines = [f"# TYPE {TTFT} histogram"]
    lines += [f'{TTFT}_bucket{{le="+Inf",engine="0",model_name="m"}} {10 * at}']
    lines += [f'{name}{{engine="0",model_name="m"}} {value}' for name, value in counters(at).items()]
    return "\n".join(lines) + "\n"


def check(path: Path, step: float = 5.0) -> None:
    series = load_series(path)
    assert series.alarm == TTFT
    assert series.times.tolist() == [step * at for at in range(1, 40)]
    assert set(series.names) == {TTFT, "vllm:num_requests_waiting"}  # what never changes is left out
    ttft = series.values[:, series.column(TTFT)]
    np.testing.assert_allclose(ttft, [0.1] * 19 + [0.5] * 20, rtol=1e-9)
    assert series.notes == UNKNOWN


def test_pages_in_one_file_with_times_between_them(tmp_path: Path) -> None:
    path = tmp_path / "scrapes.txt"
    path.write_text("".join(f"# time_s {START + 5 * at}\n{page(at)}" for at in range(40)))
    check(path)


def test_samples_that_carry_their_own_times(tmp_path: Path) -> None:
    path = tmp_path / "scrapes.prom"
    text = ""
    for at in range(40):
        stamp = int((START + 5 * at) * 1000)
        text += "".join(
            line + ("" if line.startswith("#") else f" {stamp}") + "\n" for line in page(at).splitlines()
        )
    path.write_text(text)
    check(path)


def test_a_folder_of_pages_named_by_their_time(tmp_path: Path) -> None:
    for at in range(40):
        (tmp_path / f"metrics-{START + 5 * at:.0f}.txt").write_text(page(at))
    check(tmp_path)


def test_a_folder_of_pages_by_when_they_were_written(tmp_path: Path) -> None:
    for at in range(40):
        path = tmp_path / f"page-{at:02}.txt"
        path.write_text(page(at))
        os.utime(path, (START + 5 * at, START + 5 * at))
    check(tmp_path)


def answer(values: dict[str, list[tuple[float, float]]]) -> dict:
    result = [
        {"metric": {"__name__": name, "instance": "a:8000"}, "values": [[t, str(v)] for t, v in pairs]}
        for name, pairs in values.items()
    ]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def series_of_counters() -> dict[str, list[tuple[float, float]]]:
    return {name: [(START + 5 * at, counters(at)[name]) for at in range(40)] for name in counters(0)}


def test_a_range_query(tmp_path: Path) -> None:
    path = tmp_path / "range.json"
    path.write_text(json.dumps(answer(series_of_counters())))
    check(path)


def test_range_queries_in_a_list_and_in_a_folder(tmp_path: Path) -> None:
    each = [answer({name: pairs}) for name, pairs in series_of_counters().items()]
    listed = tmp_path / "all.json"
    listed.write_text(json.dumps(each))
    check(listed)
    folder = tmp_path / "folder"
    folder.mkdir()
    for number, one in enumerate(each):
        (folder / f"{number}.json").write_text(json.dumps(one))
    check(folder)


def test_replicas_are_told_apart_and_a_restart_is_a_gap(tmp_path: Path) -> None:
    series = {"vllm:prompt_tokens_total": [0.0, 10.0, 30.0, 5.0, 25.0, 65.0]}
    result = [
        {
            "metric": {"__name__": name, "pod": pod, "job": "v"},
            "values": [[10 * at, str(value * scale)] for at, value in enumerate(values)],
        }
        for name, values in series.items()
        for pod, scale in (("a", 1), ("b", 2))
    ]
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}))
    found = load_series(path)
    assert found.names == ("vllm:prompt_tokens_per_s{pod=a}", "vllm:prompt_tokens_per_s{pod=b}")
    np.testing.assert_allclose(found.values[:, 0], [1.0, 2.0, np.nan, 2.0, 4.0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hello there", "line 1: neither a CSV"),
        ("time_s,a,b\n1,2\n", "line 2: has 2 fields, the header has 3"),
        ("# time_s 1\nvllm:x 1\n# time_s two\nvllm:x 2\n", "line 3: 'two' is no number"),
        ("# time_s 1\nvllm:x one\n", "line 2, vllm:x: 'one' is no number"),
        ("# time_s 1\nvllm:x{a=1} 1\n", "line 2: labels {a=1} can't be read"),
        ("# time_s 1\nvllm:x{engine=\n", "line 2: 'vllm:x{engine=' is no metric: is the page cut?"),
        ("# TYPE x gauge\nx 1\n# TYPE x gauge\nx 2\n", "line 2: the page has no time"),
        ("# time_s 1\nx 1\n# time_s 2\nx 2\n", "holds 2 points in time: 5 are the least"),
        ('{"status": "success", "data"', "line 1: is no JSON"),
        ("[]", "holds 0 points in time"),
        ('{"a": 1}', 'has no "status"'),
        ('{"status": "error", "error": "bad query"}', "Prometheus answered 'bad query'"),
        ('{"status": "success", "data": {"resultType": "vector"}}', "data.resultType is 'vector'"),
        (
            '{"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": [[1]]}]}}',
            r"data.result\[0\].values\[0\]: \[1\] is no \[time, value\]",
        ),
        (
            '{"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}}]}}',
            "needs metric and values",
        ),
    ],
)
def test_what_can_not_be_read_is_named_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "given"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as found:
        load_series(path)
    assert "\n" not in str(found.value)


def test_an_empty_folder_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the folder is empty"):
        load_series(tmp_path)
    with pytest.raises(InputError, match="can't be read"):
        load_series(tmp_path / "nothing")


def test_the_command_names_the_queue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scrapes.txt"
    path.write_text("".join(f"# time_s {5 * at}\n{page(at)}" for at in range(40)))
    assert main(["explain", "--metrics", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["alarm"] == TTFT
    assert found["since_s"] == 100.0
    assert found["suspects"][0]["name"] == "vllm:num_requests_waiting"
    assert found["unknown"] == list(UNKNOWN)
