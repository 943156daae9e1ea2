"""ShareGPT conversations (one JSON array): lengths only, no arrival times.

Items are `{"id", "conversations": [{"from": "human" | "gpt", "value": text}]}`. As in `vllm bench serve` the first
two turns are prompt and answer, and items with fewer turns, a prompt or an answer under 4 tokens, a prompt over
1,024 tokens or a sum over 2,048 are left out (and counted). Without a tokenizer a text of n characters counts as
n / 4 tokens, rounded up: a rule of thumb for English, far off for other scripts and for code.
"""

from collections.abc import Callable, Iterator
from typing import Any

from hasten.workload.heads import first_line
from hasten.workload.rows import BadRow, Row
from hasten.workload.source import Source

NAME = "sharegpt"

_CHARACTERS_PER_TOKEN = 4
_MIN_TOKENS, _MAX_PROMPT, _MAX_TOTAL = 4, 1024, 2048  # is_valid_sequence in vllm/benchmarks/datasets


def detect(head: str, path: str) -> bool:
    """True for a JSON array whose items have conversations."""
    return first_line(head).startswith("[") and '"conversations"' in head


def read(
    source: Source, *, tokenizer: Callable[[str], Any] | None = None, keep_all: bool = False
) -> Iterator[Row]:
    """Yield one row per conversation; `tokenizer` maps a text to its tokens or their number.

    `keep_all` skips vLLM's length filters (empty texts still drop).
    """
    items = source.json_document()
    if not isinstance(items, list):
        source.fail("is not a JSON array of conversations: give the ShareGPT file as published")
    source.count_items("conversation")
    source.without_times()
    source.note(
        "token counts by the tokenizer given" if tokenizer else "token counts estimated as characters / 4"
    )
    for number, item in enumerate(items, 1):
        with source.row(number):
            turns = item["conversations"]
            if not isinstance(turns, list):
                raise BadRow("is not a list of turns", field="conversations", value=turns)
            if len(turns) < 2:
                source.drop(number, "fewer than two turns")
                continue
            prompt, output = (_count(turn["value"], tokenizer) for turn in turns[:2])
            reason = _left_out(prompt, output, keep_all)
            if reason:
                source.drop(number, reason)
                continue
            yield Row(number, 0.0, prompt, output)


def _count(text: Any, tokenizer: Callable[[str], Any] | None) -> int:
    if not isinstance(text, str):
        raise BadRow("is not a text", field="value", value=text)
    if tokenizer is None:
        return -(-len(text) // _CHARACTERS_PER_TOKEN)
    counted = tokenizer(text)
    return counted if isinstance(counted, int) else len(counted)


def _left_out(prompt: int, output: int, keep_all: bool) -> str:
    """Why vLLM leaves a pair out, "" when it doesn't."""
    if keep_all:
        return "" if prompt and output else "empty prompt or answer"
    if min(prompt, output) < _MIN_TOKENS:
        return f"prompt or answer under {_MIN_TOKENS} tokens"
    if prompt > _MAX_PROMPT:
        return f"prompt over {_MAX_PROMPT} tokens"
    return f"prompt and answer over {_MAX_TOTAL} tokens" if prompt + output > _MAX_TOTAL else ""
