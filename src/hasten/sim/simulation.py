"""The event loop in virtual time: arrivals, and turns of replicas. It owns the clock; the core decides."""

from __future__ import annotations

import gc
import math
import random
from collections.abc import Callable, Sequence
from functools import partial
from heapq import heappop, heappush
from typing import Final

from hasten.core.cluster import HOLD, REFUSED, Cluster
from hasten.core.policy import AdmitPolicy, LengthPredictor, RoutePolicy
from hasten.core.request import REJECTED, Request
from hasten.core.view import Estimates, Stream
from hasten.sim.loop import EngineLoop
from hasten.sim.recorder import OK, Recorder
from hasten.sim.recorder import REJECTED as TURNED_AWAY
from hasten.sim.source import Source

Progress = Callable[[int, int], None]
Observer = Callable[[EngineLoop], None]
_PROGRESS_EVERY: Final = 1024  # ended requests
_STRETCH: Final = 64  # arrivals that replicas which nobody compares get at once


def streams(seed: int) -> Callable[[str], Stream]:
    """One random stream per role, so that a new random policy moves nobody else's numbers."""
    return lambda role: random.Random(f"{seed}/{role}")


class Simulation:
    """Replicas behind a router, fed by a source, until every request has ended."""

    def __init__(
        self,
        source: Source,
        replicas: Sequence[EngineLoop],
        recorder: Recorder,
        truth: dict[int, int],
        *,
        route: RoutePolicy,
        admit: AdmitPolicy | None = None,
        length: LengthPredictor | None = None,
        estimates: Estimates | None = None,
        seed: int = 0,
    ) -> None:
        self.source = source
        self.replicas = list(replicas)
        self.recorder = recorder
        self.truth = truth
        self.now = 0.0
        self.timers: list[tuple[float, int, Callable[[float], None]]] = []  # (s, order, what happens then)
        self._times: list[float] = []  # when each replica needs its next turn (s)
        self.cluster = Cluster(
            [replica.ranks for replica in self.replicas],
            route,
            random=streams(seed),
            admit=admit,
            length=length,
            truth=lambda request: truth[request.id],
            estimates=estimates,
        )
        stepping = any(replica.stepping for replica in self.replicas)  # the reference keeps to the clock
        self.apart = self.cluster.independent and not source.listens and not stepping
        self._ended = 0
        self._timed = 0

    def run(self, progress: Progress | None = None, observe: Observer | None = None) -> None:
        """Play everything. `progress(ended, total)` is called now and then, `observe(replica)` after every turn.

        Where no replica's doing can change another's (`apart`), each plays by itself up to the next arrival that none
        of them has got: the same turns, in another order.

        Raises RuntimeError if requests wait for ever: a policy that never admits them.
        """
        collects = gc.isenabled()
        gc.disable()  # a run makes no cycles, and looking for them takes a tenth of its time
        try:
            self._play(progress, observe)
        finally:
            if collects:
                gc.enable()
        self.now = max((replica.now for replica in self.replicas), default=0.0)
        if self.truth:
            raise RuntimeError(
                f"{len(self.truth)} requests wait for ever (first: {min(self.truth)}): the scheduling policy never "
                "admits them"
            )

    def _play(self, progress: Progress | None, observe: Observer | None) -> None:
        source, replicas, truth, place = self.source, self.replicas, self.truth, self.cluster.place
        times = self._times = [replica.next_time for replica in replicas]
        timers = self.timers
        stretch = _STRETCH if self.apart else 1
        told = 0
        while True:
            turn = min(times)
            arrival = source.next_time
            if timers and timers[0][0] <= turn and timers[0][0] <= arrival:
                at, _, happen = heappop(timers)
                happen(at)
            elif arrival <= turn:
                if arrival == math.inf:
                    break
                for request, output_tokens in source.take(stretch):
                    truth[request.id] = output_tokens
                    self._place(request, place, request.arrival)
            else:
                index = times.index(turn)
                replica = replicas[index]
                until = timers[0][0] if timers and timers[0][0] < arrival else arrival
                while True:
                    finished = replica.turn()
                    if finished:
                        self._finish(finished, index, turn)
                    if replica.turned_away:
                        self._turn_away(replica, turn)
                    if observe is not None:
                        observe(replica)
                    turn = replica.next_time
                    if stretch == 1 or turn >= until:
                        break
                times[index] = turn
            if progress is not None and self._ended >= told + _PROGRESS_EVERY:
                told = self._ended
                progress(told, source.total)

    def _place(self, request: Request, choose: Callable[[Request, float], int], now: float) -> None:
        """Let the cluster `choose` where `request` goes, and do as it says."""
        if self.cluster.reads_progress:
            self._catch_up(now)
        index = choose(request, now)
        if index == HOLD:
            again = partial(self._place, request, self.cluster.dispatch)
            self.after(now + self.cluster.route.retry, again)
        elif index == REFUSED:
            self._reject(request, REFUSED, now)
        else:
            replica = self.replicas[index]
            replica.deliver(request, now)
            self._times[index] = replica.next_time

    def _catch_up(self, now: float) -> None:
        """Bring all replicas up to `now` (s), for policies that look inside."""
        times = self._times
        for index, replica in enumerate(self.replicas):
            replica.catch_up(now)
            times[index] = replica.next_time

    def after(self, at: float, happen: Callable[[float], None]) -> None:
        """Call `happen` at `at` (s): before turns and arrivals of that time, in the order of asking."""
        self._timed += 1
        heappush(self.timers, (at, self._timed, happen))

    def _finish(self, finished: list[Request], index: int, now: float) -> None:
        recorder = self.recorder
        cluster = self.cluster
        source = self.source
        for request in finished:
            request.finish = now
            output = self.truth.pop(request.id)
            if output > request.max_tokens:
                output = request.max_tokens
            recorder.request(request, output, index, OK)
            cluster.ended(request, index, output)
            if source.listens:
                source.ended(request, now)
        self._ended += len(finished)

    def _turn_away(self, replica: EngineLoop, now: float) -> None:
        for request in replica.turned_away:
            self.cluster.ended(request, replica.index, 0)
            self._reject(request, replica.index, now)
        replica.turned_away.clear()

    def _reject(self, request: Request, index: int, now: float) -> None:
        request.status = REJECTED
        del self.truth[request.id]
        self.recorder.request(request, 0, index, TURNED_AWAY)
        self.source.ended(request, now)
        self._ended += 1
