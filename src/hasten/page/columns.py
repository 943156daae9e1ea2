"""Arrays as compact text for a page: small integers, or 32 bits a number, in base64."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import numpy.typing as npt

_UNSIGNED = ((2**8 - 1, "u8", np.uint8), (2**16 - 1, "u16", np.uint16), (2**32 - 1, "u32", np.uint32))


def integers(values: npt.ArrayLike) -> dict[str, Any]:
    """Whole numbers in the fewest bytes that hold them: `low` is added to what is stored."""
    numbers = np.asarray(values, dtype=np.int64)
    low = int(numbers.min()) if numbers.size else 0
    shifted = numbers - low
    greatest = int(shifted.max()) if numbers.size else 0
    for most, kind, dtype in _UNSIGNED:
        if greatest <= most:
            return {"type": kind, "low": low, "step": 1, "data": _text(shifted.astype(dtype))}
    return floats(numbers)


def floats(values: npt.ArrayLike) -> dict[str, Any]:
    """Numbers to seven digits; NaN stays NaN."""
    return {"type": "f32", "data": _text(np.asarray(values, dtype=np.float32))}


def evenly(values: npt.ArrayLike, *, bits: int = 32) -> dict[str, Any]:
    """Finite numbers on an even grid of 2^bits points between the least and the greatest: clocks and shares."""
    numbers = np.asarray(values, dtype=np.float64)
    most, kind, dtype = next(each for each in _UNSIGNED if each[0] == 2**bits - 1)
    low = float(numbers.min()) if numbers.size else 0.0
    span = float(numbers.max()) - low if numbers.size else 0.0
    step = span / most if span > 0.0 else 1.0
    stored = np.minimum(np.rint((numbers - low) / step), most)
    return {"type": kind, "low": low, "step": step, "data": _text(stored.astype(dtype))}


def shares(values: npt.ArrayLike, *, bits: int = 8) -> dict[str, Any]:
    """Shares from 0 to 1, to one part in 2^bits - 1."""
    dtype: type[np.unsignedinteger[Any]] = np.uint8 if bits == 8 else np.uint16
    most = 2**bits - 1
    stored = np.rint(np.clip(np.nan_to_num(np.asarray(values, dtype=np.float64)), 0.0, 1.0) * most)
    return {"type": f"u{bits}", "low": 0, "step": 1.0 / most, "data": _text(stored.astype(dtype))}


def read(column: dict[str, Any]) -> npt.NDArray[np.float64]:
    """What the page makes of a column."""
    dtype = {"u8": "<u1", "u16": "<u2", "u32": "<u4", "f32": "<f4"}[column["type"]]
    stored = np.frombuffer(base64.b64decode(column["data"]), dtype=dtype).astype(np.float64)
    return stored if column["type"] == "f32" else column["low"] + stored * column["step"]


def _text(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(values.astype(values.dtype.newbyteorder("<")).tobytes()).decode("ascii")
