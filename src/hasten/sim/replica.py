"""One replica in virtual time: turns of the engine loop around one scheduler, and exact jumps over idle turns."""

from __future__ import annotations

import math

from hasten.core.policy import SchedulingPolicy
from hasten.core.request import FINISHED, LOADING, Request
from hasten.core.scheduler import Scheduler
from hasten.latency.compiled import StepCost
from hasten.sim.frontend import Frontend
from hasten.sim.loop import EngineLoop
from hasten.sim.recorder import Recorder
from hasten.sim.tokens import NOBODY, SOON, Tokens


class Replica(EngineLoop):
    """Drives one scheduler in virtual time."""

    def __init__(
        self,
        index: int,
        scheduler: Scheduler,
        cost: StepCost,
        recorder: Recorder,
        truth: dict[int, int],
        *,
        depth: int = 1,
        stepping: bool = False,
        frontend: Frontend | None = None,
    ) -> None:
        self.scheduler = scheduler
        self.tokens = Tokens(scheduler, recorder, truth)
        self.cost = cost
        super().__init__(index, [self.tokens], depth=depth, stepping=stepping, frontend=frontend)
        self._gates = type(scheduler.policy).wakes_at is not SchedulingPolicy.wakes_at

    def turn(self) -> list[Request]:
        """The event at `next_time`: book what ended, drain the input, schedule, plan. Returns who finished."""
        now = self.next_time
        scheduler = self.scheduler
        in_flight = scheduler.in_flight
        finished = self._complete_planned(now) if in_flight else NOBODY
        self.now = now
        inbox = self.inbox
        while inbox and inbox[0][0] <= now:
            request = inbox.popleft()[1]
            if request.status == LOADING:
                scheduler.loaded(request, now)
            elif request.status == FINISHED:
                scheduler.sent(request, now)
            elif not scheduler.add(request, now):
                self.turned_away.append(request)
        tokens = self.tokens
        while True:  # a turn comes when a place is free
            batch = scheduler.schedule(now)
            if tokens.log is not None:
                tokens.log.decided(batch, now)
            if batch is None:
                break
            if batch.prefills or batch.preempted is not None:
                tokens.note(batch)
            if len(in_flight) >= self.depth:
                break
        self._plan(now)
        return finished

    # ---- planning ---------------------------------------------------------------------------------------

    def _plan(self, now: float) -> None:
        """Find the next event and how many steps lie before it."""
        scheduler = self.scheduler
        in_flight = scheduler.in_flight
        self._series = False
        if not in_flight:
            self._idle = True
            self.next_time = self.inbox[0][0] if self.inbox else math.inf
            if self._gates and (scheduler.waiting or scheduler.prefilling):
                wakes = scheduler.policy.wakes_at(scheduler.view)
                if wakes > now:  # at `now` it has just been asked
                    self.next_time = min(self.next_time, wakes)
            return
        self._idle = False
        head = in_flight[0]
        lead_end = now
        pipelined = self.pipelined
        if pipelined or head.prefills:
            if head.prefills:
                lead_end += self.cost.mixed(head.prefills, head.num_decodes, head.decode_context)
            else:
                a, b, _ = self.cost.decode_line(head.num_decodes, head.decode_context)
                lead_end += a + b * head.decode_context
            self._lead_end = self.next_time = lead_end
            if self.stepping or (head.prefills and not pipelined) or len(in_flight) < self.depth:
                return
        last = in_flight[-1]
        if last.prefills:
            return
        most = 1
        if not self.stepping:
            stop = self.tokens.next_stop(head if pipelined else None)
            if stop == SOON:
                return
            least = 0 if pipelined else 1
            most = scheduler.steady_steps(stop - last.clock + 1 - least) + least
            if most < 1:
                return
        n = last.num_decodes
        context = last.decode_context
        self._lead_end = lead_end
        self._start_series(self.cost.decode_line(n, context), context, n - last.padding, most)
        if self._gates and scheduler.waiting:
            self._shorten(scheduler.policy.wakes_at(scheduler.view))

    # ---- booking ----------------------------------------------------------------------------------------

    def _complete_planned(self, now: float) -> list[Request]:
        """Book the batches that ended up to `now`."""
        pool = self.scheduler.pool
        seconds = now - self.now
        self.busy += seconds
        used = pool.num_blocks - pool.free
        pipelined = self.pipelined
        if not self._series:
            self.steps += 1
            self.kv_block_seconds += used * seconds
            if used > self.kv_peak_blocks:
                self.kv_peak_blocks = used
            return self.tokens.complete(now)
        steps = self._steps
        self.steps += steps
        grown = used + steps * self._growth // pool.block_size
        self.kv_block_seconds += 0.5 * (used + grown) * seconds
        if grown > self.kv_peak_blocks:
            self.kv_peak_blocks = min(grown, pool.num_blocks)
        if pipelined:
            self.steps += 1
            self.tokens.complete(self._lead_end)
            if steps == 0:
                return NOBODY
        gaps = (self._first, 2.0 * self._half)
        return self.tokens.complete_series(steps, self._lead_end, gaps, now, pipelined)
