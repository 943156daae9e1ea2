"""The pages that servers show under /metrics, read line by line: Prometheus' text format and OpenMetrics.

Sources: "Exposition formats" of the Prometheus documentation (version 0.0.4), and the OpenMetrics specification 1.0:
labels with escapes, values such as NaN and +Inf, times in milliseconds there and in seconds here, exemplars behind `#`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from hasten.errors import InputError

Labels = tuple[tuple[str, str], ...]
Lines = Sequence[tuple[int, str]]
"""Lines with their numbers in the file."""

_NAME = re.compile(r"\s*([a-zA-Z_:][\w:]*)")
_LABEL = re.compile(r'\s*([a-zA-Z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(,?)')
_CLOSED = re.compile(r"\s*\}")
_REST = re.compile(
    r"\s*(?P<value>[^\s{}#,]+)(?:\s+(?P<time>-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?))?\s*(?:#\s*\{.*)?$"
)
_TIMED = re.compile(r"#\s*time_s\s+(?P<time>\S+)\s*$")
_ESCAPED = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n"}
_SECONDS = range(10**8, 10**11)  # a whole number of seconds since 1973; in ms it would be of 1970 to 1973


class Sample(NamedTuple):
    """One line: its number, what is measured (`labels` by name), the value, and its own time (s), if it has one."""

    line: int
    name: str
    labels: Labels
    value: float
    time: float | None


def looks_like_page(text: str) -> bool:
    """Whether a text begins like a page of metrics: with comments that others don't have, or with samples."""
    for number, line in enumerate([line for line in text.splitlines() if line.strip()][:50]):
        if line.startswith(("# TYPE", "# HELP", "# time_s")):
            return True
        if not line.startswith("#"):
            try:
                _sample(number, line, "")
            except InputError:
                continue
            return True
    return False


def pages(text: str) -> Iterator[Lines]:
    """The pages of a text, one after another: a new one begins with `# time_s`, or where a sample comes again."""
    page: list[tuple[int, str]] = []
    seen: set[str] = set()
    held: list[tuple[int, str]] = []  # comments, which belong to what follows them
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            if _TIMED.match(line) and seen:
                yield page
                page, seen = [], set()
            held.append((number, line))
            continue
        key = _key(line)
        if key in seen:
            yield page
            page, seen = [], set()
        page += [*held, (number, line)]
        held = []
        seen.add(key)
    if seen:
        yield page


def samples(page: Iterable[tuple[int, str]], where: str) -> Iterator[Sample]:
    """The samples of the lines of one page. Raises InputError naming `where` and the line."""
    for number, line in page:
        if line.strip() and not line.startswith("#"):
            yield _sample(number, line, where)


def time_of(page: Iterable[tuple[int, str]], where: str) -> float | None:
    """When a page was taken by its last `# time_s` line (s); None without. Raises InputError naming `where`."""
    found = None
    for number, line in page:
        timed = _TIMED.match(line)
        if timed:
            found = _number(timed["time"], f"{where}: line {number}")
    return found


def _sample(number: int, line: str, where: str) -> Sample:
    place = f"{where}: line {number}"
    name = _NAME.match(line)
    if name is None:
        raise InputError(f"{place}: {line[:60]!r} is no metric: is the page cut?")
    labels, at = _labels(line, name.end(), place)
    rest = _REST.match(line, at)
    if rest is None:
        raise InputError(f"{place}: {line[:60]!r} is no metric: is the page cut?")
    value = _number(rest["value"], f"{place}, {name[1]}")
    return Sample(number, name[1], labels, value, None if rest["time"] is None else _seconds(rest["time"]))


def _labels(line: str, at: int, place: str) -> tuple[Labels, int]:
    """Labels by name from `at` on, and where they end."""
    if line[at : at + 1] != "{":
        return (), at
    found, begin, at = [], at, at + 1
    is_open = True
    while (closed := _CLOSED.match(line, at)) is None:
        match = _LABEL.match(line, at) if is_open else None
        if match is None:
            if "}" not in line[begin:]:
                raise InputError(f"{place}: {line[:60]!r} is no metric: is the page cut?")
            raise InputError(f"{place}: labels {line[begin : begin + 60].partition('}')[0]}}} can't be read")
        found.append((match[1], _ESCAPED.sub(lambda each: _ESCAPES.get(each[1], each[1]), match[2])))
        at, is_open = match.end(), bool(match[3])
    return tuple(sorted(found)), closed.end()


def _key(line: str) -> str:
    """What tells a sample from others of its page."""
    name = _NAME.match(line)
    try:
        end = 0 if name is None else _labels(line, name.end(), "")[1]
    except InputError:
        end = 0  # told when it is read
    return line[:end] or line


def _seconds(time: str) -> float:
    """A stamp in seconds: OpenMetrics has such, Prometheus' own format whole milliseconds."""
    value = float(time)
    return value if not time.lstrip("-").isdigit() or int(value) in _SECONDS else value / 1e3


def _number(text: str, place: str) -> float:
    try:
        if "_" not in text:  # Python's own way to write 1_000
            return float(text)
    except ValueError:
        pass
    raise InputError(f"{place}: {text!r} is no number")
