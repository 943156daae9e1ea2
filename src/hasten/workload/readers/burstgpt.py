"""BurstGPT traces (CSV): Timestamp (s), Model, Request tokens, Response tokens, Total tokens, Log Type.

Source: https://github.com/HPMLL/BurstGPT, Wang et al., arXiv:2401.17644. Newer files add Session ID and Elapsed
time. A row with 0 response tokens is a request that failed: it is left out and counted.
"""

from collections.abc import Iterator

from hasten.workload.heads import csv_columns
from hasten.workload.rows import Row, seconds, tokens, whole
from hasten.workload.source import Source

NAME = "burstgpt"

_COLUMNS = ("Timestamp", "Request tokens", "Response tokens")


def detect(head: str, path: str) -> bool:
    """True for a header with the time and both token columns."""
    return csv_columns(head).issuperset(_COLUMNS)


def read(source: Source, *, model: str = "") -> Iterator[Row]:
    """Yield one row per request that succeeded, of every model or of `model` ("ChatGPT", "GPT-4") only."""
    for line, (time, prompt, output, name, session) in source.csv_rows(_COLUMNS, ("Model", "Session ID")):
        if model and name != model:
            source.drop(line, f"not of model {model}")
            continue
        with source.row(line):
            if whole("Response tokens", output) == 0:
                source.drop(line, "Response tokens is 0: the request failed")
                continue
            yield Row(
                line,
                seconds("Timestamp", time),
                tokens("Request tokens", prompt),
                tokens("Response tokens", output),
                session=session or None,
            )
