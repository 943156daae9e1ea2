"""How well layer profiles are interpolated: every second shape left out and predicted from the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hasten.accuracy.recorded import Floats
from hasten.latency.tables.layers import LayerProfile, line_through, power_through

Interpolation = Callable[[Floats, Floats, Any], Floats]


def left_out(path: Path) -> dict[str, Floats]:
    """Relative errors (predicted / measured - 1) by kind of layer, of the shapes that were left out.

    Along one axis at a time: tokens or sequences of dense layers, past and chunk of prefill attention, contexts
    and sequences of decode attention, contexts of decodes beside a prefill.
    """
    raw = LayerProfile(path).columns
    found: dict[str, list[Floats]] = {}
    for name, times in raw.items():
        unit = name.partition("_")[0]
        if unit in ("tokens", "sequences") and name != unit:
            kind = "head and sampler" if unit == "sequences" else "dense"
            found.setdefault(kind, []).append(_every_second(raw[unit], times, line_through))
    prefill = raw["prefill"]
    found["prefill attention"] = [
        _every_second(raw["chunks"], prefill.T, power_through),
        _every_second(raw["pasts"], prefill, line_through),
    ]
    decode = raw["decode"]
    found["decode attention"] = [
        _every_second(raw["contexts"], decode, line_through),
        _every_second(raw["decode_sequences"], decode.T, line_through),
    ]
    found["decodes beside a prefill"] = [_every_second(raw["contexts"], raw["mixed"], line_through)]
    return {kind: np.concatenate(parts) for kind, parts in found.items()}


def _every_second(axis: Any, values: Any, through: Interpolation) -> Floats:
    """Errors at every second place of the last axis, predicted from the others; the ends stay."""
    places = axis.astype(np.float64)
    left = np.arange(1, len(places) - 1, 2)
    kept = np.setdiff1d(np.arange(len(places)), left)
    rows = values.reshape(-1, len(places)).astype(np.float64)
    predicted = through(places[kept], rows[:, kept], places[left])
    errors: Floats = (predicted / rows[:, left] - 1.0).ravel()
    return errors
