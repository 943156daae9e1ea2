"""How long at least one replica stood idle: waiting elsewhere meanwhile is a matter of routing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hasten.explain.timeline import RankLog

Floats = npt.NDArray[np.float64]


class IdleClock:
    """Seconds up to a time during which some rank of `ranks` had nothing to run and nobody waiting.

    Before its first step and after its last one a rank is idle. Whoever waits does so at a rank that is not, so the
    clock never charges a rank to itself.
    """

    def __init__(self, ranks: Sequence[RankLog]) -> None:
        changes: list[tuple[float, int]] = []
        for rank in ranks if len(ranks) > 1 else ():
            last = 0.0
            rows = rank.rows
            for at, row in enumerate(rows):
                if row[0] > last:
                    changes += [(last, 1), (row[0], -1)]
                last = row[1] if row[2] or at + 1 == len(rows) else rows[at + 1][0]
            changes.append((last, 1))
        ends = max((time for time, _ in changes), default=0.0)
        changes = sorted([*changes, (ends, 0)])  # nothing waits after the last end
        times, spent, count, total, last = [0.0], [0.0], 0, 0.0, 0.0
        for time, change in changes:
            total += time - last if count > 0 else 0.0
            last = time
            count += change
            times.append(time)
            spent.append(total)
        self._times = np.array(times)
        self._spent = np.array(spent)

    def between(self, begin: Floats, end: Floats) -> Floats:
        """Idle seconds in each interval [begin, end)."""
        found: Floats = self._at(end) - self._at(begin)
        return np.maximum(found, 0.0)

    def _at(self, time: Floats) -> Floats:
        spent: Floats = np.interp(time, self._times, self._spent)
        return spent
