"""JSON that somebody else wrote."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """What `json.loads` gives. Raises ValueError for all that it can't read, nesting without end too; a
    json.JSONDecodeError where it can say the place."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(str(error)) from None
