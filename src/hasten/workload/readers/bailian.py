"""Qwen Bailian usage traces (JSONL): chat_id, parent_chat_id, timestamp (s), lengths, 16-token prefix hashes.

Source: https://github.com/alibaba-edu/qwen-bailian-usagetraces-anon. parent_chat_id is -1 for a first turn;
turns keep their recorded times until `Workload.as_sessions`.
"""

from collections.abc import Iterator

from hasten.workload.heads import json_keys
from hasten.workload.rows import Row, block_list, check_block_count, seconds, tokens
from hasten.workload.source import Source

NAME = "bailian"
BLOCK_TOKENS = 16

_KEYS = ("chat_id", "timestamp", "input_length", "output_length")


def detect(head: str, path: str) -> bool:
    """True for a first line with a chat id, a time and both lengths."""
    return json_keys(head).issuperset(_KEYS)


def read(source: Source, *, block_tokens: int = BLOCK_TOKENS) -> Iterator[Row]:
    """Yield one row per request."""
    source.blocks_hold(block_tokens)
    for line, row in source.json_rows():
        with source.row(line):
            prompt = tokens("input_length", row["input_length"])
            ids = block_list("hash_ids", row.get("hash_ids", []))
            if ids:
                check_block_count("hash_ids", ids, prompt, block_tokens, full_only=True)
            parent = row.get("parent_chat_id", -1)
            yield Row(
                line,
                seconds("timestamp", row["timestamp"]),
                prompt,
                tokens("output_length", row["output_length"]),
                block_ids=ids,
                turn_id=str(row["chat_id"]),
                parent_id=None if parent in (None, -1) else str(parent),
            )
