"""Settings that a user gives instead of an engine's defaults, checked one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping

from hasten.errors import InputError
from hasten.hardware.datafile import closest

#: Settings of an engine that a user may give.
SETTINGS = (
    "max_num_seqs",
    "max_num_batched_tokens",
    "max_model_len",
    "block_size",
    "chunk_tokens",
    "long_prefill_token_threshold",
    "prefix_caching",
    "chunked_prefill",
    "memory_fraction",
    "watermark",
)


class Overrides:
    """The settings given, read with their type and range. A setting given as None counts as not given."""

    def __init__(self, given: Mapping[str, object], owner: str) -> None:
        for name in given:
            if name not in SETTINGS:
                hint = closest(name, SETTINGS) or f": known settings are {', '.join(SETTINGS)}"
                raise InputError(f"setting {name!r} of {owner} is unknown{hint}")
        self._given = {name: value for name, value in given.items() if value is not None}
        self.names = tuple(sorted(self._given))

    def optional_integer(self, name: str, *, low: int = 1) -> int | None:
        """A whole number of at least `low`, or None when it is not given."""
        value = self._given.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not float(value).is_integer():
            raise InputError(f"{name} = {value!r} is not a whole number: give one of at least {low}")
        if value < low:
            raise InputError(f"{name} = {value!r} is below {low}: give a whole number of at least {low}")
        return int(value)

    def integer(self, name: str, default: int, *, low: int = 1) -> int:
        """Like `optional_integer`, with the engine's default."""
        value = self.optional_integer(name, low=low)
        return default if value is None else value

    def flag(self, name: str, default: bool) -> bool:
        """True or False."""
        value = self._given.get(name, default)
        if not isinstance(value, bool):
            raise InputError(f"{name} = {value!r} is not true or false: give one of them")
        return value

    def share(self, name: str, default: float) -> float:
        """A share between 0 and 1, or the default."""
        value = self._given.get(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise InputError(f"{name} = {value!r} is not a number: give a share between 0 and 1")
        if not 0.0 <= value <= 1.0:
            raise InputError(f"{name} = {value!r} is outside 0 to 1: give a share, such as 0.9")
        return float(value)
