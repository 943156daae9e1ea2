"""Results of `vllm bench serve --save-result --save-detailed` (one JSON object) as a workload.

Uses input_lens, output_lens, start_times (s, when the request left the client's concurrency limit) and errors.
A request with an error or without output failed: it is left out and counted. Older versions have no start_times:
requests then come at once, or as Poisson when a rate is asked.
"""

from collections.abc import Iterator
from typing import Any

from hasten.workload.heads import first_line
from hasten.workload.rows import Row, seconds, tokens, whole
from hasten.workload.source import Source

NAME = "vllm_bench"

_KEYS = ('"total_input_tokens"', '"completed"')


def detect(head: str, path: str) -> bool:
    """True for a JSON object with the totals that the tool writes before its long arrays."""
    return first_line(head).startswith("{") and (
        all(key in head for key in _KEYS) or ('"input_lens"' in head and '"output_lens"' in head)
    )


def read(source: Source) -> Iterator[Row]:
    """Yield one row per request that succeeded; rows count requests from 1."""
    result = source.json_document()
    if not isinstance(result, dict) or "input_lens" not in result or "output_lens" not in result:
        source.fail("no input_lens and output_lens: record the run again with --save-result --save-detailed")
    source.count_items("request")
    num = len(_list(source, result, "input_lens"))
    outputs = _list(source, result, "output_lens", num)
    starts = _list(source, result, "start_times", num) if "start_times" in result else None
    errors = _list(source, result, "errors", num) if "errors" in result else [""] * num
    if starts is None:
        source.without_times()
        source.note("no start_times in the file")
    if result.get("max_concurrency"):
        source.note(
            f"recorded with at most {result['max_concurrency']} requests at a time, so times hang on the server"
        )
    for number, (prompt, output, error) in enumerate(
        zip(result["input_lens"], outputs, errors, strict=True), 1
    ):
        with source.row(number):
            if error or whole("output_lens", output) == 0:
                source.drop(number, "the request failed")
                continue
            arrival = 0.0 if starts is None else seconds("start_times", starts[number - 1])
            yield Row(number, arrival, tokens("input_lens", prompt), tokens("output_lens", output))


def _list(source: Source, result: dict[str, Any], name: str, length: int | None = None) -> list[Any]:
    values = result[name]
    if not isinstance(values, list):
        source.fail(f"{name} is not a list: record the run again with --save-detailed")
    if length is not None and len(values) != length:
        source.fail(f"{name} has {len(values)} values, input_lens has {length}: the file is cut or edited")
    return values
