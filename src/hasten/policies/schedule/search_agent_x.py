"""Questions with cached context and many searches behind them first."""

from dataclasses import dataclass, field

from hasten.core.policy import SchedulingPolicy
from hasten.core.request import Request
from hasten.core.view import SchedulerView
from hasten.errors import InputError

Bounds = tuple[float, float]


@dataclass
class SearchAgentX(SchedulingPolicy):
    """Admit first whose prompt is cached, then by level: searches done, age of the question, length of the context.

    Each of the three is cut into `levels` equal parts of its range among those who wait; a request's level is the
    highest of its three, higher levels go first, and within one who has waited longest.

    Paper: "Demystifying and Enhancing the Efficiency of Large Language Model Based Search Agents" (SearchAgent-X),
        2025, arXiv:2505.12065.
    Differs: levels among cached requests count too; ending a search early when the engine waits (non-stall retrieval)
        belongs to the retriever, not to the scheduler.
    Needs: session numbers, which say which calls belong to one question, and a prefix cache.
    Use when: agents search several times per question, many questions wait and KV is short.
    Avoid when: KV suffices for all questions, or requests are single calls: then it is fcfs by another name.
    """

    levels: int = 6  # parts of each range
    hit: float = 0.8  # share of the prompt in the cache from which on a request goes first
    _searches: dict[int, int] = field(default_factory=dict, init=False, repr=False)  # by session
    _began: dict[int, float] = field(default_factory=dict, init=False, repr=False)  # s, by session
    _at: float = field(default=-1.0, init=False, repr=False)  # s; the time of the bounds below, -1: none
    _bounds: tuple[Bounds, ...] = field(default=(), init=False, repr=False)  # of those who wait

    def __post_init__(self) -> None:
        if self.levels < 1 or not 0.0 <= self.hit <= 1.0:
            raise InputError(
                f"levels is {self.levels} and hit {self.hit}: it must be at least 1, and a share"
            )

    def rank(self, request: Request, view: SchedulerView) -> float:
        """The level, its sign changed; lower by `levels` where the prompt is cached."""
        if request.session >= 0:
            self._began.setdefault(request.session, request.arrival)
        if self._at != view.now:
            self._look(view)
        level = 0
        for value, (low, high) in zip(self._values(request), self._bounds, strict=False):
            if high > low:
                level = max(level, min(self.levels - 1, int(self.levels * (value - low) / (high - low))))
        is_cached = view.cached_tokens(request) >= self.hit * request.target
        return float(-level - (self.levels if is_cached else 0))

    def on_arrival(self, request: Request, view: SchedulerView) -> None:
        """Ranges have to be taken anew."""
        self._at = -1.0

    def on_finish(self, request: Request, view: SchedulerView) -> None:
        """Count a search; a question that calls no tool is answered."""
        self._at = -1.0
        if request.tool < 0:
            self._searches.pop(request.session, None)
            self._began.pop(request.session, None)
        elif request.session >= 0:
            self._searches[request.session] = self._searches.get(request.session, 0) + 1

    def _values(self, request: Request) -> tuple[float, float, float]:
        """Searches, minus the beginning of the question (s), tokens."""
        session = request.session
        return (
            float(self._searches.get(session, 0)),
            -self._began.get(session, request.arrival),
            float(request.target),
        )

    def _look(self, view: SchedulerView) -> None:
        self._at = view.now
        columns = list(zip(*(self._values(each) for each in view.waiting), strict=True))
        self._bounds = tuple((min(column), max(column)) for column in columns)
