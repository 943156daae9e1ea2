"""Least attained service, counted per program."""

import heapq
import math
from dataclasses import dataclass, field

from hasten.core.policy import FOREVER, SchedulingPolicy
from hasten.core.request import WAITING, Request
from hasten.core.view import SchedulerView
from hasten.errors import InputError


@dataclass(slots=True)
class _Program:
    """What a program has had of this replica, in seconds: `service` orders its next call, the others its promotion."""

    service: float = 0.0
    executed: float = 0.0
    waited: float = 0.0
    last: float = 0.0  # when a call of it last ended


_NEW = (0.0, math.inf, 0.0)  # a call of a program that has had nothing yet


@dataclass
class Autellix(SchedulingPolicy):
    """Admit first the calls of programs that have had least service so far, by classes that double in width.

    A call starts with its program's service: that of the longest path of calls behind it, which in a chain is the sum
    (PLAS) and in a tree the critical path (ATLAS). A call whose program waited `beta` times as long as it ran joins
    the first class. When KV runs out, the call with the most service loses its own.

    Paper: "Autellix: An Efficient Serving Engine for LLM Agents as General Programs", 2025, arXiv:2502.13965 (NSDI 2026
        as Agentix), sections 4.1 and 4.2.
    Differs: calls that run keep their slot: the core takes one back only when KV runs out, so that steps in which
        nothing arrives or ends decide nothing and need not be taken one by one. The paper interrupts a call when the
        quantum of its class is used up and swaps its KV to the host; here who loses its KV computes again, or loads it
        where there is host memory. Each replica counts the service it gave itself; the bounds of the classes, which
        the paper doesn't give, are parameters.
    Needs: session numbers, which say what belongs to one program; calls without one are programs of their own.
    Use when: a queue forms and programs differ widely in their number of calls, as chats and mixes of agents do.
    Avoid when: all programs have about the same size: those served longest are closest to their end, and wait.
    """

    first: float = 1.0  # s of service that the first class holds; each further one ends at twice as much
    classes: int = 12  # how many there are; the last is open
    beta: float = 20.0  # waiting over running time of a program at which its call is promoted; inf: never
    forget: float = 3600.0  # s without a call after which a program counts as new
    _programs: dict[int, _Program] = field(default_factory=dict, init=False, repr=False)  # by last end
    _calls: dict[int, tuple[float, float, float]] = (
        field(  # id -> class, promotion (s), service at arrival (s)
            default_factory=dict, init=False, repr=False
        )
    )
    _promotions: list[tuple[float, int, Request]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.first > 0.0 or self.classes < 1:
            raise InputError(
                f"first is {self.first} and classes {self.classes}: it must be above 0, at least 1"
            )
        if not self.beta >= 0.0 or not self.forget >= 0.0:
            raise InputError(f"beta is {self.beta} and forget {self.forget}: it must be 0 or more")

    @property
    def may_starve(self) -> bool:
        """Without promotion a long program waits as long as new ones come fast enough."""
        return self.beta == math.inf

    def rank(self, request: Request, view: SchedulerView) -> float:
        """The class: 0 for the least service. Within a class calls go by arrival."""
        call = self._calls.get(request.id)
        if call is None:
            call = self._enter(request)
        return 0.0 if view.now >= call[1] else call[0]

    def victim(self, view: SchedulerView) -> Request | None:
        """Who has the most service, this call's included; of equals the latest."""
        return max(
            view.running, key=lambda request: (self._attained(request, view.now), request.order), default=None
        )

    def horizon(self, view: SchedulerView) -> int:
        """Classes change by promotion alone, and `wakes_at` says when."""
        return FOREVER

    def wakes_at(self, view: SchedulerView) -> float:
        """The next promotion of a call that waits (s)."""
        heap = self._promotions
        while heap and (heap[0][0] <= view.now or heap[0][2].status != WAITING):
            heapq.heappop(heap)
        return heap[0][0] if heap else math.inf

    def on_finish(self, request: Request, view: SchedulerView) -> None:
        """Book the call's service on its program."""
        service = self._calls.pop(request.id, _NEW)[2]
        if request.session < 0 or request.scheduled < 0.0:
            return
        programs = self._programs
        program = programs.pop(request.session, None) or _Program()
        seconds = view.now - request.scheduled
        program.service = max(program.service, service + seconds)
        program.executed += seconds
        program.waited += request.scheduled - request.arrival
        program.last = view.now
        programs[request.session] = program  # to the end: the first ended longest ago
        while programs:
            oldest = next(iter(programs))
            if programs[oldest].last >= view.now - self.forget:
                break
            del programs[oldest]

    def _enter(self, request: Request) -> tuple[float, float, float]:
        """Class, promotion and service of a call that arrives."""
        program = self._programs.get(request.session)
        call = _NEW
        if program is not None and program.service >= self.first:
            number = min(self.classes - 1, 1 + int(math.log2(program.service / self.first)))
            promotion = request.arrival + self.beta * program.executed - program.waited
            call = (float(number), promotion, program.service)
            if promotion < math.inf:
                heapq.heappush(self._promotions, (promotion, request.id, request))
        elif program is not None:
            call = (0.0, math.inf, program.service)
        self._calls[request.id] = call
        return call

    def _attained(self, request: Request, now: float) -> float:
        return self._calls.get(request.id, _NEW)[2] + max(0.0, now - request.scheduled)
