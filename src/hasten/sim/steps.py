"""Every step of a run, kept only when somebody asks: what `hasten.explain` and timelines are made of."""

from __future__ import annotations

from collections import deque

from hasten.core.batch import Batch
from hasten.core.scheduler import Scheduler
from hasten.report.handover import Handover

Row = tuple[float, float, int, int, int, int, int, int, int, int, float]
"""`steps` equal-sized steps in a row: begin and end (s); steps; decodes, tokens in KV of the decodes before the first
step, by which they grow per step; why the head of the queue waits, how many wait and run; KV blocks held at the end;
when the decision fell (s). Nothing runs in a row of 0 steps, which lasts until the next row begins: somebody waits."""


class RankSteps:
    """The steps of one scheduler, as rows in the order of time, with the prefill chunks and preemptions in them.

    Its replica has a `role` (replica, prefill or decode) and a `speed`, 1 being nominal.
    """

    def __init__(
        self, replica: int, scheduler: Scheduler, *, role: str = "replica", speed: float = 1.0
    ) -> None:
        self.replica = replica
        self.role = role
        self.speed = speed
        self.rows: list[Row] = []
        self.chunks: list[tuple[int, int, int, int, bool]] = []  # row, request, tokens, context, is_last
        self.lost: list[tuple[int, int]] = []  # row before which a request lost its KV, request
        self.loads: list[tuple[int, float, float]] = []  # request, when its KV set out and arrived (s)
        self._scheduler = scheduler
        self._in_flight: deque[tuple[Batch, float, int, int, int]] = deque()

    def decided(self, batch: Batch | None, now: float) -> None:
        """`batch` is what `schedule` returned at `now` (s)."""
        scheduler = self._scheduler
        counts = scheduler.refusal, scheduler.waiting.size, len(scheduler.running)
        if batch is not None:
            self._in_flight.append((batch, now, *counts))
        elif not self._in_flight and (scheduler.waiting.size or scheduler.running):
            self.rows.append((now, now, 0, 0, 0, 0, *counts, self._used(), now))

    def ended(self, at: float, steps: int = 1, stays: bool = False) -> None:
        """The oldest batch in flight, or `steps` like it, ended at `at` (s). It `stays` in flight as the one after."""
        batch, made, refusal, waiting, running = self._in_flight[0]
        if not stays:
            self._in_flight.popleft()
        row = len(self.rows)
        begin = made
        if row and self.rows[row - 1][1] > made:
            begin = self.rows[row - 1][1]
        n = batch.num_decodes
        growth = n - batch.padding
        used = self._used() + (steps - 1) * growth // self._scheduler.limits.block_size
        counts = refusal, waiting, running, used
        self.rows.append((begin, at, steps, n, batch.decode_context, growth, *counts, made))
        for chunk in batch.prefills:
            self.chunks.append((row, chunk.request.id, chunk.tokens, chunk.context, chunk.is_last))
        for request in batch.preempted or ():
            self.lost.append((row, request.id))

    def _used(self) -> int:
        return self._scheduler.pool.num_blocks - self._scheduler.pool.free


class StepLog:
    """The steps of every rank; by request id when the router placed it and when the engine could see it (s), and how it
    crossed from one pool to the other. Give one to `simulate`."""

    def __init__(self) -> None:
        self.ranks: list[RankSteps] = []
        self.placed: dict[int, float] = {}
        self.ready: dict[int, float] = {}
        self.handovers: dict[int, Handover] = {}
