"""One row of a trace, and the checks that turn a cell or a JSON value into a number.

Each check raises BadRow with the field, the value and what is wrong; the source adds the file and the line.
"""

import math
import numbers
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from hasten.workload.columns import MAX_TOKENS

_INT64 = 2**63


class Row(NamedTuple):
    """One request as a reader yields it. Only the first four fields are needed.

    line            1-based line (or item) of the file, for messages
    arrival         seconds; any origin, the loader shifts the first row to 0
    prompt_tokens   1 or more
    output_tokens   1 or more
    block_ids       prefix-block ids; the reader says their size with `source.blocks_hold(tokens)`
    session         any name of the conversation, None without
    turn_id         any name of this request that later rows give as `parent_id`
    parent_id       `turn_id` of the previous turn, None without; unknown names count as none
    think_s         seconds from the parent's finish to this request, None unknown
    priority        smaller first
    max_tokens      cap the client sent, None unknown
    """

    line: int
    arrival: float
    prompt_tokens: int
    output_tokens: int
    block_ids: Sequence[int] = ()
    session: Hashable = None
    turn_id: Hashable = None
    parent_id: Hashable = None
    think_s: float | None = None
    priority: int = 0
    max_tokens: int | None = None


class BadRow(ValueError):
    """A row that can't be used: `problem` without the value (rows are counted by it), and the value."""

    def __init__(self, problem: str, *, field: str = "", value: Any = "") -> None:
        self.problem = f"{field} {problem}".strip()
        shown = f"{field} = {shortened(value)}" if field else shortened(value) if value != "" else ""
        super().__init__(f"{shown} {problem}".strip())


def shortened(value: Any, length: int = 60) -> str:
    """`repr` of a value on one line, cut to `length` characters."""
    text = repr(value)
    return text if len(text) <= length else text[: length - 3] + "..."


def whole(field: str, value: Any) -> int:
    """A whole number from an int, a whole float or their text; raises BadRow for anything else."""
    if type(value) is int:
        return value
    if isinstance(value, str) and "_" not in value:  # Python's 1_000 is no number in a data file
        try:
            return int(value)
        except ValueError:
            pass
    number = real(field, value)
    if number != int(number):
        raise BadRow("is not a whole number", field=field, value=value)
    return int(number)


def real(field: str, value: Any) -> float:
    """A finite number from a number or its text; raises BadRow for anything else."""
    if value is None or value == "":
        raise BadRow("is missing", field=field, value=value)
    is_text = isinstance(value, str) and "_" not in value
    if isinstance(value, bool) or not (is_text or isinstance(value, numbers.Real)):
        raise BadRow("is not a number", field=field, value=value)
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise BadRow("is not a number", field=field, value=value) from None
    if not math.isfinite(number):
        raise BadRow("is not finite", field=field, value=value)
    return number


def tokens(field: str, value: Any) -> int:
    """A token count from 1 to 10,000,000."""
    number = value if type(value) is int else whole(field, value)
    if 1 <= number <= MAX_TOKENS:
        return number
    if number < 0:
        raise BadRow("is negative", field=field, value=value)
    if number == 0:
        raise BadRow("is 0, so the request does nothing", field=field, value=value)
    raise BadRow(f"is above {MAX_TOKENS:,} tokens", field=field, value=value)


def seconds(field: str, value: Any, *, per_second: float = 1.0) -> float:
    """Seconds, 0 or more, from a value that counts `per_second` units a second (1000 for milliseconds)."""
    number = real(field, value)
    if number < 0:
        raise BadRow("is negative", field=field, value=value)
    return number / per_second


def block_list(field: str, value: Any) -> list[int]:
    """A list of block ids, each a whole number of 64 bits."""
    if not isinstance(value, list):
        raise BadRow("is not a list of whole numbers", field=field, value=value)
    for item in value:
        if type(item) is not int or not -_INT64 <= item < _INT64:
            raise BadRow("holds something else than 64-bit whole numbers", field=field, value=item)
    return value


def check_block_count(
    field: str, ids: Sequence[int], prompt_tokens: int, size: int, *, full_only: bool
) -> None:
    """There is one id per `size` tokens of prompt, the last block counted even when partial.

    With `full_only` a row may also leave a partial last block out.
    """
    expected = -(-prompt_tokens // size)
    if len(ids) == expected or (full_only and len(ids) == prompt_tokens // size):
        return
    raise BadRow(
        f"blocks of {size} tokens don't fit the prompt: {prompt_tokens} tokens need {expected} "
        "(another block size? pass block_tokens)",
        field=f"number of {field}",
        value=len(ids),
    )
