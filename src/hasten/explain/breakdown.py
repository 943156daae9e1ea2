"""Seconds of decode steps split into the parts of the latency model, in closed form over whole jumps.

Within a piece of the decode line every part is a line in the context sum S as well, a_c + b_c S, so a jump of k steps
that starts at S and grows by g spends k a_c + b_c (k S + g k (k - 1) / 2) on part c.
"""

from __future__ import annotations

import math
from bisect import bisect_right

import numpy as np
import numpy.typing as npt

from hasten.explain.labels import PARTS
from hasten.latency import AnalyticalModel, TableCost

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Breakdown:
    """The parts of decode steps of `model`, whose compiled form is `cost`."""

    def __init__(self, model: AnalyticalModel, cost: TableCost) -> None:
        self.model = model
        self.cost = cost
        self._lines: dict[tuple[int, int], Floats] = {}

    def parts(self, n: Ints, context: Ints, steps: Ints, growth: Ints) -> Floats:
        """Share of every part (columns, as PARTS; rows sum to 1) of jumps of `steps` steps of `n` decodes each.

        `context` is the tokens in KV before the first step, `growth` what each step adds to them.
        """
        lines = np.array([self._line(*each) for each in zip(n.tolist(), context.tolist(), strict=True)])
        lines = lines.reshape(-1, 2, len(PARTS))
        sums = steps * context + growth * (steps * (steps - 1) // 2)
        seconds = steps[:, None] * lines[:, 0] + sums[:, None] * lines[:, 1]
        seconds = np.maximum(seconds, 0.0)  # an engine's own offset may be negative: the others share it
        whole: Floats = seconds / seconds.sum(axis=1, keepdims=True)
        return whole

    def _line(self, n: int, context: int) -> Floats:
        """(a_c, b_c) of every part of a step of `n` decodes, at the piece of the line that holds `context`."""
        limits = self.cost.limits[n]
        piece = bisect_right(limits, context)
        found = self._lines.get((n, piece))
        if found is None:
            found = self._lines[n, piece] = self._between(n, *self._ends(n, piece))
        return found

    def _ends(self, n: int, piece: int) -> tuple[int, int]:
        """The first and last context sum of a piece; one far out where it has no end."""
        limits = self.cost.limits[n]
        first = 0 if piece == 0 else math.ceil(limits[piece - 1])
        if piece >= len(limits) or limits[piece] == math.inf:
            return first, first + 4096 * n
        return first, max(first, math.ceil(limits[piece]) - 1)

    def _between(self, n: int, first: int, last: int) -> Floats:
        low = self._seconds(n, first)
        slope = (self._seconds(n, last) - low) / (last - first) if last > first else np.zeros(len(PARTS))
        return np.array([low - slope * first, slope])

    def _seconds(self, n: int, context: int) -> Floats:
        step = self.model.step_time(decodes=n, decode_context=context)
        return np.array([getattr(step, part) for part in PARTS])
