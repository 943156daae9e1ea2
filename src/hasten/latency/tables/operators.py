"""Operator tables: single kernels by shape, timed on one device; combined into the layers of any model.

Between shapes, times are interpolated in the logs of time and size, where they are smooth. Nothing was timed
for a prefill behind cached tokens: each pair of a new and a cached token is taken to cost what a pair costs in
the longest prefill timed, and the cached keys and values at least their reading. Nothing was timed for decodes
beside a prefill either: they cost as many times more as the data sheet model says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hasten.latency.compiled import MeasuredAttention
from hasten.latency.tables.layers import DATA, Array, power_through

if TYPE_CHECKING:
    from hasten.latency.tables.model import TableModel

SCALE = 1024.0
UNKNOWN = -32768
FURTHEST = 1 << 17  # tokens: a prefill's cost is a line in its past, given at 0 and here


class OperatorTables:
    """Times in seconds of single kernels on one device: matrix products, attention, experts, collectives."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as stored:
            raw: dict[str, Any] = {key: stored[key] for key in stored.files}
        self.about: dict[str, Any] = json.loads(raw.pop("about").tobytes())
        self.columns: Mapping[str, Any] = raw

    def has(self, name: str) -> bool:
        """Whether there is a table of this name."""
        return name in self.columns

    def axes(self, name: str) -> list[Array]:
        """The shapes of a table along each axis, rising."""
        return [self.columns[f"{name}.{i}"].astype(np.float64) for i in range(self.columns[name].ndim)]

    def log_seconds(self, name: str, *index: Any) -> Array:
        """Natural logs of the seconds of a table's entries; NaN where a shape was not timed."""
        packed = self.columns[name][index]
        found: Array = np.where(packed == UNKNOWN, np.nan, packed / SCALE * np.log(2.0) + np.log(1e-6))
        return found

    def product_seconds(self, dtype: str, tokens: Array, n_out: int, n_in: int) -> Array | None:
        """Seconds of a product of [tokens, n_in] by [n_in, n_out]; None outside the shapes timed.

        More outputs than were timed (output heads) count as several products of half, a quarter ... as many.
        """
        name = f"gemm-{dtype}"
        if not self.has(name):
            return None
        m, n, k = self.axes(name)
        times = 1
        while n_out / times > n[-1]:
            times *= 2
        if not (n[0] <= n_out / times and k[0] <= n_in <= k[-1]):
            return None
        total = np.zeros(len(m))
        for place, share in _corners((n, n_out / times), (k, n_in)):
            total += share * self.log_seconds(name, slice(None), *place)
        known = ~np.isnan(total)
        if known.sum() < 8:
            return None
        return times * power_through(m[known], np.exp(total[known]), tokens)

    def collective_seconds(self, kind: str, devices: int, size: Array) -> Array | None:
        """Seconds of a collective of ``size`` bytes among so many devices; None when they weren't timed."""
        if not self.has(kind):
            return None
        groups, sizes = self.axes(kind)
        if devices not in groups:
            return None
        times = self.log_seconds(kind, int(np.searchsorted(groups, devices)))
        known = ~np.isnan(times)
        return power_through(sizes[known], np.exp(times[known]), size)

    def attention(self, name: str, heads: float, kv_heads: int) -> tuple[list[Array], Array] | None:
        """Axes and seconds of one configuration of heads: by tokens, or by sequences and context."""
        if not self.has(name):
            return None
        axes = self.axes(name)
        if heads not in axes[0] or kv_heads not in axes[1]:
            return None
        place = int(np.searchsorted(axes[0], heads)), int(np.searchsorted(axes[1], kv_heads))
        times = np.exp(self.log_seconds(name, *place))
        return None if np.isnan(times).all() else (axes[2:], times)


def _corners(*sides: tuple[Array, float]) -> list[tuple[tuple[int, ...], float]]:
    """Places around a point and their shares, linear in the log of every side; exact places count alone."""
    found: list[tuple[tuple[int, ...], float]] = [((), 1.0)]
    for axis, at in sides:
        right = int(np.clip(np.searchsorted(axis, at), 1, len(axis) - 1))
        share = float(np.log(at / axis[right - 1]) / np.log(axis[right] / axis[right - 1]))
        both = ((right - 1, 1.0 - share), (right, share))
        found = [((*place, i), weight * w) for place, weight in found for i, w in both if w != 0.0]
    return found


class BoundOperators:
    """The operator tables of a device as the layers of one model under one split."""

    includes_router = False

    def __init__(self, tables: OperatorTables, model: TableModel) -> None:
        self.tables = tables
        self.about = tables.about
        self._model = model
        self._known: dict[str, tuple[str, int, int]] = {}
        doubtful = set()
        for operator, shape in model.products():
            product = (operator.dtype, *shape)
            if self._known.setdefault(operator.name, product) != product:
                doubtful.add(operator.name)  # layers of two shapes go by one name
            if tables.product_seconds(operator.dtype, np.array([1.0]), *shape) is None:
                doubtful.add(operator.name)
        for name in doubtful:
            del self._known[name]

    def has(self, layer: str) -> bool:
        """Whether the layer's shape lies within the tables."""
        return self._expert_table is not None if layer == "experts" else layer in self._known

    def seconds(self, layer: str, units: Array) -> Array:
        """Seconds of one call of a layer on ``units`` tokens or sequences."""
        dtype, n_out, n_in = self._known[layer]
        found = self.tables.product_seconds(dtype, np.maximum(units, 1.0), n_out, n_in)
        return units * np.nan if found is None else found

    @property
    def _expert_table(self) -> str | None:
        model = self._model.model
        split = self._model.parallelism
        if split.ep > 1 or not model.is_mixture:
            return None
        ffns = {group.ffn for group in model.layers if group.ffn.is_mixture}
        dtypes = {each.dtype for each in self._model.forward.operators if each.name == "expert_down_proj"}
        if len(ffns) != 1 or len(dtypes) != 1:
            return None
        ffn = next(iter(ffns))
        shape = f"{model.hidden}-{ffn.intermediate}-{ffn.experts}-{ffn.top_k}-{split.tp}"
        name = f"experts-{next(iter(dtypes))}-{shape}"
        return name if self.tables.has(name) else None

    def expert_seconds(self, tokens: Array, visited: Array) -> Array:
        """Seconds of one layer's experts on ``tokens`` tokens, with the routing that was timed."""
        name = self._expert_table or ""
        times = np.exp(self.tables.log_seconds(name, slice(None)))
        return power_through(self.tables.axes(name)[0], times, tokens)

    def has_attention(self) -> bool:
        """Whether attention of the model's heads was timed."""
        return self._attention_tables() is not None

    def _attention_tables(self) -> tuple[tuple[list[Array], Array], tuple[list[Array], Array]] | None:
        model, split = self._model.model, self._model.parallelism
        kinds = {group.attention for group in model.layers}
        if len(kinds) != 1:
            return None
        attention = next(iter(kinds))
        size = self._model.kv_dtype_bytes or model.dtype_bytes
        if attention.kind != "gqa" or attention.window is not None or attention.sinks or size not in (1, 2):
            return None
        heads, shared = attention.heads / split.tp, -(-attention.kv_heads // split.tp)
        cache = f"{attention.head_dim}-{'fp8' if size == 1 else 'bf16'}"
        prefill = self.tables.attention(f"prefill-{cache}", heads, shared)
        # Without sharing of keys and values, configurations are listed under as many KV heads as heads.
        decode = self.tables.attention(f"decode-{cache}", heads, shared)
        return None if prefill is None or decode is None else (prefill, decode)

    def attention(self, layers: int, max_num_seqs: int, max_tokens: int) -> MeasuredAttention:
        """Attention of ``layers`` equal layers, for the simulator."""
        found = self._attention_tables()
        if found is None:
            raise LookupError("no attention was timed for these heads: ask has_attention first")
        ((chunks,), prefill), ((sequences, contexts), decode) = found
        cost = self._model.forward.attentions[0]
        reading = self._model.byte_seconds * cost.decode_seen_bytes / cost.layers
        rows = _decode_rows(sequences, contexts, decode, max_num_seqs, reading)
        rho = cost.mixed_slowdown(self._model.mixed_sigma)
        tokens = np.arange(max_tokens + 1, dtype=np.float64)
        alone = power_through(chunks, prefill, np.maximum(tokens, 1.0))
        pair = prefill[-1] / (0.5 * chunks[-1] * (chunks[-1] + 1.0))
        behind = alone + FURTHEST * np.maximum(pair * tokens, reading)
        knots = [0, *contexts.astype(int).tolist()]
        decoding = layers * np.concatenate([rows[:, :1], rows], axis=1)
        return MeasuredAttention(
            knots,
            decoding.tolist(),
            beside=([1], (rho * decoding)[:, None, :].tolist()),
            prefill=([0, FURTHEST], (layers * np.stack([alone, behind], axis=1)).tolist()),
        )


def _decode_rows(sequences: Array, contexts: Array, times: Array, most: int, reading: float) -> Array:
    """Seconds by number of sequences (0 to ``most``) and context; untimed large batches in proportion.

    Not below the reading of the cache where a batch is large enough for its reading to count.
    """
    filled = times.copy()
    for i in range(len(sequences)):
        for j in range(len(contexts)):
            if np.isnan(
                filled[i, j]
            ):  # too large for the device's memory: as the largest known, in proportion
                known = np.flatnonzero(~np.isnan(filled[:i, j]))
                if len(known):
                    filled[i, j] = filled[known[-1], j] * sequences[i] / sequences[known[-1]]
                else:
                    filled[i, j] = filled[i, j - 1] * contexts[j] / contexts[j - 1]
    counts = np.maximum(np.arange(most + 1, dtype=np.float64), 1.0)
    rows = np.stack([power_through(sequences, column, counts) for column in filled.T], axis=1)
    floor = reading * counts[:, None] * contexts[None, :]
    rows = np.maximum(np.maximum.accumulate(rows, axis=1), floor)
    rows[0] = 0.0
    return rows


def operator_paths() -> list[Path]:
    """Files of the shipped operator tables, sorted."""
    return sorted(DATA.glob("operators-*.npz"))


@lru_cache(maxsize=16)
def find_operators(device: str) -> OperatorTables | None:
    """The operator tables of a device by its name; None: there are none."""
    path = DATA / f"operators-{device}.npz"
    return OperatorTables(path) if path.exists() else None
