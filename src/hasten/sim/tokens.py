"""The tokens of one scheduler's requests in virtual time: when they come out, and with which one an answer ends.

The scheduler does not know how long answers are; this is where the truth is kept and the stops are planned. Gaps
between tokens go to the recorder, those of a whole stretch of equal steps in one entry.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final

from hasten.core.batch import Batch
from hasten.core.policy import FOREVER
from hasten.core.request import DECODING, FINISHED, WAITING, Request
from hasten.core.scheduler import Scheduler
from hasten.sim.recorder import Recorder, pack_gap
from hasten.sim.steps import RankSteps

NOBODY: Final[list[Request]] = []
SOON: Final = -1


class Tokens:
    """Books the steps of `scheduler` as they end. `truth` holds output tokens by request id. Times in seconds."""

    def __init__(self, scheduler: Scheduler, recorder: Recorder, truth: dict[int, int]) -> None:
        self.scheduler = scheduler
        self._gaps = recorder.packed_gaps
        self.truth = truth
        self.decoded = 0  # tokens that decoding sequences emitted
        self._stops: list[tuple[int, int, Request]] = []  # (decode clock, admission order, request)
        self._one_token: list[tuple[Batch, Request]] = []  # their first token, in flight, is their last
        self._emitted = 0.0  # when the decode group last emitted
        self._late: dict[int, float] = {}  # members that emitted since, and when
        self._in_doubt: list[Request] = []  # preempted with a token in flight
        self.log: RankSteps | None = None

    # ---- what is coming ---------------------------------------------------------------------------------

    def note(self, batch: Batch) -> None:
        """A batch was scheduled: when will its newcomers stop, and when did its victims emit last?"""
        for chunk in batch.prefills:
            if chunk.is_last:
                request = chunk.request
                left = self.truth[request.id] - request.sampled
                if left <= 0:
                    self._one_token.append((batch, request))
                elif left < request.max_tokens - request.sampled:
                    heappush(self._stops, (request.joined + left, request.order, request))
        if batch.preempted is not None:
            for request in batch.preempted:
                if request.sampled and request.last_token < 0.0:
                    if request.left > self.scheduler.done:
                        self._in_doubt.append(request)
                    else:
                        request.last_token = self._late.pop(request.id, self._emitted)

    def next_stop(self, lead: Batch | None) -> int:
        """The decode clock at which the next answer ends by content; FOREVER if none does.

        SOON if a request may end with `lead`, which is in flight.
        """
        if lead is not None and (lead.closing is not None or self._one_token):
            return SOON
        stops = self._stops
        while stops:
            clock, order, request = stops[0]
            if (request.status == DECODING and request.order == order) or _is_live(clock, order, request):
                return SOON if lead is not None and clock <= lead.clock and lead.num_decodes else clock
            heappop(stops)
        return FOREVER

    # ---- what ended -------------------------------------------------------------------------------------

    def complete(self, at: float) -> list[Request]:
        """The oldest batch in flight ended at `at` (s). Returns who finished."""
        scheduler = self.scheduler
        batch = scheduler.in_flight[0]
        if self.log is not None:
            self.log.ended(at)
        stopped = NOBODY
        if batch.num_decodes:
            weight = batch.num_decodes - batch.padding
            self.decoded += weight
            if weight > 0:
                if self._late:
                    self._log_step(at, weight)
                else:
                    emitted = self._emitted
                    self._gaps += pack_gap(emitted, at - emitted, 0.0, 1, weight)
            self._emitted = at
            if self._in_doubt:
                self._settle(batch.clock, at)
            if self._stops and self._stops[0][0] <= batch.clock:
                stopped = self._stopped_by(batch.clock)
        if batch.prefills:
            stopped = self._first_tokens(batch, at, stopped)
        return scheduler.complete(at, stopped)

    def complete_series(
        self, steps: int, start: float, gaps: tuple[float, float], now: float, pipelined: bool
    ) -> list[Request]:
        """`steps` equal decode steps ended from `start` to `now` (s), the batch in flight being the first of them.

        They lasted `gaps` = (seconds of the first, increment from one to the next). Pipelined, the batch in
        flight stands for the step after them from now on. Returns who finished.
        """
        scheduler = self.scheduler
        last = scheduler.in_flight[0]
        weight = last.num_decodes - last.padding
        self.decoded += steps * weight
        if weight > 0:
            first, increment = gaps
            more = steps
            if self._late or self._emitted != start:
                self._log_step(start + first, weight)
                start += first
                first += increment
                more -= 1
            if more:
                self._gaps += pack_gap(start, first, increment, more, weight)
        if self.log is not None:
            self.log.ended(now, steps, stays=pipelined)
        self._emitted = now
        clock = last.clock + steps - 1
        stopped = self._stopped_by(clock) if self._stops and self._stops[0][0] <= clock else NOBODY
        if pipelined:
            return scheduler.advance(steps, now, stopped)
        if steps > 1:
            scheduler.advance(steps - 1, now)
        return scheduler.complete(now, stopped)

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
            at, order, request = heappop(stops)
            if (request.order == order and request.status == DECODING) or _is_live(at, order, request):
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
                since = request.last_token
                self._gaps += pack_gap(since, at - since, 0.0, 1, 1)
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
        for since in late.values():
            self._gaps += pack_gap(since, at - since, 0.0, 1, 1)
        weight -= len(late)
        late.clear()
        if weight > 0:
            self._gaps += pack_gap(self._emitted, at - self._emitted, 0.0, 1, weight)


def _is_live(at: int, order: int, request: Request) -> bool:
    """Whether a planned stop at decode clock `at` still holds: not preempted before it, nor ended."""
    if request.order != order or request.status == FINISHED:
        return False
    return request.status != WAITING or at <= request.left
