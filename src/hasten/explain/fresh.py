"""Where the gain of a change lies on new traffic: the runs without and with it, both played on traffic drawn anew.

One run says what a change would have bought on that traffic; the best of many changes is partly the luckiest, and the
worst percentile of a queue hangs on a few busy periods. So the least and the greatest gain are reported over the
workload and DRAWS draws of new traffic from it (`hasten.workload.resampling`), each played twice, without and with the
change. If new traffic is one more such draw, its gain is the least or the greatest of all with a probability of
2 / (DRAWS + 2), so it lies between them with 90 %: an order-statistics prediction interval, which supposes no form of
distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hasten.explain.changes import counted
from hasten.explain.objective import Objective, relative
from hasten.explain.setup import Run
from hasten.explain.whatif import Effect
from hasten.report.bootstrap import Interval
from hasten.workload import Workload, stream
from hasten.workload.resampling import Resampler

Played = tuple[Workload, npt.NDArray[np.float64]]

DRAWS = 19
CONFIDENCE = 1.0 - 2.0 / (DRAWS + 2)

MOST = 2_000
"""Requests or programs of a draw: the interval of a longer workload is that of so many new ones, and so rather wide."""


class FreshTraffic:
    """Draws of new traffic for one setup, the unchanged runs of which are played once for all changes."""

    def __init__(
        self, setup: Run, objective: Objective, *, after_each: Callable[[], None] = lambda: None
    ) -> None:
        self._objective = objective
        self._after_each = after_each
        self._runs: list[Played] = []
        self._setup = setup

    def of(self, effect: Effect) -> Effect:
        """The effect with its interval. Raises InputError as runs do."""
        if not effect.makes_a_difference or math.isnan(effect.relative):
            return effect
        gains = [effect.relative]
        for work, column in self._played():
            changed = effect.setup.changed(work=effect.change.traffic(work))
            after = self._objective.column(changed.run().records)
            gains.append(relative(*map(self._objective.value, counted(effect.change, work, column, after))))
            self._after_each()
        known = [each for each in gains if not math.isnan(each)]
        return replace(effect, interval=Interval(min(known), max(known), CONFIDENCE))

    def _played(self) -> list[Played]:
        """Each draw with the objective's column of its unchanged run."""
        if not self._runs:
            rng = stream(self._setup.seed, "fresh traffic")
            source = Resampler(self._setup.work)
            drift, size = source.drift(rng), min(len(source), MOST)
            for _ in range(DRAWS):
                work = source.draw(rng, size=size, drift=drift)
                column = self._objective.column(self._setup.changed(work=work).run().records)
                self._runs.append((work, column))
                self._after_each()
        return self._runs
