"""Text on the command line to values in internal units, as argparse types that say what is wrong and what is right."""

from __future__ import annotations

import math
import re
from argparse import ArgumentTypeError

MAX_RATE = 1e6
"""Requests/s, more than any deployment that can be simulated takes."""

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_BYTES = {"B": 1, "MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_DURATION = re.compile(r"(?P<number>[0-9.eE+-]*[0-9.])\s*(?P<unit>[a-zA-Z]*)")
_ITEM_GOES_ON = re.compile(r"\s*[A-Za-z_]\w*\s*=")


def duration(text: str) -> float:
    """Seconds from `500ms`, `1.5s`, `250us`, `2min` or `1h`. A number without a unit is refused: 500 what?"""
    match = _DURATION.fullmatch(text.strip())
    value = _float(match["number"]) if match else math.nan
    if match is None or math.isnan(value):
        raise ArgumentTypeError(f"{text!r} is no duration: write a number and a unit, such as 500ms or 1.5s")
    if not match["unit"]:
        number = match["number"]
        raise ArgumentTypeError(f"{text!r} has no unit: write {number}ms or {number}s")
    if match["unit"] not in _SECONDS:
        raise ArgumentTypeError(f"{text!r} has an unknown unit: use one of {', '.join(_SECONDS)}")
    seconds = value * _SECONDS[match["unit"]]
    if not 0.0 < seconds < math.inf:
        raise ArgumentTypeError(f"{text!r} must be more than zero and finite")
    return seconds


def size(text: str) -> int:
    """Bytes from `64GiB`, `512MiB`, `1.5TiB` or `64GB`; `0` is nothing. Another number without a unit is refused."""
    match = _DURATION.fullmatch(text.strip())
    value = _float(match["number"]) if match else math.nan
    if match is None or math.isnan(value):
        raise ArgumentTypeError(f"{text!r} is no size: write a number and a unit, such as 64GiB")
    unit = match["unit"] or ("B" if value == 0.0 else "")
    if unit not in _BYTES:
        why = "has an unknown unit" if unit else "has no unit"
        raise ArgumentTypeError(f"{text!r} {why}: use one of {', '.join(_BYTES)}, such as 64GiB")
    found = value * _BYTES[unit]
    if not 0.0 <= found < float(1 << 60):
        raise ArgumentTypeError(f"{text!r} is out of range: give a size from 0 to 1024PiB")
    return int(found)


def count(text: str) -> int:
    """A whole number of at least 1."""
    return _whole(text, 1, (1 << 62) - 1)


def whole(text: str) -> int:
    """A whole number of at least 0."""
    return _whole(text, 0, (1 << 62) - 1)


def jobs(text: str) -> int:
    """Processes of this machine: 1 to 1,024."""
    return _whole(text, 1, 1024)


def _whole(text: str, low: int, high: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no whole number") from None
    if value < low:
        raise ArgumentTypeError(f"{text!r} is below {low}: give a whole number of at least {low}")
    if value > high:
        raise ArgumentTypeError(f"{text!r} is above {high:,}: give a smaller number")
    return value


def rate(text: str) -> float:
    """Requests per second, more than 0 and up to a million; `inf` sends everything at once."""
    value = _float(text)
    if math.isnan(value):
        raise ArgumentTypeError(f"{text!r} is no rate: give requests per second, such as 8 or 0.5")
    if not value > 0.0:
        raise ArgumentTypeError(f"{text!r} must be more than 0 requests per second")
    if MAX_RATE < value < math.inf:
        raise ArgumentTypeError(
            f"{text!r} is above {MAX_RATE:,.0f} requests/s: give less, or inf for all at once"
        )
    return value


def percentile(text: str) -> float:
    """A percentile above 0 and up to 100."""
    value = _float(text)
    if not 0.0 < value <= 100.0:
        raise ArgumentTypeError(f"{text!r} is no percentile: give a number above 0 and up to 100, such as 99")
    return value


def share(text: str) -> float:
    """A share from `0.99` or `99%`, more than 0 and at most 1."""
    value = _float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
    if not 0.0 < value <= 1.0:
        raise ArgumentTypeError(
            f"{text!r} is no share: give a number above 0 and up to 1, or a percentage such as 99%"
        )
    return value


def confidence(text: str) -> float:
    """A confidence as a share from `90`, `90%` or `0.9`: between 0 and 1, both excluded."""
    is_percent = text.endswith("%")
    value = _float(text.removesuffix("%"))
    if is_percent or value >= 1.0:
        value /= 100.0
    if not 0.0 < value < 1.0:
        raise ArgumentTypeError(f"{text!r} is no confidence: give a percentage such as 90")
    return value


def percentiles(text: str) -> tuple[float, ...]:
    """Percentiles from a list such as `50,90,99`, in rising order."""
    return tuple(sorted({percentile(part) for part in items(text)}))


def speeds(text: str) -> tuple[float, ...]:
    """Relative speeds of replicas from a list such as `1,1,0.5`."""
    found = tuple(_float(part) for part in text.split(","))
    if not all(0.001 <= each <= 1000.0 for each in found):
        raise ArgumentTypeError(
            f"{text!r} are no speeds: give one from 0.001 to 1000 per replica, such as 1,1,0.5"
        )
    return found


def items(text: str) -> list[str]:
    """A comma list of names; `name:key=1,key=2` stays one item. Nothing between two commas is refused."""
    found: list[str] = []
    for part in text.split(","):
        if found and ":" in found[-1] and _ITEM_GOES_ON.match(part):
            found[-1] += f",{part.strip()}"
        else:
            found.append(part.strip())
    if not all(found):
        raise ArgumentTypeError(f"{text!r} has an empty place: write names with single commas between them")
    twice = next((item for item in found if found.count(item) > 1), None)
    if twice is not None:
        raise ArgumentTypeError(f"{text!r} names {twice} twice")
    return found


def counts(text: str) -> list[int]:
    """A comma list of whole numbers of at least 1."""
    return [count(part) for part in items(text)]


def assignment(text: str) -> tuple[str, str]:
    """`key=value` as a pair; dashes in the key count as underscores."""
    key, sign, value = text.partition("=")
    if not (sign and key.strip() and value.strip()):
        raise ArgumentTypeError(f"{text!r} is not key=value")
    return key.strip().replace("-", "_"), value.strip()


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
