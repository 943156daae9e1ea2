"""The two ways a result leaves a command: as text and as JSON, whole, on standard output."""

from __future__ import annotations

import json
import math
from typing import Any


def show(text: str) -> None:
    """Print a finished text."""
    print(text)


def show_json(value: Any) -> None:
    """Print a finished result as JSON, keys in the order given; what is not a finite number becomes null."""
    print(json.dumps(_finite(value), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
