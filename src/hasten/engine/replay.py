"""A recorded run again, in virtual time: the same core must decide the same, step by step.

What a simulation would know is taken from the record: when requests arrived and left, how long steps took, and how
many tokens answers had. What it would work out is worked out: which input a turn sees, and who stops when.
"""

from __future__ import annotations

from typing import Protocol

from hasten.core.batch import Batch
from hasten.core.cluster import REFUSED
from hasten.core.request import REJECTED, Request
from hasten.core.scheduler import Scheduler
from hasten.engine.policies import Policies
from hasten.engine.recording import Arrival, Departure, Recording
from hasten.engine.step import Decision, decision, decoding


class Watch(Protocol):
    """Looks on while a recording is replayed. Times in seconds."""

    def begins(self, scheduler: Scheduler) -> None: ...
    def ended(self, now: float) -> None: ...  # the step in flight ended; the scheduler has not heard it yet
    def decided(self, batch: Batch | None, now: float) -> None: ...
    def finished(self, request: Request, tokens: int, now: float) -> None: ...


class ReplayDiffers(Exception):
    """A replay decided otherwise: the message names step, time and both decisions."""


def replay(recording: Recording, policies: Policies, watch: Watch | None = None) -> int:
    """Play the core against `recording` and compare every decision. Returns the number of steps compared.

    `watch` is told of every step and of everybody who is served in full.

    Raises ReplayDiffers at the first difference.
    """
    player = _Player(recording, policies, watch)
    steps = 0
    for number, turn in enumerate(recording.turns):
        found = player.turn(turn.now)
        if found != turn.decision:
            raise ReplayDiffers(
                f"turn {number} at {turn.now:.6f} s (step {steps}): recorded {turn.decision}, replayed {found}"
            )
        steps += found is not None
    if player.inputs_left:
        raise ReplayDiffers(f"{player.inputs_left} inputs came after the last turn")
    return steps


class _Player:
    """The core in virtual time, with an executor that only counts tokens."""

    def __init__(self, recording: Recording, policies: Policies, watch: Watch | None) -> None:
        self._scheduler, self._cluster = policies.core(recording.limits)
        self._watch = watch
        if watch is not None:
            watch.begins(self._scheduler)
        self._inputs = [each for turn in recording.turns for each in turn.inbox]
        self._at = 0
        self._lengths = {id: tokens for turn in recording.turns for id, tokens in turn.stopped.items()}
        self._named = {id: names for turn in recording.turns for id, names in turn.named.items()}
        self._requests: dict[int, Request] = {}
        self._emitted: dict[int, int] = {}
        self._stopped: list[Request] = []
        self._ended: list[Request] = []

    @property
    def inputs_left(self) -> int:
        """Inputs that no turn has seen."""
        return len(self._inputs) - self._at

    def turn(self, now: float) -> Decision | None:
        """What the core decides at `now` (s), after the step that ended and the input that came before."""
        scheduler = self._scheduler
        if scheduler.in_flight:
            if self._watch is not None:
                self._watch.ended(now)
            stopped, self._stopped = self._stopped, []
            for request in self._ended:
                self._name(request)
            for request in scheduler.complete(now, stopped):
                self._end(request)
                if self._watch is not None:
                    self._watch.finished(request, self._emitted[request.id], now)
        self._drain(now)
        batch = scheduler.schedule(now)
        if self._watch is not None:
            self._watch.decided(batch, now)
        if batch is None:
            return None
        decodes = decoding(scheduler, batch)
        closing = batch.closing or ()
        for request in [*decodes, *(chunk.request for chunk in batch.prefills if chunk.is_last)]:
            self._emitted[request.id] += 1
            if self._emitted[request.id] == self._lengths.get(request.id) and request not in closing:
                self._stopped.append(request)
        self._ended = [*self._stopped, *closing]
        return decision(batch, decodes)

    def _drain(self, now: float) -> None:
        inputs = self._inputs
        while self._at < len(inputs):
            given = inputs[self._at]
            if (given.at if isinstance(given, Departure) else given.arrival) > now:
                return
            self._at += 1
            if isinstance(given, Arrival):
                self._enter(given.request(), now)
            else:
                request = self._requests[given.id]
                self._name(request)
                for ended in self._scheduler.cancel(request, now):
                    self._end(ended)
                self._end(request)

    def _enter(self, request: Request, now: float) -> None:
        self._requests[request.id] = request
        self._emitted[request.id] = 0
        if self._cluster.place(request, now) == REFUSED:
            request.status = REJECTED
        elif not self._scheduler.add(request, now):
            request.status = REJECTED
            self._cluster.ended(request, 0, 0)

    def _name(self, request: Request) -> None:
        """`request` is over: the blocks that its answer filled have the recorded names."""
        names = self._named.get(request.id)
        if names is not None:
            request.block_ids += names
            request.names_answer = True

    def _end(self, request: Request) -> None:
        self._cluster.ended(request, 0, self._emitted[request.id])
