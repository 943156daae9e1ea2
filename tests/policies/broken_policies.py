"""Policies that each break one law, at module level so that they can be pickled."""

import math
import random
import time
from dataclasses import dataclass, field
from typing import ClassVar

from hasten.core.policy import (
    FOREVER,
    AdmitPolicy,
    CachePolicy,
    LengthPredictor,
    RoutePolicy,
    SchedulingPolicy,
)
from hasten.core.request import Request, Segment
from hasten.core.view import ClusterView, LengthView, SchedulerView

CALLS = [0]


@dataclass
class WrongHorizon(SchedulingPolicy):
    """Lets requests in at every seventh decode step only, and claims that refusals last."""

    def admits(self, view: SchedulerView) -> bool:
        return view.num_running == 0 or view.steps_decoded % 7 == 0

    def horizon(self, view: SchedulerView) -> int:
        return FOREVER


@dataclass
class ForgottenAlarm(SchedulingPolicy):
    """Refuses for some milliseconds after an arrival and does not say when it wakes up."""

    def admits(self, view: SchedulerView) -> bool:
        return all(view.now >= request.arrival + 0.004 for request in view.waiting)


@dataclass
class GlobalCounter(SchedulingPolicy):
    """Ranks by a counter that outlives the run."""

    def rank(self, request: Request, view: SchedulerView) -> float:
        CALLS[0] += 1
        return (CALLS[0] * 7919) % 101


@dataclass
class GlobalRandom(SchedulingPolicy):
    """Ranks by ambient randomness."""

    def rank(self, request: Request, view: SchedulerView) -> float:
        return random.random()


@dataclass
class WallClock(SchedulingPolicy):
    """Cuts chunks by the wall clock."""

    def chunk(self, request: Request, wanted: int, view: SchedulerView) -> int:
        return max(1, wanted - time.perf_counter_ns() % 3)


@dataclass
class Starves(SchedulingPolicy):
    """Never lets the last one in."""

    def admits(self, view: SchedulerView) -> bool:
        return view.num_waiting > 1


@dataclass
class DeclaredStarvation(Starves):
    """The same, but it says so."""

    may_starve: ClassVar[bool] = True  # type: ignore[assignment,misc]


@dataclass
class Insomniac(SchedulingPolicy):
    """Wants to be asked again at once, for ever."""

    def admits(self, view: SchedulerView) -> bool:
        return False

    def wakes_at(self, view: SchedulerView) -> float:
        return view.now


@dataclass
class Greedy(SchedulingPolicy):
    """Takes more tokens than offered."""

    def chunk(self, request: Request, wanted: int, view: SchedulerView) -> int:
        return wanted + 1


@dataclass
class NotANumber(SchedulingPolicy):
    """Ranks by nothing."""

    def rank(self, request: Request, view: SchedulerView) -> float:
        return math.nan


@dataclass
class WrongVictim(SchedulingPolicy):
    """Preempts who waits."""

    def victim(self, view: SchedulerView) -> Request | None:
        return next(iter(view.waiting), None)


@dataclass
class Crashes(SchedulingPolicy):
    """Looks up what is not there."""

    def rank(self, request: Request, view: SchedulerView) -> float:
        return {}[request.id]


@dataclass
class Rewrites(SchedulingPolicy):
    """Makes every request urgent."""

    def on_arrival(self, request: Request, view: SchedulerView) -> None:
        request.priority = -1


@dataclass
class Thief(SchedulingPolicy):
    """Takes a block for itself."""

    def on_finish(self, request: Request, view: SchedulerView) -> None:
        view._scheduler.pool.take(1)


@dataclass
class SetOrder(SchedulingPolicy):
    """Serves the waiting in the order of a set."""

    def rank(self, request: Request, view: SchedulerView) -> float:
        return list({other.id for other in view.waiting} | {request.id}).index(request.id)


@dataclass
class Unpicklable(SchedulingPolicy):
    """Holds a function."""

    key: object = field(default_factory=lambda: lambda request: request.arrival)


@dataclass
class Nowhere(RoutePolicy):
    """Sends to a replica that does not exist."""

    def choose(self, request: Request, view: ClusterView) -> int:
        return -3 if request.id == 2 else 0


@dataclass
class Blindfolded(RoutePolicy):
    """Looks at counts of requests, and says that it doesn't."""

    reads_progress: ClassVar[bool] = False
    reads_load: ClassVar[bool] = False

    def choose(self, request: Request, view: ClusterView) -> int:
        return min(view.replicas, key=lambda replica: (replica.outstanding, replica.index)).index


@dataclass
class StaleRouter(RoutePolicy):
    """Looks at the progress of decodes, and says that it doesn't."""

    reads_progress: ClassVar[bool] = False

    def choose(self, request: Request, view: ClusterView) -> int:
        return min(view.replicas, key=lambda replica: (replica.decode_context % 7, replica.index)).index


@dataclass
class GlobalScore(CachePolicy):
    """Evicts by a counter that outlives the run."""

    def score(self, segment: Segment, now: float) -> float:
        CALLS[0] += 1
        return (CALLS[0] * 7919) % 101


@dataclass
class SecretOracle(LengthPredictor):
    """Asks for the truth and keeps silent about it.

    Needs: nothing.
    """

    def predict(self, request: Request, view: LengthView) -> float:
        return float(view.truth(request))


@dataclass
class OpenOracle(SecretOracle):
    """Asks for the truth and says so.

    Needs: the true output length.
    """


@dataclass
class Pessimist(LengthPredictor):
    """Predicts what can't be."""

    def predict(self, request: Request, view: LengthView) -> float:
        return 0.0


@dataclass
class Undecided(AdmitPolicy):
    """Answers neither yes nor no."""

    def decide(self, request: Request, view: ClusterView) -> bool:
        return None  # type: ignore[return-value]
