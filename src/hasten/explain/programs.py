"""Where a program's life goes: the calls on its critical path, and the tools, users and clients between them.

A call starts its waiting time after the last of the calls it needs has ended (or as many as its quorum wants).
Followed back from the call that ends last, these waits and calls fill the time from the program's first arrival to its
last token without a gap, so their labels sum to its completion time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hasten.errors import InputError
from hasten.explain.attribution import Attribution, Labelled
from hasten.explain.labels import LABELS, ORDER
from hasten.report.records import Records
from hasten.workload import Workload

PROGRAM = "program"
"""The metric: seconds from a program's first arrival to its last token."""

Floats = npt.NDArray[np.float64]


def completions(records: Records) -> Floats:
    """Seconds from first arrival to last finish, a row per session by number; infinite where a call was not served."""
    rows = np.flatnonzero(records.session >= 0)
    rows = rows[np.argsort(records.session[rows], kind="stable")]
    if not rows.size:
        return np.zeros(0)
    first = np.flatnonzero(np.diff(records.session[rows], prepend=-1))
    begin = np.minimum.reduceat(records.arrival[rows], first)
    end = np.maximum.reduceat(np.where(records.is_ok[rows], records.finish[rows], np.inf), first)
    found: Floats = end - begin
    return found


@dataclass(frozen=True, eq=False)
class ProgramAttribution(Labelled):
    """Seconds per program whose calls were all served (rows, by session number) and label (columns, as LABELS)."""

    session: npt.NDArray[np.int64]
    completion: Floats
    spent: Floats

    def latency(self, metric: str = PROGRAM) -> Floats:
        """Seconds from the first arrival to the last token."""
        return self.completion

    def labels(self, metric: str = PROGRAM) -> Floats:
        """Seconds per row and label; they sum to `latency`."""
        return self.spent


def programs_of(found: Attribution, work: Workload) -> ProgramAttribution | None:
    """The programs of a workload whose calls wait for each other; None where there is none such that was served."""
    if work.session is None or work.parent is None:
        return None
    whole = attribute_programs(found, work)
    return whole if len(whole.session) else None


def attribute_programs(found: Attribution, work: Workload) -> ProgramAttribution:
    """The lives of the programs of `work`, from those of its requests. Raises InputError without programs."""
    records = found.records
    if work.session is None:
        raise InputError("the workload has no sessions: there are no programs to explain")
    place = {request: row for row, request in enumerate(records.id.tolist())}
    members: dict[int, list[int]] = {}
    for request, session in enumerate(work.session.tolist()):
        if session >= 0:
            members.setdefault(session, []).append(request)
    whole = {
        session: [place[request] for request in calls]
        for session, calls in sorted(members.items())
        if all(request in place for request in calls)
    }
    lives = (found.to_first.astype(np.longdouble) + found.after_first).astype(np.longdouble)
    spent = np.zeros((len(whole), len(LABELS)), dtype=np.longdouble)
    completion = np.zeros(len(whole))
    paths = _Paths(records, work, place)
    for row, calls in enumerate(whole.values()):
        begin = records.arrival[calls].min()
        completion[row] = records.finish[calls].max() - begin
        call = max(calls, key=lambda each: records.finish[each])
        while True:
            spent[row] += lives[call]
            before = paths.released_by(call)
            since = begin if before is None else records.finish[before]
            waited = np.longdouble(records.arrival[call]) - since
            spent[row, ORDER[paths.wait_label(before)]] += waited
            if before is None:
                break
            call = before
    sessions = np.array(list(whole), dtype=np.int64)
    return ProgramAttribution(sessions, completion, np.asarray(spent, dtype=np.float64))


class _Paths:
    """Which call released which."""

    def __init__(self, records: Records, work: Workload, place: dict[int, int]) -> None:
        self._records = records
        self._work = work
        self._place = place

    def released_by(self, row: int) -> int | None:
        """The record of the call whose end started the wait before this one; None: nobody's."""
        work, request = self._work, int(self._records.id[row])
        if work.parent is None or work.think_s is None or int(work.parent[request]) not in self._place:
            return None
        needed = [int(work.parent[request])]
        quorum = 0
        if work.joins is not None:
            needed += work.joins.of(request)
            quorum = int(work.joins.quorum[request])
        ended = sorted(
            (self._records.finish[at], at) for each in needed if (at := self._place.get(each)) is not None
        )
        return ended[(quorum or len(ended)) - 1][1]

    def wait_label(self, before: int | None) -> str:
        """Whose time it is between two calls: that of the tool that the first one calls, or of somebody else."""
        tool = self._work.tool
        if before is None or tool is None or tool[int(self._records.id[before])] < 0:
            return "client"
        return "tool"
