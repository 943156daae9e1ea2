"""Files that can't be right: one line that names place and value, exit status 2, nothing written."""

import json

import pytest

from hasten.cli import main

HEAD = "decodes,context,prefill_tokens,ms\n"
GOOD = HEAD + "1,1024,0,7.3\n8,1024,0,7.7\n64,2048,0,12.4\n0,0,256,11.5\n0,0,1024,27.9\n32,1024,512,20.5\n"
RUN = ["calibrate", "llama-3.1-8b", "t.csv", "--device", "h100-sxm", "--out", "c.json"]


def refused(argv, folder, capsys, expected):
    before = sorted(folder.iterdir())
    assert main(argv) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1, shown.err
    for part in expected:
        assert part in shown.err, shown.err
    assert sorted(folder.iterdir()) == before


TIMINGS = {
    "not a number": (GOOD + "4,1024,0,nan\n", ["t.csv, line 8, ms", "nan", "not a finite number"]),
    "infinite": (GOOD + "4,1024,0,inf\n", ["line 8, ms", "inf"]),
    "zero": (GOOD + "4,1024,0,0\n", ["line 8, ms", "0 is not above 0"]),
    "negative": (GOOD + "4,1024,0,-7.5\n", ["line 8, ms", "-7.5 is not above 0"]),
    "a word": (GOOD + "4,1024,0,fast\n", ["line 8, ms", "'fast' is not a number"]),
    "ms called s": (GOOD.replace("ms", "s"), ["line 2", "1,", "times longer", "ms, read as s"]),
    "s called ms": (
        HEAD + "1,1024,0,0.0073\n8,1024,0,0.0077\n0,0,1024,0.0279\n",
        ["line 2", "times shorter", "ms, read as s"],
    ),
    "one row in s": (GOOD + "16,1024,0,0.0078\n", ["line 8", "less than reading the weights"]),
    "one row in us": (GOOD + "16,1024,0,7800\n", ["line 8", "another unit"]),
    "faster than light": (GOOD + "16,1024,0,1.5\n", ["line 8", "1.5 ms", "data sheet"]),
    "half a sequence": (GOOD + "0.5,1024,0,7.3\n", ["line 8, decodes", "'0.5'", "whole number"]),
    "negative tokens": (GOOD + "0,0,-5,7.3\n", ["line 8, prefill_tokens", "'-5'"]),
    "empty step": (GOOD + "0,0,0,7.3\n", ["line 8", "empty"]),
    "no context": (GOOD + "4,,0,7.3\n", ["line 8", "without context"]),
    "a field too few": (GOOD + "4,1024,7.3\n", ["line 8", "3 fields, the header has 4"]),
    "two units": ("decodes,context,ms,s\n1,10,5,0.005\n", ["line 1", "ms and s"]),
    "no unit": ("decodes,context,prefill_tokens,time\n1,10,0,5\n", ["no kind of measurement"]),
    "unknown column": ("decodes,context,speed,ms\n1,10,1,5\n", ["line 1", "'speed'"]),
    "only a header": (HEAD, ["t.csv", "no step timings"]),
    "empty": ("", ["t.csv", "empty"]),
    "uneven chunks": (
        "prefill_tokens,prefill_context,decodes,context,ms\n512+256,0,0,0,20\n",
        ["line 2", "2 chunks", "1 in"],
    ),
    "cut JSON": ('[{"decodes": 1, "context": 1024, "ms": 7.3}, {"dec', ["t.csv", "not JSON", "cut"]),
    "JSON of numbers": ('{"steps": [1, 2], "decodes": 0}', ["step 1", "no object"]),
    "binary": (b"\xff\xfe\x00", ["t.csv", "not a text file"]),
}


@pytest.mark.parametrize("case", TIMINGS)
def test_timings_that_can_t_be(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    content, expected = TIMINGS[case]
    path = tmp_path / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(RUN, tmp_path, capsys, expected)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([*RUN[:2], "--device", "h100-sxm"], ["nothing to calibrate from"]),
        ([*RUN[:2], "none.csv", "--device", "h100-sxm"], ["none.csv", "No such file"]),
        ([*RUN[:-1], "c.txt"], ["c.txt", ".json"]),
        ([*RUN[:-1], "none/c.json"], ["none/c.json", "folder"]),
        ([*RUN, "--calibration", "t.csv"], ["--calibration is what this command makes"]),
    ],
)
def test_arguments_that_can_t_be(argv, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(GOOD)
    refused(argv, tmp_path, capsys, expected)


def test_good_timings_make_a_file_that_the_other_commands_take(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(GOOD)
    assert main(RUN) == 0
    shown = capsys.readouterr().out
    assert "left out of its own fit" in shown
    assert "6 samples for 10 coefficients" in shown
    common = ["llama-3.1-8b", "--calibration", "c.json", "--json"]
    assert main(["predict", *common, "--device", "h100-sxm"]) == 0
    found = json.loads(capsys.readouterr().out)["decode"]
    assert found["origin"] == "calibrated"
    assert found["tpot_ms"] == pytest.approx(7.3, rel=0.05)
    assert main(["simulate", *common, "--device", "h100-sxm", "--limit", "20"]) == 0
    assert json.loads(capsys.readouterr().out)["origin"] == "calibrated"
    limits = ["--rate", "4", "--limit", "300", "--ttft", "1s", "--tp", "1", "--jobs", "1"]
    assert main(["plan", *common, "--devices", "h100-sxm,l40s", *limits]) == 0
    assert json.loads(capsys.readouterr().out)["origin"] == "analytical and calibrated"


def test_lists_and_lines_of_json_read_as_csv_does(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [
        {"decodes": 8, "context": 1024, "ms": 7.7},
        {"prefill_tokens": [512, 256], "prefill_context": [0, 0], "s": 0.024},
    ]
    found = []
    for content in (
        json.dumps(rows),
        json.dumps({"steps": rows}),
        "\n".join(map(json.dumps, rows)),
    ):
        (tmp_path / "t.json").write_text(content)
        assert main(["calibrate", "llama-3.1-8b", "t.json", "--device", "h100-sxm", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["coefficients"])
    assert found[0] == found[1] == found[2]
