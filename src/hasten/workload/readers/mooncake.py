"""Mooncake traces (JSONL): timestamp (ms), input_length, output_length, hash_ids of 512-token prefix blocks.

Source: https://github.com/kvcache-ai/Mooncake, FAST25-release/traces (Apache-2.0), Qin et al., FAST 2025.
The conversation trace writes times in batches 3 s apart, so its times are spread inside each batch's window unless
`spread=False`. Other traces in this layout may use another block size: say it with `block_tokens`.
"""

from collections.abc import Iterator

from hasten.workload.batches import spread_batches
from hasten.workload.heads import json_keys
from hasten.workload.rows import BadRow, Row, block_list, check_block_count, seconds, tokens, whole
from hasten.workload.source import Source
from hasten.workload.workload import Workload

NAME = "mooncake"
BLOCK_TOKENS = 512

_KEYS = ("timestamp", "input_length", "output_length", "hash_ids")


def detect(head: str, path: str) -> bool:
    """True for a first line with hash_ids and without the chat ids of Bailian."""
    keys = json_keys(head)
    return keys.issuperset(_KEYS) and "chat_id" not in keys


def read(source: Source, *, block_tokens: int = 0) -> Iterator[Row]:
    """Yield one row per request; `block_tokens` 0 means the size written in the file, else 512."""
    size = block_tokens
    for line, row in source.json_rows():
        with source.row(line):
            written = whole("block_tokens", row.get("block_tokens", size or BLOCK_TOKENS))
            if size not in (0, written):
                raise BadRow(
                    f"differs from {size}, the block size so far", field="block_tokens", value=written
                )
            size = written
            source.blocks_hold(size)
            prompt = tokens("input_length", row["input_length"])
            ids = block_list("hash_ids", row["hash_ids"])
            check_block_count("hash_ids", ids, prompt, size, full_only=size != BLOCK_TOKENS)
            arrival = seconds("timestamp", row["timestamp"], per_second=1000.0)
            yield Row(line, arrival, prompt, tokens("output_length", row["output_length"]), ids)


def adjust(workload: Workload, *, spread: bool = True, seed: int = 0) -> Workload:
    """Spread batched times (only where the file has batches) so that bursts of the log's clock don't count."""
    return spread_batches(workload, seed=seed) if spread else workload
