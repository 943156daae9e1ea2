"""Readers of agent traces: links, waiting times, shared text, and rows that can't be used."""

import json
from pathlib import Path

import pytest

from hasten.errors import InputError
from hasten.workload import Workload

HEADER = "session,sidechain,step,start_s,end_s,prompt_tokens,output_tokens\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_calls_follow_each_other(tmp_path: Path) -> None:
    rows = "a,0,0,0.0,2.0,100,28\na,0,1,5.0,6.0,200,10\nb,0,0,0.0,1.0,64,8\na,1,0,2.5,3.0,90,10\n"
    path = write(tmp_path / "calls.csv", HEADER + rows)
    work = Workload.from_trace(path, programs_per_s=1.0, block_tokens=16)
    assert work.prompt_tokens.tolist() == [100, 90, 200, 64]
    assert work.parent is not None
    assert work.think_s is not None
    assert work.parent.tolist() == [-1, 0, 0, -1]
    assert work.think_s.tolist() == [0.0, 0.5, 3.0, 0.0]
    assert work.blocks_of(2)[:8] == work.blocks_of(0)  # 128 tokens: prompt and answer
    assert (
        work.blocks_of(1)[:5] == work.blocks_of(0)[:5]
    )  # too short to hold the answer: 90 tokens of the prompt
    assert work.session is not None
    assert len(set(work.arrival[work.session == 0].tolist())) == 1


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a,0,0,0.0,2.0,0,28", "calls.csv:2: prompt_tokens = '0'"),
        ("a,0,0,3.0,2.0,100,28", "calls.csv:2: end_s = 2.0 is before start_s = 3"),
        ("a,0,0,nan,2.0,100,28", "calls.csv:2: start_s = 'nan' is not finite"),
        ("a,0,x,0.0,2.0,100,28", "calls.csv:2: step = 'x'"),
        ("a,0,0,0.0,2.0,100,28\na,0,0,3.0,4.0,100,28", "calls.csv:3: turn id = .* names two rows"),
    ],
)
def test_bad_calls_are_named(tmp_path: Path, row: str, words: str) -> None:
    path = write(tmp_path / "calls.csv", HEADER + row + "\n")
    with pytest.raises(InputError, match=words):
        Workload.from_trace(path)


def dialogue(name: str, turns: int) -> str:
    message = [{"role": "user", "content": "x" * 40}]
    return json.dumps({"id": name, "question": [message] * turns, "initial_config": {}}) + "\n"


def test_dialogues_with_and_without_answers(tmp_path: Path) -> None:
    path = write(tmp_path / "bfcl.jsonl", dialogue("d0", 2))
    answers = write(
        tmp_path / "answers.jsonl",
        json.dumps({"id": "d0", "ground_truth": [["f(1234567)", "g()"], ["h()"]]}) + "\n",
    )
    plain = Workload.from_trace(path, system_tokens=100)
    assert plain.prompt_tokens.tolist() == [110, 121]
    full = Workload.from_trace(path, system_tokens=100, answers=str(answers), tool_s=0.5, user_s=4.0)
    assert full.prompt_tokens.tolist() == [110, 113, 124]
    assert full.think_s is not None
    assert full.think_s.tolist() == [0.0, 0.5, 4.0]


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        (
            '{"id": "d0", "question": [[{}]], "initial_config": {}}\n',
            {},
            "bfcl.jsonl:1: 'content' is missing",
        ),
        (dialogue("d0", 1), {"answers": "nowhere.jsonl"}, "nowhere.jsonl.*no such file"),
        (dialogue("d0", 1), {"tool_s": -1.0}, "none below 0"),
    ],
)
def test_bad_dialogues_are_named(tmp_path: Path, text: str, options: dict[str, object], words: str) -> None:
    path = write(tmp_path / "bfcl.jsonl", text)
    with pytest.raises(InputError, match=words):
        Workload.from_trace(path, **options)
