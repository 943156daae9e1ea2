"""Tables written into Markdown pages between marks, and pages compared with what a script would write."""

from __future__ import annotations

import re
from collections.abc import Iterable

PERCENT = re.compile(r"([+-]?\d+\.\d)(?=%)")
TOLERANCE = 0.25  # percentage points


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def filled(page: str, name: str, text: str) -> str:
    """The page with a table put between its marks."""
    before, start, rest = page.partition(f"<!-- {name} -->")
    _, end, after = rest.partition(f"<!-- end of {name} -->")
    if not start or not end:
        raise SystemExit(f"the page has no marks for {name}")
    return f"{before}{start}\n\n{text}\n\n{end}{after}"


def agree(one: str, other: str) -> bool:
    """Whether two pages say the same, percentages within TOLERANCE: libraries round differently."""
    first, second = PERCENT.findall(one), PERCENT.findall(other)
    return PERCENT.sub("", one) == PERCENT.sub("", other) and all(
        abs(float(a) - float(b)) <= TOLERANCE for a, b in zip(first, second, strict=True)
    )
