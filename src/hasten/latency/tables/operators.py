"""Operator tables: single kernels by shape, timed on one device; combined into the layers of any model.

Between shapes, the log of measured over data sheet seconds is interpolated (`surface.py`), times that can't be right
aside. Nothing was timed for a prefill behind cached tokens: each pair of a new and a cached token is taken to cost
what a pair costs in the longest prefill timed, and the cached keys and values at least their reading. Nothing was
timed for decodes beside a prefill either: they cost as many times more as the data sheet model says.
"""

from __future__ import annotations

import json
from functools import cached_property, lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hasten.hardware import load_device
from hasten.latency.compiled import MeasuredAttention
from hasten.latency.tables.ideals import Ideals
from hasten.latency.tables.layers import DATA, Array
from hasten.latency.tables.surface import Surface, level_through

if TYPE_CHECKING:
    from hasten.latency.tables.model import TableModel

SCALE = 1024.0
UNKNOWN = -32768
FURTHEST = 1 << 17  # tokens: a prefill's cost is a line in its past, given at 0 and here
FEWEST = 8  # token counts that must be timed before a product's times are used


class OperatorTables:
    """Times in seconds of single kernels on one device: matrix products, attention, experts, collectives.

    A table is unpacked when it is first asked for.
    """

    def __init__(self, path: Path) -> None:
        self._stored: Any = np.load(BytesIO(path.read_bytes()), allow_pickle=False)
        self._names = frozenset(self._stored.files)
        self._surfaces: dict[str, Surface] = {}
        self.about: dict[str, Any] = json.loads(self._stored["about"].tobytes())

    @property
    def names(self) -> list[str]:
        """The tables, sorted."""
        return sorted(name for name in self._names if "." not in name and name != "about")

    @property
    def has_attention(self) -> bool:
        """Whether attention was timed, not products alone."""
        return any(name.startswith("decode") for name in self._names)

    @cached_property
    def ideals(self) -> Ideals:
        """Data sheet seconds of the kernels on this device."""
        return Ideals(load_device(self.about["device"]))

    def has(self, name: str) -> bool:
        """Whether there is a table of this name."""
        return name in self._names

    def axes(self, name: str) -> list[Array]:
        """The shapes of a table along each axis, rising."""
        dimensions = len([key for key in self._names if key.startswith(f"{name}.")])
        return [self._stored[f"{name}.{i}"].astype(np.float64) for i in range(dimensions)]

    def seconds(self, name: str) -> Array:
        """The times of a table as they were measured; NaN where a shape was not timed."""
        packed = self._stored[name]
        found: Array = np.where(packed == UNKNOWN, np.nan, np.exp2(packed / SCALE) * 1e-6)
        return found

    def surface(self, name: str) -> Surface:
        """A table to be read between its shapes."""
        if name not in self._surfaces:
            ideal, floor = self.ideals.of(name)
            self._surfaces[name] = Surface(self.axes(name), self.seconds(name), ideal=ideal, floor=floor)
        return self._surfaces[name]

    def product_seconds(self, dtype: str, tokens: Array, n_out: int, n_in: int) -> Array | None:
        """Seconds of a product of [tokens, n_in] by [n_in, n_out]; None outside the shapes timed.

        More outputs than were timed (output heads) count as several products of half, a quarter ... as many.
        """
        name = f"gemm-{dtype}"
        if not self.has(name):
            return None
        surface = self.surface(name)
        m, n, k = surface.axes
        times = 1
        while n_out / times > n[-1]:
            times *= 2
        if not (n[0] <= n_out / times and k[0] <= n_in <= k[-1]):
            return None
        levels = np.zeros(len(m))
        for place, share in _corners((n, n_out / times), (k, n_in)):
            levels += share * surface.ratio[:, place[0], place[1]]
        if np.count_nonzero(~np.isnan(levels)) < FEWEST:
            return None
        shape = (tokens, n_out / times, n_in)
        found = surface.ideal(*shape) * np.exp(level_through(m, levels, tokens))
        seconds: Array = times * np.maximum(found, self.ideals.product_floor(dtype, *shape))
        return seconds

    def collective_seconds(self, kind: str, devices: int, size: Array) -> Array | None:
        """Seconds of a collective of ``size`` bytes among so many devices; None when they weren't timed."""
        if not self.has(kind):
            return None
        surface = self.surface(kind)
        groups, sizes = surface.axes
        if devices not in groups:
            return None
        levels = surface.ratio[int(np.searchsorted(groups, devices))]
        found: Array = surface.ideal(devices, size) * np.exp(level_through(sizes, levels, size))
        return found

    def attention(self, name: str, heads: float, kv_heads: int) -> tuple[Surface, tuple[int, int]] | None:
        """The table of attention and the place of one configuration of heads in it: by tokens, or by sequences
        and context."""
        if not self.has(name):
            return None
        surface = self.surface(name)
        axes = surface.axes
        if heads not in axes[0] or kv_heads not in axes[1]:
            return None
        place = int(np.searchsorted(axes[0], heads)), int(np.searchsorted(axes[1], kv_heads))
        return None if np.isnan(surface.seconds[place]).all() else (surface, place)


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
        return self._expert_row is not None if layer == "experts" else layer in self._known

    def seconds(self, layer: str, units: Array) -> Array:
        """Seconds of one call of a layer on ``units`` tokens or sequences."""
        dtype, n_out, n_in = self._known[layer]
        found = self.tables.product_seconds(dtype, np.maximum(units, 1.0), n_out, n_in)
        return units * np.nan if found is None else found

    @cached_property
    def _expert_row(self) -> tuple[Surface, int] | None:
        """The table of the model's experts, and the place in it of their width on one device."""
        model = self._model.model
        split = self._model.parallelism
        if split.ep > 1 or not model.is_mixture:
            return None
        ffns = {group.ffn for group in model.layers if group.ffn.is_mixture}
        dtypes = {each.dtype for each in self._model.forward.operators if each.name == "expert_down_proj"}
        if len(ffns) != 1 or len(dtypes) != 1:
            return None
        ffn = next(iter(ffns))
        name = f"experts-{next(iter(dtypes))}-{model.hidden}-{ffn.experts}-{ffn.top_k}"
        width = ffn.intermediate / split.tp
        if not self.tables.has(name) or width not in self.tables.axes(name)[0]:
            return None
        surface = self.tables.surface(name)
        return surface, int(np.searchsorted(surface.axes[0], width))

    def expert_seconds(self, tokens: Array, visited: Array) -> Array:
        """Seconds of one layer's experts on ``tokens`` tokens, with the routing that was timed."""
        if self._expert_row is None:
            raise LookupError("no experts were timed for these shapes: ask has first")
        surface, place = self._expert_row
        widths, sizes = surface.axes
        levels = level_through(sizes, surface.ratio[place], tokens)
        found: Array = surface.ideal(widths[place], tokens) * np.exp(levels)
        return found

    def has_attention(self) -> bool:
        """Whether attention of the model's heads was timed."""
        return self._attention_tables() is not None

    def _attention_tables(self) -> tuple[tuple[Surface, tuple[int, int]], ...] | None:
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
        (prefill, at), (decode, place) = found
        contexts = decode.axes[3]
        cost = self._model.forward.attentions[0]
        reading = self._model.own_byte_seconds * cost.decode_seen_bytes / cost.layers
        rows = _decode_rows(decode, place, max_num_seqs, reading)
        rho = cost.mixed_slowdown(self._model.mixed_sigma)
        tokens = np.arange(max_tokens + 1, dtype=np.float64)
        alone = _prefill_row(prefill, at, np.maximum(tokens, 1.0))
        longest = prefill.axes[2][-1:]
        pair = _prefill_row(prefill, at, longest) / (0.5 * longest * (longest + 1.0))
        behind = alone + FURTHEST * np.maximum(pair * tokens, reading)
        knots = [0, *contexts.astype(int).tolist()]
        decoding = layers * np.concatenate([rows[:, :1], rows], axis=1)
        return MeasuredAttention(
            knots,
            decoding.tolist(),
            beside=([1], (rho * decoding)[:, None, :].tolist()),
            prefill=([0, FURTHEST], (layers * np.stack([alone, behind], axis=1)).tolist()),
        )


def _prefill_row(surface: Surface, place: tuple[int, int], tokens: Array) -> Array:
    """Seconds of prompts of so many tokens."""
    heads, kv_heads, sizes = surface.axes
    levels = level_through(sizes, surface.ratio[place], tokens)
    found: Array = surface.ideal(heads[place[0]], kv_heads[place[1]], tokens) * np.exp(levels)
    return found


def _decode_rows(surface: Surface, place: tuple[int, int], most: int, reading: float) -> Array:
    """Seconds by number of sequences (0 to ``most``) and context.

    Batches too large to be timed reach what the largest timed one of the same context does, and contexts that were
    never timed what the one before does. Not below the reading of the cache.
    """
    heads, kv_heads, sequences, contexts = surface.axes
    counts = np.maximum(np.arange(most + 1, dtype=np.float64), 1.0)
    levels = surface.ratio[place]
    columns: list[Array] = []
    for column in levels.T:
        timed = not np.isnan(column).all()
        columns.append(level_through(sequences, column, counts) if timed else columns[-1])
    shape = (heads[place[0]], kv_heads[place[1]], counts[:, None], contexts[None, :])
    rows = surface.ideal(*shape) * np.exp(np.stack(columns, axis=1))
    floor = reading * counts[:, None] * contexts[None, :]
    rows = np.maximum(np.maximum.accumulate(rows, axis=1), floor)
    rows[0] = 0.0
    return np.asarray(rows)


def operator_paths() -> list[Path]:
    """Files of the shipped operator tables, sorted."""
    return sorted(DATA.glob("operators-*.npz"))


@lru_cache(maxsize=16)
def find_operators(device: str) -> OperatorTables | None:
    """The operator tables of a device by its name; None: there are none."""
    path = DATA / f"operators-{device}.npz"
    return OperatorTables(path) if path.exists() else None
