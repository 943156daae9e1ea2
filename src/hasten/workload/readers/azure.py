"""Azure LLM inference traces of 2023 and 2024 (CSV): one request per row, no prefixes, no sessions.

Columns TIMESTAMP (`YYYY-MM-DD HH:MM:SS`, up to nine decimals, in 2024 with a UTC offset), ContextTokens,
GeneratedTokens. Source: https://github.com/Azure/AzurePublicDataset (CC-BY 4.0), described in Patel et al.,
"Splitwise", ISCA 2024.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

from hasten.workload.heads import csv_columns
from hasten.workload.rows import BadRow, Row, tokens
from hasten.workload.source import Source

NAME = "azure"

_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_AFTER_SECONDS = re.compile(r"(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?")
_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - the offset is handled as a number, so both sides are naive
_BILLION = 1_000_000_000


def detect(head: str, path: str) -> bool:
    """True for a header with the three columns."""
    return csv_columns(head).issuperset(_COLUMNS)


def read(source: Source) -> Iterator[Row]:
    """Yield one row per request; arrival is seconds from the first good row, exact to the nanosecond."""
    origin: int | None = None
    for line, (timestamp, prompt, output) in source.csv_rows(_COLUMNS):
        with source.row(line):
            prompt_tokens, output_tokens = tokens("ContextTokens", prompt), tokens("GeneratedTokens", output)
            time = _nanoseconds(timestamp or "")
            origin = time if origin is None else origin
            yield Row(line, (time - origin) / 1e9, prompt_tokens, output_tokens)


def _nanoseconds(text: str) -> int:
    """Whole nanoseconds since 2000: a float of seconds would lose the seventh decimal."""
    text = text.strip()
    rest = _AFTER_SECONDS.fullmatch(text, 19)
    try:
        moment = datetime.fromisoformat(text[:19])
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is not None or rest is None:
        raise BadRow("is not a time like 2023-11-16 18:15:46.6805900", field="TIMESTAMP", value=text)
    fraction, offset = rest.groups()
    nanoseconds = (moment - _EPOCH) // timedelta(seconds=1) * _BILLION
    if fraction:
        nanoseconds += int(fraction.ljust(9, "0"))
    if offset and offset != "Z":
        minutes = int(offset[1:3]) * 60 + int(offset[-2:])
        nanoseconds -= (minutes if offset[0] == "+" else -minutes) * 60 * _BILLION
    return nanoseconds
