"""The wall-clock driver: turns of the engine loop over the same core that the simulator drives.

A turn reads the clock once. It books the step that ended, drains the input that came before, lets the core decide,
and runs what it decided. Everything the core ever hears, and everything it decides, can be recorded.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Protocol

from hasten.core.batch import Batch
from hasten.core.cluster import REFUSED as TURNED_AWAY
from hasten.core.limits import Limits
from hasten.core.request import FINISHED, HELD, REJECTED, Request
from hasten.engine.blocks import BlockTables
from hasten.engine.policies import Policies
from hasten.engine.recording import Recorder
from hasten.engine.sampling import Sampled
from hasten.engine.sequence import CANCELLED, REFUSED, Sequence
from hasten.engine.step import decision, decoding

TICK = 2.0**-20
"""The clock's resolution (s): a power of two, so that sums and differences of times are exact."""

Clock = Callable[[], float]


def wall_clock() -> Clock:
    """Seconds since this call, in ticks."""
    start = time.perf_counter()
    return lambda: math.floor((time.perf_counter() - start) / TICK) * TICK


class Executor(Protocol):
    """Runs batches. `run` returns the token of every sequence that samples one in `batch`."""

    def run(
        self,
        batch: Batch,
        decodes: list[Request],
        sequences: dict[int, Sequence],
        tables: BlockTables,
    ) -> list[tuple[Sequence, Sampled]]: ...

    def forget(self, request: Request) -> None: ...


class Engine:
    """Drives one scheduler and one executor, a step at a time (depth 1). `submit` and `cancel` may be called from any
    thread; `turn` from one only. Times are seconds since the engine was made.
    """

    def __init__(
        self,
        executor: Executor,
        limits: Limits,
        policies: Policies | None = None,
        *,
        clock: Clock | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.executor = executor
        self.scheduler, self._cluster = (policies or Policies()).core(limits)
        self.tables = BlockTables(self.scheduler.pool)
        self.sequences: dict[int, Sequence] = {}
        self.clock = clock or wall_clock()
        self.steps = 0
        self.num_unfinished = 0  # submitted and not ended; read it from any thread
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._inbox: list[tuple[float, Sequence, bool]] = []  # (when, who, leaves)
        self.recorder = recorder
        self._caches = limits.prefix_caching
        self._stopped: list[Request] = []
        self._ended: list[Sequence] = []  # in the step that runs: by content or by length

    # ---- from any thread --------------------------------------------------------------------------------

    def submit(self, sequence: Sequence) -> None:
        """Queue `sequence`; its arrival is now."""
        with self._wake:
            sequence.request.arrival = self.clock()
            self._inbox.append((sequence.request.arrival, sequence, False))
            self.num_unfinished += 1
            self._wake.notify()

    def cancel(self, sequence: Sequence) -> None:
        """The client of `sequence` left. Does nothing when it has ended."""
        with self._wake:
            self._inbox.append((self.clock(), sequence, True))
            self._wake.notify()

    def wake(self) -> None:
        """End a `wait`."""
        with self._wake:
            self._wake.notify_all()

    # ---- from the engine's thread -----------------------------------------------------------------------

    def wait(self, longest: float = 1.0) -> None:
        """Sleep until there is input, the policy wants to be asked again, or `longest` seconds have passed."""
        scheduler = self.scheduler
        if scheduler.waiting or scheduler.prefilling:
            longest = min(longest, scheduler.policy.wakes_at(scheduler.view) - self.clock())
        with self._wake:
            if not self._inbox and longest > 0:
                self._wake.wait(longest)

    def turn(self) -> bool:
        """One turn: book, drain, decide, run. False when there was nothing to run."""
        with self._lock:
            now = self.clock()
            inbox = self._inbox
            self._inbox = []
        scheduler = self.scheduler
        if scheduler.in_flight:
            self._complete(now)
        for at, sequence, leaves in inbox:
            if leaves:
                self._leave(sequence, at, now)
            else:
                self._enter(sequence, now)
        batch = scheduler.schedule(now)
        decodes = [] if batch is None else decoding(scheduler, batch)
        self.tables.follow(batch, decodes, scheduler.group.clock)
        if self.recorder is not None:
            self.recorder.decided(now, None if batch is None else decision(batch, decodes))
        if batch is None:
            return False
        self._run(batch, decodes)
        return True

    def run_until_idle(self) -> None:
        """Turn until nothing is left to do, for engines without a thread of their own."""
        while self.num_unfinished or self.scheduler.in_flight:
            if not self.turn() and self.num_unfinished:
                self.wait()

    def abandon(self) -> list[Sequence]:
        """Give up: everybody who is inside or comes in, for the caller to end. The engine must not turn again."""
        with self._lock:
            inside = [*self.sequences.values(), *(who for _, who, leaves in self._inbox if not leaves)]
            self._inbox = []
            self.num_unfinished = 0
        self.sequences.clear()
        return inside

    def _run(self, batch: Batch, decodes: list[Request]) -> None:
        sampled = self.executor.run(batch, decodes, self.sequences, self.tables)
        self.steps += 1
        at = self.clock()
        closing = batch.closing or ()
        for sequence, token in sampled:
            request = sequence.request
            if request.first_token < 0.0:
                request.first_token = at
            request.last_token = at
            is_last = request in closing
            if sequence.take(token, is_last) and not is_last:
                self._stopped.append(request)
            if sequence.finish is not None:
                request.finish = at
                self._ended.append(sequence)

    def _complete(self, now: float) -> None:
        stopped = self._stopped
        self._stopped = []
        if self.recorder is not None:
            self.recorder.stopped({request.id: len(self.sequences[request.id].answer) for request in stopped})
        for sequence in self._ended:
            self._name(sequence)
        self._ended = []
        for request in self.scheduler.complete(now, stopped):
            self._forget(request)

    def _enter(self, sequence: Sequence, now: float) -> None:
        request = sequence.request
        if self.recorder is not None:
            self.recorder.arrived(request)
        self.sequences[request.id] = sequence
        if self._cluster.place(request, now) == TURNED_AWAY:
            self._refuse(sequence)
        elif not self.scheduler.add(request, now):
            self._cluster.ended(request, 0, 0)
            self._refuse(sequence)

    def _refuse(self, sequence: Sequence) -> None:
        sequence.request.status = REJECTED
        del self.sequences[sequence.request.id]
        with self._lock:
            self.num_unfinished -= 1
        sequence.end(REFUSED)

    def _leave(self, sequence: Sequence, at: float, now: float) -> None:
        request = sequence.request
        if request.id not in self.sequences or request.status in (FINISHED, HELD):
            return
        if self.recorder is not None:
            self.recorder.cancelled(request, at)
        self._name(sequence)
        for ended in self.scheduler.cancel(request, now):
            self._forget(ended)
        self._forget(request)
        sequence.end(CANCELLED)

    def _name(self, sequence: Sequence) -> None:
        """`sequence` is over: name the blocks that its answer filled, so that the prefix cache can keep them."""
        if sequence.names is None or not self._caches:
            return
        request = sequence.request
        known = len(request.block_ids)
        request.block_ids = sequence.names.of(sequence.tokens)
        request.names_answer = True
        if self.recorder is not None:
            self.recorder.named(request, request.block_ids[known:])

    def _forget(self, request: Request) -> None:
        sequence = self.sequences.pop(request.id)
        self.tables.release(request)
        self.executor.forget(request)
        self._cluster.ended(request, 0, len(sequence.tokens) - request.prompt_tokens)
        with self._lock:
            self.num_unfinished -= 1
