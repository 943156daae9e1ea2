"""One replica in virtual time: turns of the engine loop, and exact jumps over turns that decide nothing.

The loop keeps up to `depth` batches in flight: 1 is a synchronous engine, 2 an asynchronous one, which schedules
the next step while one runs, and therefore drains its input once per turn and reuses a slot two steps later.

A jump. Let the last batch scheduled be decode-only with n sequences and S tokens in KV, and let nothing be able to
change the decision for i steps. Those steps last a + b*S, a + b*(S + n), ...: together i*a + b*(i*S + n*i*(i-1)/2).
The replica then has one event, at the end of the stretch. An arrival shortens it to the first step boundary at or
after the arrival: a quadratic equation.
"""

from __future__ import annotations

import heapq
import math
from collections import deque

from hasten.core.batch import Batch
from hasten.core.policy import SchedulingPolicy
from hasten.core.request import FINISHED, WAITING, Request
from hasten.core.scheduler import Scheduler
from hasten.latency.compiled import StepCost
from hasten.sim.recorder import Recorder


class Frontend:
    """Seconds that the API process spends per request before the engine sees it: a queue with one server."""

    def __init__(self, per_request: float = 0.0, per_prompt_token: float = 0.0) -> None:
        self.per_request = per_request
        self.per_prompt_token = per_prompt_token
        self.free_at = 0.0

    def deliver(self, request: Request, now: float) -> float:
        """When the engine gets `request`, which arrived at `now` (s)."""
        spent = self.per_request + self.per_prompt_token * request.prompt_tokens
        if spent == 0.0:
            return now
        self.free_at = max(self.free_at, now) + spent
        return self.free_at


class Replica:
    """Drives one scheduler in virtual time. `next_time` (s) is when it needs a turn; infinity when it idles."""

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
        self.index = index
        self.scheduler = scheduler
        self.ranks = [scheduler]
        self.cost = cost
        self.recorder = recorder
        self.truth = truth
        self.depth = depth
        self.stepping = stepping
        self.frontend = frontend
        self.next_time = math.inf
        self.inbox: deque[tuple[float, Request]] = deque()
        self.now = 0.0  # when the oldest batch in flight started
        self.turned_away: list[Request] = []
        # The planned event: complete the leading batches, then `_steps` steps of the series.
        self._series = False
        self._lead_end = 0.0
        self._steps = 0
        self._a = 0.0
        self._b = 0.0
        self._stops: list[tuple[int, int, Request]] = []  # (decode clock, admission order, request)
        self._one_token: list[tuple[Batch, Request]] = []  # their first token, in flight, is their last
        self._emitted = 0.0  # when the decode group last emitted
        self._late: dict[int, float] = {}  # members that emitted since, and when
        self._in_doubt: list[Request] = []  # preempted with a token in flight
        self._gates = type(scheduler.policy).wakes_at is not SchedulingPolicy.wakes_at
        # Books (seconds, counts).
        self.busy = 0.0
        self.steps = 0
        self.decode_tokens = 0
        self.kv_block_seconds = 0.0
        self.kv_peak_blocks = 0

    # ---- events -----------------------------------------------------------------------------------------

    def deliver(self, request: Request, now: float) -> None:
        """`request` reaches the front end at `now` (s)."""
        at = now if self.frontend is None else self.frontend.deliver(request, now)
        self.inbox.append((at, request))
        if not self.scheduler.in_flight:
            self.next_time = min(self.next_time, at)
        elif self._series and at < self.next_time:
            self._shorten(at)

    def catch_up(self, now: float) -> None:
        """Take the turn at the last step boundary before `now`, in the midst of a jump: books are then up to date."""
        if not self._series or self._lead_end >= now or self.next_time < now:
            return
        least = 0 if self.depth > 1 else 1
        steps = self._steps_until(now)
        if self._boundary(steps) >= now:
            steps -= 1
        if steps >= least:
            self._steps = steps
            self.next_time = self._boundary(steps)
            self.turn()

    def turn(self) -> list[Request]:
        """The event at `next_time`: book what ended, drain the input, schedule, plan. Returns who finished."""
        now = self.next_time
        scheduler = self.scheduler
        in_flight = scheduler.in_flight
        finished = self._complete_planned(now) if in_flight else _NOBODY
        self.now = now
        inbox = self.inbox
        while inbox and inbox[0][0] <= now:
            request = inbox.popleft()[1]
            if not scheduler.add(request, now):
                self.turned_away.append(request)
        while len(in_flight) < self.depth:
            batch = scheduler.schedule(now)
            if batch is None:
                break
            if batch.prefills or batch.preempted is not None:
                self._note(batch)
        self._plan(now)
        return finished

    # ---- planning ---------------------------------------------------------------------------------------

    def _plan(self, now: float) -> None:
        """Find the next event and how many steps lie before it."""
        scheduler = self.scheduler
        in_flight = scheduler.in_flight
        self._series = False
        if not in_flight:
            self.next_time = self.inbox[0][0] if self.inbox else math.inf
            if self._gates and (scheduler.waiting or scheduler.prefilling):
                self.next_time = min(self.next_time, max(now, scheduler.policy.wakes_at(scheduler.view)))
            return
        head = in_flight[0]
        lead_end = now
        pipelined = self.depth > 1
        if pipelined or head.prefills:
            lead_end += self._seconds(head)
            self._lead_end = self.next_time = lead_end
            if self.stepping or (head.prefills and not pipelined) or len(in_flight) < self.depth:
                return
        last = in_flight[-1]
        if last.prefills:
            return
        n = last.num_decodes
        context = last.decode_context
        a, b, valid = self.cost.decode_line(n, context)
        self._lead_end = lead_end
        most = 1 if self.stepping else self._most_steps(head, last, pipelined)
        if pipelined and (most < 1 or self._ends(head)):
            return
        if most > 1 and valid != math.inf:
            most = max(1, min(most, math.ceil((valid - context) / (n - last.padding))))
        self._series = True
        self._a = a
        self._b = b
        self._steps = max(most, 1)
        self.next_time = self._boundary(self._steps)
        if self.inbox and self.inbox[0][0] < self.next_time:
            self._shorten(self.inbox[0][0])
        if self._gates and scheduler.waiting:
            self._shorten(scheduler.policy.wakes_at(scheduler.view))

    def _seconds(self, batch: Batch) -> float:
        if batch.prefills:
            return self.cost.mixed(batch.prefills, batch.num_decodes, batch.decode_context)
        a, b, _ = self.cost.decode_line(batch.num_decodes, batch.decode_context)
        return a + b * batch.decode_context

    def _most_steps(self, head: Batch, last: Batch, pipelined: bool) -> int:
        """Steps of the series until a sequence stops or the scheduler may decide otherwise."""
        scheduler = self.scheduler
        most = scheduler.steady_steps() + (0 if pipelined else 1)
        stops = self._stops
        while stops:
            clock, order, request = stops[0]
            if _is_live(clock, order, request):
                return min(most, clock - last.clock + 1)
            heapq.heappop(stops)
        return most

    def _ends(self, head: Batch) -> bool:
        """Whether a request may finish with `head`, which leads the series."""
        if head.closing is not None or self._one_token:
            return True
        return bool(head.num_decodes and self._stops and self._stops[0][0] <= head.clock)

    def _boundary(self, steps: int) -> float:
        """When the `steps`-th step of the series ends (s)."""
        last = self.scheduler.in_flight[-1]
        context = last.decode_context
        growth = last.num_decodes - last.padding
        return self._lead_end + (
            steps * self._a + self._b * (steps * context + growth * (steps * (steps - 1) // 2))
        )

    def _shorten(self, at: float) -> None:
        """End the series at its first step boundary at or after `at` (s)."""
        if self._series and at < self.next_time:
            self._steps = self._steps_until(at)
            self.next_time = self._boundary(self._steps)

    def _steps_until(self, at: float) -> int:
        """Steps of the series up to its first boundary at or after `at` (s): a quadratic equation."""
        least = 0 if self.depth > 1 else 1
        span = at - self._lead_end
        if span <= 0.0:
            return least
        last = self.scheduler.in_flight[-1]
        half = 0.5 * self._b * (last.num_decodes - last.padding)
        linear = self._a + self._b * last.decode_context - half
        if half > 0.0:
            root = 2.0 * span / (linear + math.sqrt(linear * linear + 4.0 * half * span))
        else:
            root = span / linear if linear > 0.0 else 0.0
        steps = max(least, min(self._steps, math.ceil(root)))
        while steps < self._steps and self._boundary(steps) < at:
            steps += 1
        while steps > least and self._boundary(steps - 1) >= at:
            steps -= 1
        return steps

    # ---- booking ----------------------------------------------------------------------------------------

    def _complete_planned(self, now: float) -> list[Request]:
        """Book the batches that ended up to `now`."""
        scheduler = self.scheduler
        seconds = now - self.now
        self.busy += seconds
        used = scheduler.pool.num_blocks - scheduler.pool.free
        if not self._series:
            self.kv_block_seconds += used * seconds
            if used > self.kv_peak_blocks:
                self.kv_peak_blocks = used
            return self._complete(now)
        steps = self._steps
        pipelined = self.depth > 1
        if pipelined:
            self._complete(self._lead_end)
            if steps == 0:
                return _NOBODY
        last = scheduler.in_flight[0]
        weight = last.num_decodes - last.padding
        if weight > 0:
            self._log_series(steps, weight)
        self._emitted = now
        self.steps += steps
        self.decode_tokens += steps * weight
        grown = used + steps * weight // scheduler.limits.block_size
        self.kv_block_seconds += 0.5 * (used + grown) * seconds
        if grown > self.kv_peak_blocks:
            self.kv_peak_blocks = min(grown, scheduler.pool.num_blocks)
        stopped = self._stopped_by(last.clock + steps - 1)
        if pipelined:  # the batch in flight now stands for the step after the series
            return scheduler.advance(steps, now, stopped)
        if steps > 1:
            scheduler.advance(steps - 1, now)
        return scheduler.complete(now, stopped)

    def _complete(self, at: float) -> list[Request]:
        """The oldest batch in flight ended at `at` (s)."""
        scheduler = self.scheduler
        batch = scheduler.in_flight[0]
        self.steps += 1
        stopped = _NOBODY
        if batch.num_decodes:
            weight = batch.num_decodes - batch.padding
            self.decode_tokens += weight
            if weight > 0:
                self._log_step(at, weight)
            self._emitted = at
            if self._in_doubt:
                self._settle(batch.clock, at)
            if self._stops and self._stops[0][0] <= batch.clock:
                stopped = self._stopped_by(batch.clock)
        if batch.prefills:
            stopped = self._first_tokens(batch, at, stopped)
        return scheduler.complete(at, stopped)

    def _note(self, batch: Batch) -> None:
        """A batch was scheduled: when will its newcomers stop, and when did its victims emit last?"""
        for chunk in batch.prefills:
            if chunk.is_last:
                request = chunk.request
                left = self.truth[request.id] - request.sampled
                if left <= 0:
                    self._one_token.append((batch, request))
                elif left < request.max_tokens - request.sampled:
                    heapq.heappush(self._stops, (request.joined + left, request.order, request))
        if batch.preempted is not None:
            for request in batch.preempted:
                if request.sampled and request.last_token < 0.0:
                    if request.left > self.scheduler.done:
                        self._in_doubt.append(request)
                    else:
                        request.last_token = self._late.pop(request.id, self._emitted)

    def _settle(self, clock: int, at: float) -> None:
        """The step that carried the last token of some preempted requests ended at `at` (s)."""
        for request in self._in_doubt:
            if request.left <= clock:
                request.last_token = at
        self._in_doubt = [request for request in self._in_doubt if request.left > clock]

    def _stopped_by(self, clock: int) -> list[Request]:
        """Requests whose answer ends with the decode step that ends now."""
        stops = self._stops
        stopped: list[Request] = []
        while stops and stops[0][0] <= clock:
            at, order, request = heapq.heappop(stops)
            if _is_live(at, order, request):
                stopped.append(request)
        return stopped

    def _first_tokens(self, batch: Batch, at: float, stopped: list[Request]) -> list[Request]:
        """Chunks that reached the end of their prompt emit a token at `at` (s). Adds who stops with it."""
        for chunk in batch.prefills:
            if not chunk.is_last:
                continue
            request = chunk.request
            if request.first_token < 0.0:
                request.first_token = at
            else:
                self.recorder.gaps(request.last_token, at - request.last_token, 0.0, 1, 1)
            waits = request.status == WAITING  # preempted while its token was in flight
            request.last_token = at if waits else -1.0
            ends = batch.closing is not None and request in batch.closing
            if self._one_token and (batch, request) in self._one_token:
                self._one_token.remove((batch, request))
                if not ends:
                    stopped = [*stopped, request]
            elif not batch.num_decodes and not ends and not waits:
                self._late[request.id] = at
        return stopped

    def _log_step(self, at: float, weight: int) -> None:
        """`weight` sequences emitted at `at` (s); those that joined since the last emission have gaps of their own."""
        late = self._late
        if late:
            for since in late.values():
                self.recorder.gaps(since, at - since, 0.0, 1, 1)
            weight -= len(late)
            late.clear()
        if weight > 0:
            self.recorder.gaps(self._emitted, at - self._emitted, 0.0, 1, weight)

    def _log_series(self, steps: int, weight: int) -> None:
        """`weight` sequences emitted `steps` tokens each, in the planned series."""
        last = self.scheduler.in_flight[0]
        start = self._lead_end
        first = self._a + self._b * last.decode_context
        increment = self._b * weight
        if self._late or self._emitted != start:
            self._log_step(start + first, weight)
            start += first
            first += increment
            steps -= 1
        if steps:
            self.recorder.gaps(start, first, increment, steps, weight)


def _is_live(at: int, order: int, request: Request) -> bool:
    """Whether a planned stop at decode clock `at` still holds: not preempted before it, nor ended."""
    if request.order != order or request.status == FINISHED:
        return False
    return request.status != WAITING or at <= request.left


_NOBODY: list[Request] = []
