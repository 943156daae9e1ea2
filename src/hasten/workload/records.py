"""A workload from Python mappings, one per request."""

import operator
from collections.abc import Iterable, Mapping
from typing import Any

from hasten.errors import InputError
from hasten.workload.builder import Builder
from hasten.workload.rows import BadRow, Row, block_list, real, seconds, tokens, whole
from hasten.workload.workload import Workload

_FIELDS = (
    "arrival",
    "prompt_tokens",
    "output_tokens",
    "block_ids",
    "session",
    "parent",
    "think_s",
    "priority",
    "max_tokens",
)


def workload_from_records(
    records: Iterable[Mapping[str, Any]], *, block_tokens: int = 0, origin: str = "records"
) -> Workload:
    """Build a workload; see `Workload.from_records`."""
    builder = Builder()
    for number, record in enumerate(records):
        try:
            builder.add(_row(number, record))
        except BadRow as error:
            raise InputError(f"{origin}, row {number}: {error}: mend the row") from None
        except KeyError as error:
            needed = ", ".join(_FIELDS[:3])
            raise InputError(f"{origin}, row {number}: {error} is missing: give {needed}") from None
    return builder.build(origin=origin, block_tokens=block_tokens)


def _row(number: int, record: Mapping[str, Any]) -> Row:
    unknown = [name for name in record if name not in _FIELDS]
    if unknown:
        raise BadRow(f"is none of {', '.join(_FIELDS)}", field="field", value=unknown[0])
    session, parent = record.get("session"), record.get("parent")
    think_s, cap = record.get("think_s"), record.get("max_tokens")
    return Row(
        line=number,
        arrival=seconds("arrival", record["arrival"]),
        prompt_tokens=tokens("prompt_tokens", record["prompt_tokens"]),
        output_tokens=tokens("output_tokens", record["output_tokens"]),
        block_ids=_ids(record.get("block_ids", ())),
        session=None if session == -1 else session,
        turn_id=number,
        parent_id=None if parent is None or parent == -1 else whole("parent", parent),
        think_s=None if think_s is None else real("think_s", think_s),
        priority=whole("priority", record.get("priority", 0)),
        max_tokens=None if cap is None or cap == -1 else tokens("max_tokens", cap),
    )


def _ids(values: Iterable[Any]) -> list[int]:
    try:
        return block_list("block_ids", [operator.index(value) for value in values])
    except TypeError:
        raise BadRow("is not a list of whole numbers", field="block_ids", value=values) from None
