"""Gaps between output tokens, pooled over all requests: exact statistics without one entry per token.

A stretch of k decode steps of n sequences yields k gaps `first, first + increment, ...`, each n times.
That is one entry here, whatever k and n are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

EXPANSION_LIMIT = 1_000_000  # distinct values sorted at once; more are narrowed down first
CHUNK = 1 << 17  # entries per pass, so that temporaries stay in cache
SAMPLE = 16_384  # entries that place a pivot
MARGIN = 0.008  # pivots stand this share of ranks left and right of the one that is wanted


@dataclass(frozen=True, slots=True)
class _Chunk:
    first: Floats
    increment: Floats
    count: Ints
    weight: Ints

    def value(self, index: Ints) -> Floats:
        """Gap number `index` of every entry, in seconds: the one formula, so that ties stay ties."""
        return self.first + self.increment * index

    def where(self, keep: npt.NDArray[np.bool_]) -> _Chunk:
        return _Chunk(self.first[keep], self.increment[keep], self.count[keep], self.weight[keep])


class _Edge(NamedTuple):
    value: float  # seconds
    below: int  # gaps smaller than it, each with its weight
    distinct_below: int  # the same without weights


class Gaps:
    """Gaps between output tokens in seconds, as arithmetic progressions with a weight.

    Args:
        first, increment: seconds, one per entry; increments are 0 or more (contexts only grow).
        count, weight: entry i stands for count[i] values `first[i] + j * increment[i]`, each weight[i] times.
        start: seconds at which the stretch begins, one per entry; needed by `between` alone.

    Raises ValueError for columns of different length or negative gaps, increments, counts and weights.
    """

    __slots__ = ("count", "first", "increment", "start", "total", "weight")

    def __init__(
        self,
        first: npt.ArrayLike,
        increment: npt.ArrayLike,
        count: npt.ArrayLike,
        weight: npt.ArrayLike,
        *,
        start: npt.ArrayLike | None = None,
    ) -> None:
        self.first = np.asarray(first, dtype=np.float64)
        self.increment = np.asarray(increment, dtype=np.float64)
        self.count = np.asarray(count, dtype=np.int32)
        self.weight = np.asarray(weight, dtype=np.int32)
        self.start = None if start is None else np.asarray(start, dtype=np.float64)
        columns: list[npt.NDArray[Any]] = [self.first, self.increment, self.count, self.weight]
        shapes = [column.shape for column in columns] + ([] if self.start is None else [self.start.shape])
        if len(set(shapes)) != 1 or self.first.ndim != 1:
            raise ValueError(f"gap columns must be one-dimensional and equally long, not of shapes {shapes}")
        if any(column.size and not column.min() >= 0 for column in columns):
            raise ValueError("gap columns hold a negative or undefined value")
        self.total = sum(int(np.dot(c.count, c.weight)) for c in self._chunks())  # gaps, each with its weight

    @classmethod
    def from_values(cls, values: npt.ArrayLike) -> Self:
        """Gaps given one by one in seconds, for example by a load generator."""
        first = np.asarray(values, dtype=np.float64)
        ones = np.ones(first.shape, dtype=np.int32)
        return cls(first, np.zeros(first.shape), ones, ones)

    @classmethod
    def pooled(cls, parts: Sequence[Gaps]) -> Self:
        """All gaps of `parts` together, for example of replicas; starts survive if every part has them."""
        starts = [part.start for part in parts if part.start is not None]
        return cls(
            np.concatenate([part.first for part in parts] or [np.zeros(0)]),
            np.concatenate([part.increment for part in parts] or [np.zeros(0)]),
            np.concatenate([part.count for part in parts] or [np.zeros(0, np.int32)]),
            np.concatenate([part.weight for part in parts] or [np.zeros(0, np.int32)]),
            start=np.concatenate(starts) if starts and len(starts) == len(parts) else None,
        )

    def between(self, begin: float, end: float) -> Self:
        """The stretches that start in [begin, end) seconds; raise ValueError when no starts were recorded."""
        if self.start is None:
            raise ValueError("these gaps carry no start times, so they can't be cut to a window")
        keep = (self.start >= begin) & (self.start < end)
        columns = (self.first, self.increment, self.count, self.weight)
        return type(self)(*(column[keep] for column in columns), start=self.start[keep])

    def expand(self) -> tuple[Floats, Ints]:
        """Every value in seconds with its weight; as long as the sum of counts."""
        parts = [_expand(chunk, np.zeros_like(chunk.count), chunk.count) for chunk in self._chunks()]
        values, weights = zip(*parts, strict=True) if parts else ((np.zeros(0),), (np.zeros(0, np.int64),))
        return np.concatenate(values), np.concatenate(weights)

    def mean(self) -> float:
        """Mean gap in seconds, weighted by tokens; NaN without a gap."""
        if not self.total:
            return math.nan
        sums = [
            float(np.sum(c.weight * (c.count * c.first + c.increment * (c.count * (c.count - 1) // 2))))
            for c in self._chunks()
        ]
        return math.fsum(sums) / self.total

    def std(self) -> float:
        """Standard deviation in seconds (of the population, as numpy's default); NaN without a gap."""
        if not self.total:
            return math.nan
        mean = self.mean()
        sums = []
        for c in self._chunks():
            offset, k = c.first - mean, c.count
            ramp = k * (k - 1) // 2  # sum of j for j < k; the sum of squares is ramp * (2k - 1) / 3
            squares = (
                k * offset**2 + 2 * offset * c.increment * ramp + c.increment**2 * (ramp * (2 * k - 1) / 3)
            )
            sums.append(float(np.sum(c.weight * squares)))
        return math.sqrt(max(0.0, math.fsum(sums) / self.total))

    def percentiles(self, q: Sequence[float]) -> list[float]:
        """Percentiles `q` (0 to 100) in seconds, as numpy.percentile (linear) of all gaps written out.

        NaN for every q without a gap; raise ValueError for a q outside [0, 100].
        """
        if any(not 0 <= each <= 100 for each in q):
            raise ValueError(f"percentiles must lie in [0, 100]: {list(q)}")
        if not self.total:
            return [math.nan for _ in q]
        positions = [(self.total - 1) * (each / 100) for each in q]
        ranks = sorted({min(math.floor(p) + extra, self.total - 1) for p in positions for extra in (0, 1)})
        values = self._order_statistics(ranks)
        results = []
        for position in positions:
            rank = math.floor(position)
            low, high = values[rank], values[min(rank + 1, self.total - 1)]
            share = position - rank
            # numpy interpolates from the nearer side, which keeps the result monotone in rounding
            results.append(low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share))
        return results

    def _chunks(self) -> Iterator[_Chunk]:
        for begin in range(0, self.first.size, CHUNK):
            part = slice(begin, begin + CHUNK)
            yield _Chunk(
                self.first[part],
                self.increment[part],
                self.count[part].astype(np.int64),
                self.weight[part].astype(np.int64),
            )

    def _order_statistics(self, ranks: Sequence[int]) -> dict[int, float]:
        """The values at 0-based `ranks` (ascending) of all gaps in ascending order."""
        if int(self.count.sum(dtype=np.int64)) <= EXPANSION_LIMIT:
            return _pick(*self.expand(), ranks)
        found: dict[int, float] = {}
        for rank in ranks:
            if rank not in found:
                found |= self._narrow(rank, [each for each in ranks if each not in found])
        return found

    def _narrow(self, rank: int, ranks: Sequence[int]) -> dict[int, float]:
        """Close in on `rank` with pivots from a sample; answer for all of `ranks` that were caught with it.

        Invariant: the value lies in [low, high). Every round drops at least the values equal to one pivot, so
        it ends; usually after one round.
        """
        step = max(1, self.first.size // SAMPLE)
        part = slice(step // 2, None, step)
        sample = Gaps(self.first[part], self.increment[part], self.count[part], self.weight[part])
        low, high = self._edge(-math.inf), self._edge(math.inf)
        while True:
            pivots = _pivots(sample, low.value, high.value, (rank - low.below) / (high.below - low.below))
            left, right = map(self._edge, pivots or self._any_value(low.value, high.value))
            if rank < left.below:
                high = left
            elif rank >= right.below:
                low = right
            elif right.value == np.nextafter(left.value, np.inf):
                return {each: left.value for each in ranks if left.below <= each < right.below}
            else:
                low, high = left, right
            if high.distinct_below - low.distinct_below <= EXPANSION_LIMIT:
                caught = [each - low.below for each in ranks if low.below <= each < high.below]
                picked = _pick(*self._collect(low.value, high.value), caught)
                return {each + low.below: value for each, value in picked.items()}

    def _edge(self, value: float) -> _Edge:
        """A limit in seconds with the number of gaps below it."""
        below = distinct = 0
        for chunk in self._chunks():
            indices = _index_below(chunk, value)
            below += int(np.dot(indices, chunk.weight))
            distinct += int(indices.sum())
        return _Edge(value, below, distinct)

    def _collect(self, low: float, high: float) -> tuple[Floats, Ints]:
        """Every value in [low, high) seconds with its weight."""
        parts = [_expand(c, _index_below(c, low), _index_below(c, high)) for c in self._chunks()]
        values, weights = zip(*parts, strict=True)
        return np.concatenate(values), np.concatenate(weights)

    def _any_value(self, low: float, high: float) -> tuple[float, float]:
        """A value in [low, high) and the next float: pivots for when the sample has run dry."""
        for chunk in self._chunks():
            indices = _index_below(chunk, low)
            inside = np.flatnonzero(indices < _index_below(chunk, high))
            if inside.size:
                value = float(chunk.value(indices)[inside[inside.size // 2]])
                return value, float(np.nextafter(value, np.inf))
        raise AssertionError("the interval holds the wanted rank, so it holds a value")


def _expand(chunk: _Chunk, begin: Ints, end: Ints) -> tuple[Floats, Ints]:
    """Values number [begin, end) of every entry with their weights."""
    lengths = end - begin
    entry = np.repeat(np.arange(lengths.size), lengths)
    index = np.arange(entry.size) - np.repeat(np.cumsum(lengths) - lengths, lengths) + begin[entry]
    return chunk.first[entry] + chunk.increment[entry] * index, chunk.weight[entry]


def _pick(values: Floats, weights: Ints, ranks: Sequence[int]) -> dict[int, float]:
    """The values at 0-based `ranks` when each value counts `weights` times."""
    order = np.argsort(values)
    upto = np.cumsum(weights[order])
    return {rank: float(values[order[np.searchsorted(upto, rank, side="right")]]) for rank in ranks}


def _index_below(chunk: _Chunk, limit: float) -> Ints:
    """For every entry, how many of its values are smaller than `limit` seconds, as they are rounded."""
    if not math.isfinite(limit):
        return chunk.count if limit > 0 else np.zeros_like(chunk.count)
    flat = np.where(chunk.first < limit, chunk.count, 0)
    rising = chunk.increment > 0
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        steps = np.ceil((limit - chunk.first) / chunk.increment)
    index = np.where(rising, np.clip(np.nan_to_num(steps), 0, chunk.count).astype(np.int64), flat)
    # Division rounds: move by one, then bisect the few that are still wrong (increments near one rounding).
    index -= (index > 0) & (chunk.value(index - 1) >= limit)
    index += (index < chunk.count) & (chunk.value(index) < limit)
    too_high = (index > 0) & (chunk.value(index - 1) >= limit)
    wrong = too_high | ((index < chunk.count) & (chunk.value(index) < limit))
    if wrong.any():
        index[wrong] = _bisect_below(chunk.where(wrong), limit)
    return index


def _bisect_below(chunk: _Chunk, limit: float) -> Ints:
    low, high = np.zeros_like(chunk.count), chunk.count.copy()
    while (low < high).any():
        middle = (low + high) // 2
        smaller = (chunk.value(middle) < limit) & (low < high)
        low, high = np.where(smaller, middle + 1, low), np.where(smaller | (low >= high), high, middle)
    return low


def _pivots(sample: Gaps, low: float, high: float, share: float) -> tuple[float, float] | None:
    """Two values of the sample in [low, high) around the wanted share of ranks; None where it holds none."""
    values, weights = [], []
    for chunk in sample._chunks():
        begin, end = _index_below(chunk, low), _index_below(chunk, high)
        inside = begin < end
        part = chunk.where(inside)
        for eighth in range(8):  # a few values of every stretch, not all: a stretch may be long
            values.append(part.value((begin + (end - begin) * (2 * eighth + 1) // 16)[inside]))
            weights.append(part.weight * (end - begin)[inside])
    pool = np.concatenate(values)
    if not pool.size:
        return None
    order = np.argsort(pool)
    upto = np.cumsum(np.concatenate(weights)[order])
    targets = np.clip([share - MARGIN, share + MARGIN], 0, 1) * upto[-1]
    left, right = pool[order[np.minimum(np.searchsorted(upto, targets, side="right"), pool.size - 1)]]
    return float(left), float(right if right > left else np.nextafter(left, np.inf))
