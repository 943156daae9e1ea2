"""Data-parallel ranks that share experts, in virtual time: every step is one step of all of them.

Each rank has its own scheduler and KV blocks; a step starts when all ranks have ended the one before and lasts as
long as the cost of all batches together says. A rank with nothing to run waits the step out (engines run a dummy
batch there, which adds nothing to the cost).

A jump needs every rank's last batch to be decode-only and steady. The time of a step is a line in the context sum
of the rank that leads, so the series ends before another one takes over.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from hasten.core.batch import Batch
from hasten.core.policy import SchedulingPolicy
from hasten.core.request import LOADING, Request
from hasten.core.scheduler import Scheduler
from hasten.latency.compiled import LockstepCost
from hasten.sim.frontend import Frontend
from hasten.sim.loop import EngineLoop
from hasten.sim.recorder import Recorder
from hasten.sim.tokens import NOBODY, SOON, Tokens

Step = list[Batch | None]
"""What each rank runs in one step; None: nothing."""


class LockstepReplica(EngineLoop):
    """Drives one scheduler per rank, all in the same steps."""

    def __init__(
        self,
        index: int,
        schedulers: Sequence[Scheduler],
        cost: LockstepCost,
        recorder: Recorder,
        truth: dict[int, int],
        *,
        depth: int = 1,
        stepping: bool = False,
        frontend: Frontend | None = None,
    ) -> None:
        tokens = [Tokens(each, recorder, truth) for each in schedulers]
        super().__init__(index, tokens, depth=depth, stepping=stepping, frontend=frontend)
        self.cost = cost
        self._in_flight: deque[Step] = deque()
        self._gates = [
            each for each in schedulers if type(each.policy).wakes_at is not SchedulingPolicy.wakes_at
        ]

    def turn(self) -> list[Request]:
        """The event at `next_time`: book what ended, drain the input, schedule, plan. Returns who finished."""
        now = self.next_time
        finished = self._complete_planned(now) if self._in_flight else NOBODY
        self.now = now
        inbox = self.inbox
        while inbox and inbox[0][0] <= now:
            request = inbox.popleft()[1]
            if request.status == LOADING:
                next(rank for rank in self.ranks if request.id in rank.running).loaded(request, now)
            elif not min(self.ranks, key=load).add(request, now):
                self.turned_away.append(request)
        while len(self._in_flight) < self.depth:
            step = [self._schedule(tokens, now) for tokens in self._tokens]
            if all(batch is None for batch in step):
                break
            self._in_flight.append(step)
        self._plan(now)
        return finished

    def _schedule(self, tokens: Tokens, now: float) -> Batch | None:
        batch = tokens.scheduler.schedule(now)
        if tokens.log is not None:
            tokens.log.decided(batch, now)
        if batch is not None and (batch.prefills or batch.preempted is not None):
            tokens.note(batch)
        return batch

    # ---- planning ---------------------------------------------------------------------------------------

    def _plan(self, now: float) -> None:
        """Find the next event and how many steps lie before it."""
        self._series = False
        self._idle = not self._in_flight
        if self._idle:
            self.next_time = self.inbox[0][0] if self.inbox else math.inf
            for rank in self._gates:
                if rank.waiting or rank.prefilling:
                    wakes = max(now, rank.policy.wakes_at(rank.view))
                    if wakes > now or len(rank.running) == len(rank.prefilling):
                        self.next_time = min(self.next_time, wakes)  # else KV on its way holds the room
            return
        head = self._in_flight[0]
        lead_end = now
        pipelined = self.pipelined
        if pipelined or _prefills(head):
            lead_end += self._seconds(head)
            self._lead_end = self.next_time = lead_end
            if self.stepping or not pipelined or len(self._in_flight) < self.depth:
                return
        last = self._in_flight[-1]
        if _prefills(last):
            return
        shapes = _shapes(last)
        a, b, valid, leader, lead_steps = self.cost.lockstep_decode_line(shapes)
        self._lead_end = lead_end
        most = 1 if self.stepping else self._most_steps(head, last, lead_steps)
        if most < 1:
            return
        n, context = shapes[leader]
        # A leader that does not grow by n has padding, and then only one step is planned: any growth will do.
        self._start_series((a, b, valid), context, n, most)
        for rank in self._gates:
            if rank.waiting:
                self._shorten(rank.policy.wakes_at(rank.view))

    def _seconds(self, step: Step) -> float:
        if _prefills(step):
            return self.cost.lockstep_mixed(
                [
                    ([], 0, 0) if batch is None else (batch.prefills, batch.num_decodes, batch.decode_context)
                    for batch in step
                ]
            )
        shapes = _shapes(step)
        a, b, _, leader, _ = self.cost.lockstep_decode_line(shapes)
        return a + b * shapes[leader][1]

    def _most_steps(self, head: Step, last: Step, lead_steps: int) -> int:
        """Steps of the series until anything stops, any scheduler may decide otherwise or another rank leads."""
        pipelined = self.pipelined
        more = 0 if pipelined else 1
        most = lead_steps
        for tokens, leading, batch in zip(self._tokens, head, last, strict=True):
            rank = tokens.scheduler
            stop = tokens.next_stop(leading if pipelined else None)
            if stop == SOON:
                return 0
            if batch is None:
                if rank.waiting.size or rank.prefilling:
                    return more
            elif batch.padding:
                return more
            else:
                most = min(most, stop - batch.clock + 1)
                most = rank.steady_steps(most - more) + more
        return most

    # ---- booking ----------------------------------------------------------------------------------------

    def _complete_planned(self, now: float) -> list[Request]:
        """Book the steps that ended up to `now`."""
        seconds = now - self.now
        self.busy += seconds
        used = sum(rank.pool.num_blocks - rank.pool.free for rank in self.ranks)
        if not self._series:
            self._book_blocks(used, used, seconds)
            return self._complete(now)
        steps = self._steps
        pipelined = self.pipelined
        grown = used + sum(
            steps * (batch.num_decodes - batch.padding) // rank.limits.block_size
            for rank, batch in zip(self.ranks, self._in_flight[-1], strict=True)
            if batch is not None
        )
        self._book_blocks(used, grown, seconds)
        if pipelined:
            self._complete(self._lead_end)
            if steps == 0:
                return NOBODY
        self.steps += steps
        last = self._in_flight[0] if pipelined else self._in_flight.popleft()
        gaps = (self._first, 2.0 * self._half)
        finished: list[Request] = []
        for tokens, batch in zip(self._tokens, last, strict=True):
            if batch is not None:
                finished += tokens.complete_series(steps, self._lead_end, gaps, now, pipelined)
        return finished

    def _complete(self, at: float) -> list[Request]:
        """The oldest step in flight ended at `at` (s)."""
        self.steps += 1
        finished: list[Request] = []
        for tokens, batch in zip(self._tokens, self._in_flight.popleft(), strict=True):
            if batch is not None:
                finished += tokens.complete(at)
        return finished

    def _book_blocks(self, used: int, grown: int, seconds: float) -> None:
        """Held KV blocks went from `used` to `grown` within `seconds`."""
        self.kv_block_seconds += 0.5 * (used + grown) * seconds
        most = sum(rank.pool.num_blocks for rank in self.ranks)
        self.kv_peak_blocks = max(self.kv_peak_blocks, min(grown, most))


def load(rank: Scheduler) -> int:
    """What new requests avoid: the rank with the least goes first, as vLLM's balancer counts it."""
    return 4 * rank.waiting.size + len(rank.running)


def _prefills(step: Step) -> bool:
    return any(batch is not None and batch.prefills for batch in step)


def _shapes(step: Step) -> list[tuple[int, int]]:
    """(sequences, sum of their contexts in tokens) of every rank."""
    return [(0, 0) if batch is None else (batch.num_decodes, batch.decode_context) for batch in step]
