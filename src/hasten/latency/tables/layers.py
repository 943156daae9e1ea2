"""Layer profiles: every layer of one model on one device, timed as the engine runs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hasten.latency.compiled import MeasuredAttention
from hasten.models import ModelShape, load_model

DATA = Path(__file__).parent / "data"

Array = npt.NDArray[np.float64]


def line_through(x: Array, y: Array, at: Any) -> Array:
    """``y`` at ``at``, linear between the rising ``x`` (along the last axis of y) and beyond both ends."""
    right = np.clip(np.searchsorted(x, at), 1, len(x) - 1)
    left = right - 1
    share = (np.asarray(at) - x[left]) / (x[right] - x[left])
    found: Array = y[..., left] + (y[..., right] - y[..., left]) * share
    return found


def power_through(x: Array, y: Array, at: Any) -> Array:
    """``y`` at ``at``, linear in the logs of both; outside, the first value and the last slope go on."""
    places = np.maximum(np.log(np.maximum(at, 1e-9)), np.log(x[0]))
    found: Array = np.exp(line_through(np.log(x), np.log(y), places))
    return found


class LayerProfile:
    """Times in seconds of one model's layers on one device by tokens, sequences, contexts and experts visited.

    ``columns`` are the packed arrays (microseconds), ``about`` says what was timed.
    """

    includes_router = True  # the time of the experts

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as stored:
            raw: dict[str, Any] = {key: stored[key] for key in stored.files}
        self.about: dict[str, Any] = json.loads(raw.pop("about").tobytes())
        self.columns: Mapping[str, Any] = raw

    def has(self, layer: str) -> bool:
        """Whether the layer was timed."""
        return (
            f"tokens_{layer}" in self.columns or f"sequences_{layer}" in self.columns or layer in self.columns
        )

    def has_attention(self) -> bool:
        """Whether attention was timed: in every profile."""
        return True

    def seconds(self, layer: str, units: Array) -> Array:
        """Seconds of one call of a layer on ``units`` tokens or sequences."""
        unit = "tokens" if f"tokens_{layer}" in self.columns else "sequences"
        axis = self.columns[unit].astype(np.float64)
        times = self.columns[f"{unit}_{layer}"].astype(np.float64) * 1e-6
        # Linear in between keeps the steps of whole waves; beyond the grid time grows with the tokens.
        inside = np.interp(units, axis, times)
        return np.asarray(inside * np.maximum(1.0, units / axis[-1]))

    def expert_seconds(self, tokens: Array, visited: Array) -> Array:
        """Seconds of one layer's experts on ``tokens`` tokens that visit so many of them (expected values)."""
        sizes = self.columns["expert_tokens"].astype(np.float64)
        counts = self.columns["expert_visited"].astype(np.float64)
        grid = _filled(self.columns["experts"].astype(np.float64) * 1e-6)
        by_tokens = np.stack([power_through(sizes, row, tokens) for row in grid.T])
        right = np.clip(np.searchsorted(counts, visited), 1, len(counts) - 1)
        pick = np.arange(len(tokens))
        share = (visited - counts[right - 1]) / (counts[right] - counts[right - 1])
        low, high = by_tokens[right - 1, pick], by_tokens[right, pick]
        return np.asarray(np.maximum(low + (high - low) * share, 0.5 * low))

    def attention(self, layers: int, max_num_seqs: int, max_tokens: int) -> MeasuredAttention:
        """Attention of ``layers`` equal layers, for the simulator."""
        raw = self.columns
        scale = layers * 1e-6
        # More cached tokens never cost less: what falls is noise.
        decode = scale * np.maximum.accumulate(raw["decode"].astype(np.float64), axis=1)
        beside = scale * np.maximum.accumulate(raw["mixed"].astype(np.float64), axis=2)
        counts = np.arange(max_num_seqs + 1)
        added = _by_count(raw["mixed_sequences"], beside, counts)
        return MeasuredAttention(
            [0, *raw["contexts"].tolist()],
            _with_first(_by_count(raw["decode_sequences"], decode, counts)),
            beside=(raw["chunks"].tolist(), [_with_first(rows) for rows in added]),
            prefill=(raw["pasts"].tolist(), self._prefill(scale, max_tokens)),
        )

    def _prefill(self, scale: float, max_tokens: int) -> list[list[float]]:
        chunks = self.columns["chunks"].astype(np.float64)
        times = scale * self.columns["prefill"].astype(np.float64)
        tokens = np.arange(max_tokens + 1)
        found: list[list[float]] = np.stack(
            [power_through(chunks, row, tokens) for row in times.T]
        ).T.tolist()
        return found

    @cached_property
    def shape(self) -> ModelShape:
        """The model whose layers were timed."""
        return load_model(self.about["model"])


def _by_count(axis: Any, values: Array, counts: Any) -> Any:
    """Rows for every number of sequences: linear between those measured, in proportion beyond."""
    moved = np.moveaxis(values, -2, -1)  # [..., context, sequences]
    zero = np.zeros((*moved.shape[:-1], 1))
    full = np.concatenate([zero, moved], axis=-1)
    found = line_through(np.concatenate([[0.0], axis.astype(np.float64)]), full, counts)
    return np.moveaxis(found, -1, 0)  # [n, ..., context]


def _with_first(rows: Any) -> list[Any]:
    """Rows by context with a first column for context 0, equal to that of the shortest one."""
    found: list[Any] = np.concatenate([rows[..., :1], rows], axis=-1).tolist()
    return found


def _filled(grid: Array) -> Array:
    """Times by (tokens, experts visited), with gaps (more experts than pairs) as of the next larger batch."""
    found = grid.copy()
    for column in found.T:
        known = np.flatnonzero(~np.isnan(column))
        column[: known[0]] = column[known[0]]
    return found


def same_layers(one: ModelShape, other: ModelShape) -> bool:
    """Whether two models have equal layers and heads, whatever their names and number of layers."""
    return (
        one.hidden == other.hidden
        and one.vocab == other.vocab
        and one.dtype_bytes == other.dtype_bytes
        and one.quantisation is None
        and other.quantisation is None
        and [(each.attention, each.ffn) for each in one.layers]
        == [(each.attention, each.ffn) for each in other.layers]
    )


def profile_paths() -> list[Path]:
    """Files of the shipped profiles, sorted."""
    return sorted(DATA.glob("layers-*.npz"))


@lru_cache(maxsize=32)
def _load(path: Path) -> LayerProfile:
    return LayerProfile(path)


@lru_cache(maxsize=128)
def find_profile(model: ModelShape, device: str, tp: int) -> LayerProfile | None:
    """The profile of a model with the same layers on a device, its matrices split ``tp`` ways; None: there is none."""
    for path in sorted(DATA.glob(f"layers-{device}-*-tp{tp}.npz")):
        profile = _load(path)
        if same_layers(profile.shape, model):
            return profile
    return None
