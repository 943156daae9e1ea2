"""Multi-turn function calling of the Berkeley leaderboard (JSON lines): the shapes of its dialogues.

Source: https://github.com/ShishirPatil/gorilla, berkeley-function-call-leaderboard (Apache-2.0), BFCL v4 multi-turn.
`answers` is the file of ground-truth calls: every one is a call to the model whose answer names a function; without it
each turn counts as one. The files hold text and no times: tokens are characters / 4, functions take `tool_s`, users
`user_s` (s), the system prompt with its function descriptions `system_tokens`, and dialogues start at once.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hasten.errors import InputError
from hasten.workload.heads import json_keys
from hasten.workload.rows import Row
from hasten.workload.source import Source

NAME = "bfcl"

_CHARACTERS_PER_TOKEN = 4


def detect(head: str, path: str) -> bool:
    """True for a first line with an id, a question and an initial configuration."""
    return json_keys(head).issuperset(("id", "question", "initial_config"))


def read(
    source: Source,
    *,
    answers: str = "",
    tool_s: float = 0.3,
    user_s: float = 10.0,
    system_tokens: int = 600,
) -> Iterator[Row]:
    """Yield one row per call to the model."""
    if tool_s < 0 or user_s < 0 or system_tokens < 0:
        raise InputError(
            f"tool_s = {tool_s}, user_s = {user_s}, system_tokens = {system_tokens}: none below 0"
        )
    truth = _calls(answers) if answers else {}
    source.without_times()
    source.note(
        f"tokens = characters / {_CHARACTERS_PER_TOKEN}, {tool_s:g} s per function, {user_s:g} s per user"
    )
    for line, row in source.json_rows():
        with source.row(line):
            name, context = str(row["id"]), system_tokens
            parent: str | None = None
            for number, turn in enumerate(row["question"]):
                asked = sum(_tokens(message["content"]) for message in turn)
                known = truth.get(name, [])
                for step, text in enumerate(known[number] if number < len(known) else [""]):
                    prompt = context + (asked if step == 0 else 0)
                    this = f"{name}/{number}/{step}"
                    wait = None if parent is None else user_s if step == 0 else tool_s
                    output = max(1, _tokens(text))
                    yield Row(
                        line,
                        0.0,
                        max(1, prompt),
                        output,
                        session=name,
                        turn_id=this,
                        parent_id=parent,
                        think_s=wait,
                    )
                    context, parent = prompt + output, this


def _calls(answers: str) -> dict[str, list[list[str]]]:
    """Ground-truth calls by dialogue and turn."""
    path = Path(answers)
    if not path.is_file():
        raise InputError(f"answers = {answers!r}: no such file: give BFCL's possible_answer file")
    calls: dict[str, list[list[str]]] = {}
    source = Source(path)
    for line, row in source.json_rows():
        with source.row(line):
            calls[str(row["id"])] = [[_text(call) for call in turn] for turn in row["ground_truth"]]
    return calls


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _tokens(text: Any) -> int:
    return -(-len(_text(text)) // _CHARACTERS_PER_TOKEN)
