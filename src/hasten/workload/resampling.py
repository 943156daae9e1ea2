"""New traffic of the same kind: what a trace could have been on another day, as far as the trace itself can tell."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from hasten.workload.columns import Floats, LongInts
from hasten.workload.joins import ragged_joins
from hasten.workload.workload import Workload

PARTS = (2, 4, 8)
"""Into so many parts a trace is cut to see how its load drifts."""

_NARROW = ("prompt_tokens", "output_tokens", "priority", "max_tokens", "tool", "think_s")

Draw = np.random.Generator


class Resampler:
    """Draws new traffic from a workload.

    What is drawn are runs of consecutive requests with their gaps, so that bursts stay whole (block bootstrap; Kuensch,
    "The jackknife and the bootstrap for general stationary observations", 1989). How long bursts are nobody knows, so
    each draw has runs of another length, from single requests, which may meet in worse ways than they did, to an eighth
    of the trace, by factors equally likely. They are drawn from a draw: the trace at hand differs from the truth behind
    it by as much as new traffic does, and so new traffic differs from the trace by both. Last, the traffic moves as a
    whole: its rate, its prompts and its answers walk at random, together, and how far they go over the length of the
    trace is taken from how they move between its neighbouring halves, quarters and eighths, beyond what draws show
    there.

    Requests of a session or program stay together. A prompt that is drawn again is another user's: its blocks get new
    ids, and so do those of all that are drawn that often.
    """

    def __init__(self, work: Workload) -> None:
        self.work = work
        self._rows, self._starts = _units(work)
        first = work.arrival[self._rows[self._starts[:-1]]]
        mean = float(first[-1] - first[0]) / max(1, first.size - 1)
        self._gaps: Floats = np.diff(first, prepend=first[0] - mean)
        self._lengths = [
            np.add.reduceat(column[self._rows].astype(np.float64), self._starts[:-1])
            for column in (work.prompt_tokens, work.output_tokens)
        ]

    def __len__(self) -> int:
        return len(self._gaps)

    def draw(self, rng: Draw, *, size: int | None = None, drift: Floats | None = None) -> Workload:
        """As much traffic again, or `size` sessions or lone requests of it. `drift`, as the method of that name gives
        it, moves rate, prompts and answers by factors; lengths stay where blocks depend on them."""
        units = self._twice(rng, len(self) if size is None else size)
        rate, *lengths = np.exp((np.zeros((3, 3)) if drift is None else drift) @ rng.standard_normal(3))
        made = _assembled(self.work, self._rows, self._starts, units, np.cumsum(self._gaps[units] / rate))
        if made.block_ids is not None or drift is None:
            return made
        columns = {
            name: np.clip(np.rint(getattr(made, name) * factor), 1, getattr(self.work, name).max()).astype(
                np.int32
            )
            for name, factor in zip(("prompt_tokens", "output_tokens"), lengths, strict=True)
        }
        return made.replaced(**columns)

    def drift(self, rng: Draw, *, draws: int = 20) -> Floats:
        """By how much the logarithms of rate, prompt tokens and output tokens move from one such trace to the next,
        beyond what draws from one trace show: 3 x 3, the square root of their covariance. Zeros for traces of less
        than 16 sessions or lone requests, and for such as come all at once."""
        if len(self) < 2 * max(PARTS) or not self._gaps.sum() > 0.0:
            return np.zeros((3, 3))
        length = math.isqrt(len(self))
        expected = sum(self._moves(self._once(rng, len(self), length)) for _ in range(draws)) / draws
        values, vectors = np.linalg.eigh(self._moves(np.arange(len(self))) - expected)
        found: Floats = vectors * np.sqrt(np.maximum(values, 0.0))
        return found

    def _moves(self, units: LongInts) -> Floats:
        """Mean products of how the three logarithms move over one length of the trace.

        What walks at random moves from one part of 1/p of the trace to the next with 1/p of that variance: least
        squares over the sizes of parts, weighted by how many moves there are of each.
        """
        products, weight = np.zeros((3, 3)), 0.0
        for parts in PARTS:
            cuts = np.linspace(0, units.size, parts, endpoint=False).astype(np.int64)
            sums = [np.add.reduceat(column[units], cuts) for column in (self._gaps, *self._lengths)]
            counts = np.diff(np.append(cuts, units.size))
            logs = np.log([counts / np.maximum(sums[0], 1e-9), sums[1] / counts, sums[2] / counts])
            moves = np.diff(logs, axis=1)
            products += moves @ moves.T / parts
            weight += (parts - 1) / parts**2
        return products / weight

    def _once(self, rng: Draw, size: int, length: int) -> LongInts:
        starts = rng.integers(0, len(self), math.ceil(size / length))
        drawn: LongInts = ((starts[:, None] + np.arange(length)[None, :]) % len(self)).ravel()[:size]
        return drawn

    def _twice(self, rng: Draw, size: int) -> LongInts:
        length = round((len(self) / PARTS[-1]) ** rng.uniform()) if len(self) > PARTS[-1] else 1
        known = self._once(rng, len(self), length)
        again: LongInts = known[self._once(rng, size, length)]
        return again


def _units(work: Workload) -> tuple[LongInts, LongInts]:
    """Rows in the order of what belongs together, and where each such unit starts, with the end of the last one."""
    num = len(work)
    if work.parent is None and work.session is None:
        return np.arange(num), np.arange(num + 1)
    root = list(range(num))

    def top(row: int) -> int:
        while root[row] != row:
            root[row] = root[root[row]]
            row = root[row]
        return row

    links: list[tuple[int, int]] = []
    if work.parent is not None:
        links += [(row, parent) for row, parent in enumerate(work.parent.tolist()) if parent >= 0]
    if work.joins is not None:
        links += [(row, other) for row in range(num) for other in work.joins.of(row)]
    if work.session is not None:
        seen: dict[int, int] = {}
        links += [
            (row, seen.setdefault(session, row))
            for row, session in enumerate(work.session.tolist())
            if session >= 0
        ]
    for row, other in links:
        one, two = sorted((top(row), top(other)))
        root[two] = one
    tops = np.array([top(row) for row in range(num)])
    rows = np.argsort(tops, kind="stable")  # units by their first rows, rows in order within
    starts = np.flatnonzero(np.concatenate([[True], np.diff(tops[rows]) > 0]))
    return rows, np.append(starts, num)


def _assembled(work: Workload, rows: LongInts, starts: LongInts, units: LongInts, begin: Floats) -> Workload:
    """The units drawn, each with its first row at its `begin`, as one workload in the order of arrival."""
    sizes = np.diff(starts)[units]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], sizes)
    chosen = rows[np.repeat(starts[units], sizes) + within]
    first = work.arrival[rows[starts[units]]]
    arrival = work.arrival[chosen] + np.repeat(begin - first, sizes)
    order = np.argsort(arrival, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    columns: dict[str, Any] = {"arrival": np.maximum.accumulate(arrival[order])}
    picked = chosen[order]
    for name in _NARROW:
        column = getattr(work, name)
        columns[name] = None if column is None else column[picked]
    instance = np.repeat(np.arange(units.size), sizes)[order]
    if work.session is not None:
        columns["session"] = np.where(work.session[picked] >= 0, instance, -1)
    rank = np.empty(len(work), dtype=np.int64)
    rank[rows] = np.arange(len(work)) - np.repeat(starts[:-1], np.diff(starts))

    def moved(old: npt.NDArray[Any], of: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Where row `old`, of the unit drawn as number `of`, stands now."""
        found: npt.NDArray[Any] = place[offsets[of] + rank[old]]
        return found

    if work.parent is not None:
        parent = work.parent[picked]
        columns["parent"] = np.where(parent >= 0, moved(np.maximum(parent, 0), instance), -1)
    if work.joins is not None:
        joined = [
            moved(np.array(work.joins.of(row), dtype=np.int64), of)
            for row, of in zip(picked, instance, strict=True)
        ]
        columns["joins"] = ragged_joins(
            [each.tolist() for each in joined], work.joins.quorum[picked].tolist()
        )
    if work.block_ids is not None and work.block_offsets is not None:
        columns |= _blocks(work, picked, _copies(units)[instance])
    return work.replaced(**columns, note="drawn anew")


def _copies(units: LongInts) -> LongInts:
    """How often each unit had been drawn before."""
    order = np.argsort(units, kind="stable")
    ranked = units[order]
    begins = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    counts = np.diff(np.append(begins, units.size))
    copies = np.empty_like(units)
    copies[order] = np.arange(units.size) - np.repeat(begins, counts)
    return copies


def _blocks(work: Workload, picked: LongInts, copies: LongInts) -> dict[str, Any]:
    """Blocks of the rows picked, ids renumbered and moved apart by copy."""
    if work.block_ids is None or work.block_offsets is None:
        return {}
    names, ids = np.unique(work.block_ids, return_inverse=True)
    counts = np.diff(work.block_offsets)[picked]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    at = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    at += np.repeat(work.block_offsets[picked], counts)
    found: dict[str, Any] = {
        "block_ids": ids[at] + np.repeat(copies, counts) * names.size,
        "block_offsets": offsets,
    }
    if work.block_spans is not None:
        found["block_spans"] = work.block_spans[at]
    return found
