"""What the start of a trace file shows: its first line, the columns of a CSV header, the keys of a JSON row."""

import re

_KEY = re.compile(r'"([A-Za-z_][A-Za-z_ ]*)"\s*:')


def first_line(head: str) -> str:
    """The first line that isn't blank, without line end."""
    return next((line.strip() for line in head.splitlines() if line.strip()), "")


def csv_columns(head: str) -> frozenset[str]:
    """Names in the first line, read as a CSV header; empty when the line looks like JSON."""
    line = first_line(head)
    if line.startswith(("{", "[")):
        return frozenset()
    return frozenset(cell.strip().strip('"') for cell in line.split(","))


def json_keys(head: str) -> frozenset[str]:
    """Keys in the first line when it starts a JSON object (the line may be cut or damaged); else empty."""
    line = first_line(head)
    return frozenset(_KEY.findall(line)) if line.startswith("{") else frozenset()
