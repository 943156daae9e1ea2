"""How quiet a machine is while something is measured: CPU time of everybody else, and how fast fixed work goes."""

from __future__ import annotations

import os
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROUNDS = 7  # of the fixed work; their median counts
STOLEN, IDLE = 7, (3, 4)  # columns of the first line of /proc/stat (proc(5)): also idle and waiting for disks


def pace() -> float:
    """Milliseconds of fixed work: twenty products of 512 x 512 in fp32, and 256 MB read from memory."""
    matrix, row = np.ones((512, 512), dtype=np.float32), np.ones(16 << 20, dtype=np.float32)
    found = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        for _ in range(20):
            matrix @ matrix
        for _ in range(4):
            row.sum()
        found.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(found)


@dataclass
class Quiet:
    """What the machine did while `process` served: `others` and `stolen` are shares of all its cores; `pace_ms` from
    before and after. Used as a context around what is measured; `process` and what this process starts don't count.
    """

    process: int
    others: float = field(default=0.0, init=False)
    stolen: float = field(default=0.0, init=False)
    pace_ms: tuple[float, float] = field(default=(0.0, 0.0), init=False)

    def __enter__(self) -> Quiet:
        self._pace = pace()
        self._before = self._ticks()
        return self

    def __exit__(self, *_: object) -> None:
        whole, idle, stolen, own = (
            after - before for after, before in zip(self._ticks(), self._before, strict=True)
        )
        self.stolen = stolen / whole
        self.others = max(0.0, (whole - idle - stolen - own) / whole)
        self.pace_ms = self._pace, pace()

    def __str__(self) -> str:
        low, high = self.pace_ms
        return f"others {self.others:.1%}, stolen {self.stolen:.1%}, fixed work {low:.0f} and {high:.0f} ms"

    def _ticks(self) -> tuple[float, float, float, float]:
        """CPU ticks since the machine started: all, idle, stolen by its host, and ours."""
        line = Path("/proc/stat").read_text().splitlines()[0].split()
        counts = [int(word) for word in line[1:9]]
        spent = os.times()
        own = spent.user + spent.system + spent.children_user + spent.children_system
        ticks = own * os.sysconf("SC_CLK_TCK") + family_ticks(self.process)
        return sum(counts), sum(counts[each] for each in IDLE), counts[STOLEN], ticks


def family_ticks(process: int) -> int:
    """CPU ticks of a process and of all that descend from it and still live."""
    parents, spent = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            fields = path.read_text().rpartition(")")[2].split()
            parents[int(path.parent.name)] = int(fields[1])
            spent[int(path.parent.name)] = int(fields[11]) + int(fields[12])
    family, found = {process}, [process]
    for member in found:
        fresh = [child for child, parent in parents.items() if parent == member and child not in family]
        family.update(fresh)
        found += fresh
    return sum(spent.get(member, 0) for member in family)
