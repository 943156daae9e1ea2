"""Where requests come from, in virtual time: a fixed schedule, programs of calls, or users who wait for answers."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import Final

from hasten.core.request import SLO, Request
from hasten.workload.columns import Ints
from hasten.workload.joins import Joins
from hasten.workload.names import BlockNames
from hasten.workload.workload import Workload

NO_CAP: Final = 1099511627776  # 2**40 tokens


class Rows:
    """Rows [start, stop) of a workload as plain lists, and the requests made of them."""

    def __init__(
        self, work: Workload, slo: SLO | None = None, start: int = 0, stop: int | None = None
    ) -> None:
        part = slice(start, stop)
        self.start = start
        self.arrival: list[float] = work.arrival[part].tolist()
        self.prompt: list[int] = work.prompt_tokens[part].tolist()
        self.output: list[int] = work.output_tokens[part].tolist()
        self.caps = _listed(work.max_tokens, part)
        self.priority = _listed(work.priority, part)
        self.session = _listed(work.session, part)
        self.names = None if work.block_ids is None else BlockNames(work, start, stop)
        self.block_tokens = work.block_tokens
        self.names_answers = work.names_answers
        self.tool = _listed(work.tool, part)
        self.slo = slo
        optional = (self.names, self.caps, self.tool, self.priority, self.session, slo)
        self.has_more = any(each is not None for each in optional)

    def request(self, at: int, arrival: float) -> Request:
        """The request of the row at position `at`, sent at `arrival` (s)."""
        made = Request(self.start + at, arrival, self.prompt[at], NO_CAP)
        if self.has_more:
            self._complete(made, at)
        return made

    def _complete(self, made: Request, at: int) -> None:
        """What only some workloads have."""
        made.slo = self.slo
        if self.caps is not None and self.caps[at] > 0:
            made.max_tokens = self.caps[at]
        if self.names is not None:
            made.block_ids, made.block_ends = self.names.of(at)
            made.block_tokens = self.block_tokens
            made.names_answer = self.names_answers
        if self.tool is not None:
            made.tool = self.tool[at]
        if self.priority is not None:
            made.priority = self.priority[at]
        if self.session is not None:
            made.session = self.session[at]


def _listed(column: Ints | None, part: slice) -> list[int] | None:
    return None if column is None else [int(value) for value in column[part]]


class Source:
    """Hands out requests in the order of their arrival. `next_time` (s) is when the next one comes."""

    def __init__(self, total: int, listens: bool = True) -> None:
        self.total = total
        self.listens = listens  # what comes next depends on what ended
        self.next_time = math.inf

    def pop(self) -> tuple[Request, int]:
        """The request that arrives at `next_time`, and the true length of its answer (tokens)."""
        raise NotImplementedError

    def take(self, most: int) -> list[tuple[Request, int]]:
        """The next ones, `most` at most and one at least."""
        taken = [self.pop()]
        while len(taken) < most and self.next_time < math.inf:
            taken.append(self.pop())
        return taken

    def ended(self, request: Request, now: float) -> None:
        """`request` finished or was turned away at `now` (s)."""


class Schedule(Source):
    """Open loop: every request arrives at its recorded time, whatever happened to the others.

    Rows become lists a piece at a time, so that a million of them need little memory.
    """

    PIECE = 16384

    def __init__(self, work: Workload, slo: SLO | None = None) -> None:
        super().__init__(len(work), listens=False)
        self._work = work
        self._slo = slo
        self._load(0)

    def _load(self, start: int) -> None:
        stop = min(start + self.PIECE, self.total)
        self._rows = Rows(self._work, self._slo, start, stop)
        self._at = 0
        self.next_time = self._rows.arrival[0]

    def pop(self) -> tuple[Request, int]:
        """The request of the next row."""
        return self.take(1)[0]

    def take(self, most: int) -> list[tuple[Request, int]]:
        """The requests of the next rows."""
        rows, start = self._rows, self._at
        arrivals, outputs = rows.arrival, rows.output
        at = self._at = min(start + most, len(arrivals))
        taken = [(rows.request(row, arrivals[row]), outputs[row]) for row in range(start, at)]
        if at < len(arrivals):
            self.next_time = arrivals[at]
        elif rows.start + at < self.total:
            self._load(rows.start + at)
        else:
            self.next_time = math.inf
        return taken


class Listed(Source):
    """Requests made beforehand, by arrival, each with the true length of its answer (tokens)."""

    def __init__(self, calls: Sequence[tuple[Request, int]]) -> None:
        super().__init__(len(calls), listens=False)
        self._calls = calls
        self._at = 0
        self._refresh()

    def pop(self) -> tuple[Request, int]:
        """The next one."""
        self._at += 1
        self._refresh()
        return self._calls[self._at - 1]

    def _refresh(self) -> None:
        self.next_time = self._calls[self._at][0].arrival if self._at < len(self._calls) else math.inf


class Waits(Source):
    """Closed loops: what comes next depends on what ended. Rows that are due stand in a heap."""

    def __init__(self, work: Workload, slo: SLO | None = None) -> None:
        super().__init__(len(work))
        self._rows = Rows(work, slo)
        self._due: list[tuple[float, int]] = []

    def pop(self) -> tuple[Request, int]:
        """The request that is due first."""
        due, row = heapq.heappop(self._due)
        self._refresh()
        return self._rows.request(row, due), self._rows.output[row]

    def _refresh(self) -> None:
        self.next_time = self._due[0][0] if self._due else math.inf


class Programs(Waits):
    """Turns, tool calls and joins: a row arrives its waiting time after the last of the rows it needs has ended."""

    def __init__(self, work: Workload, slo: SLO | None = None) -> None:
        super().__init__(work, slo)
        self._followers: dict[int, list[int]] = {}
        self._needs: dict[int, int] = {}  # rows that wait for several: how many of these are still to end
        parents = [] if work.parent is None else work.parent.tolist()
        self._wait: list[float] = [] if work.think_s is None else work.think_s.tolist()
        for row, parent in enumerate(parents):
            if parent < 0:
                self._due.append((self._rows.arrival[row], row))
            else:
                self._followers.setdefault(parent, []).append(row)
        if work.joins is not None:
            self._join(work.joins)
        heapq.heapify(self._due)
        self._refresh()

    def _join(self, joins: Joins) -> None:
        quorum = joins.quorum.tolist()
        for row in range(len(joins)):
            others = joins.of(row)
            if others:
                self._needs[row] = quorum[row] or len(others) + 1
                for other in others:
                    self._followers.setdefault(other, []).append(row)

    def ended(self, request: Request, now: float) -> None:
        """Start the waiting times of the rows that needed nothing else."""
        for row in self._followers.pop(request.id, ()):
            needs = self._needs.get(row, 1) - 1
            if needs == 0:
                heapq.heappush(self._due, (now + self._wait[row], row))
            self._needs[row] = needs
        self._refresh()


class Users(Waits):
    """Closed loop: `concurrency` users take the rows in turn and think `think` s between answer and request."""

    def __init__(self, work: Workload, concurrency: int, think: float, slo: SLO | None = None) -> None:
        super().__init__(work, slo)
        self._think = think
        self._row = min(concurrency, self.total)
        self._due = [(0.0, row) for row in range(self._row)]
        self._refresh()

    def ended(self, request: Request, now: float) -> None:
        """The user who got the answer takes the next row."""
        if self._row < self.total:
            heapq.heappush(self._due, (now + self._think, self._row))
            self._row += 1
            self._refresh()


def source_of(work: Workload, slo: SLO | None = None) -> Source:
    """The way `work` wants to be replayed: closed loop, programs, or by the clock."""
    if work.closed_loop is not None:
        return Users(work, work.closed_loop.concurrency, work.closed_loop.think_s, slo)
    if work.think_s is not None and work.parent is not None:
        return Programs(work, slo)
    return Schedule(work, slo)
