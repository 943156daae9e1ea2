"""A time to live for what a program leaves behind while its tool runs."""

import math
from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass, field

from hasten.core.policy import CachePolicy
from hasten.core.request import FINISHED, SHARED, Request, Segment
from hasten.errors import InputError

_WINDOW = 300  # samples kept per kind of tool
_FEWEST = 100  # samples from which on a distribution is believed
_FADE = 0.99  # weight of what was known when a prefill is added to the fit of their times


class ToolTimes:
    """The latest durations of one kind of tool in seconds, sorted and by age."""

    def __init__(self) -> None:
        self.sorted: list[float] = []
        self._aged: deque[float] = deque()

    def __len__(self) -> int:
        return len(self.sorted)

    def add(self, seconds: float) -> None:
        """One more; the oldest goes when there are too many."""
        insort(self.sorted, seconds)
        self._aged.append(seconds)
        if len(self._aged) > _WINDOW:
            del self.sorted[bisect_left(self.sorted, self._aged.popleft())]


class Regularity:
    """How well the turns so far tell how many are to come: 1 if all programs have as many turns, 0 if geometric.

    It is minus the correlation of k and N - k over the turns k of programs of N turns.
    """

    def __init__(self) -> None:
        self._n = self._k = self._left = self._kk = self._lefts = self._both = 0.0

    def add(self, turns: int) -> None:
        """A program ended after `turns` turns."""
        k = turns * (turns + 1) / 2
        kk = k * (2 * turns + 1) / 3
        left = turns * (turns - 1) / 2
        self._n += turns
        self._k += k
        self._left += left
        self._kk += kk
        self._lefts += left * (2 * turns - 1) / 3
        self._both += turns * k - kk

    @property
    def value(self) -> float:
        """The correlation, its sign changed; 1 while nothing contradicts it."""
        n = self._n
        spread = (n * self._kk - self._k**2) * (n * self._lefts - self._left**2)
        if spread <= 0.0:
            return 1.0
        return -(n * self._both - self._k * self._left) / math.sqrt(spread)


@dataclass(slots=True)
class _Open:
    """A program that is at a tool: when its last call ended (s), which tool, how many turns and tokens there were."""

    since: float
    tool: int
    turns: int
    context: int


class Lifetimes:
    """How long to keep what a finished request leaves, learned from the requests that finished before it.

    The time to live t of 0 or a duration seen of this tool that is best by P(t) (T eta + R) - t: P is the share of
    durations up to t, T the mean wait in the queue of programs that lost their context, R the time to compute it
    again and eta the regularity of turns (equation 3 of the paper). Before there are 100 durations the tool's time
    is taken as exponential with a mean of 1 s and eta as 1; a tool with fewer is judged by all tools together.
    """

    def __init__(self, fixed: float = -1.0) -> None:
        self.fixed = fixed
        self.regularity = Regularity()
        self._all = ToolTimes()
        self._by_tool: dict[int, ToolTimes] = {}
        self._open: dict[int, _Open] = {}
        self._waits: deque[float] = deque((0.0,), maxlen=_FEWEST)
        self._fit = (0.0, 0.0, 0.0, 0.0, 0.0)  # n, x, y, xx, xy: tokens computed, seconds they took

    def finished(self, request: Request, now: float) -> float:
        """Seconds from `now` for which the blocks of `request`, which just finished, are worth keeping; 0: free."""
        if request.session < 0 or request.scheduled < 0.0:
            return 0.0
        before = self._open.pop(request.session, None)
        self._learn(request, before)
        turns = 1 if before is None else before.turns + 1
        if request.tool < 0:
            self.regularity.add(turns)
            return 0.0
        context = request.prompt_tokens + request.sampled
        self._open[request.session] = _Open(now, request.tool, turns, context)
        return self.best(request.tool, context) if self.fixed < 0.0 else self.fixed

    def best(self, tool: int, context: int) -> float:
        """The time to live (s) of `context` tokens while `tool` runs."""
        wait = sum(self._waits) / len(self._waits)
        known = self._by_tool.get(tool, self._all)
        if len(self._all) <= _FEWEST:
            return math.log(max(1.0, wait + self.prefill(context)))
        seen = (known if len(known) > _FEWEST else self._all).sorted
        worth = (wait * self.regularity.value + self.prefill(context)) / len(seen)
        best, value = 0.0, 0.0
        for number, seconds in enumerate(seen, 1):
            if number * worth - seconds > value:
                best, value = seconds, number * worth - seconds
        return best

    def prefill(self, tokens: int) -> float:
        """Seconds to compute `tokens` tokens, by the line through the prefills seen."""
        n, x, y, xx, xy = self._fit
        spread = n * xx - x * x
        if spread <= 1e-6 * xx or n * xy <= x * y:
            return tokens * y / x if x > 0.0 else 0.0
        return tokens * (n * xy - x * y) / spread

    def _learn(self, request: Request, before: _Open | None) -> None:
        tokens = request.prompt_tokens - request.cached
        seconds = max(0.0, request.first_token - request.scheduled)
        if not request.preemptions:
            new = (1.0, float(tokens), seconds, float(tokens * tokens), tokens * seconds)
            self._fit = tuple(_FADE * a + b for a, b in zip(self._fit, new, strict=True))  # type: ignore[assignment]
        if before is None or request.arrival < before.since:
            return
        away = request.arrival - before.since
        self._all.add(away)
        self._by_tool.setdefault(before.tool, ToolTimes()).add(away)
        if request.cached < 0.9 * before.context:
            self._waits.append(request.scheduled - request.arrival)


@dataclass
class Continuum(CachePolicy):
    """Keep the context of a program that calls a tool for as long as the tool is worth waiting for.

    Blocks whose time is over, and those nobody is expected back for, are evicted first; then those whose time ends
    next.

    Paper: "Continuum: Efficient and Robust Multi-Turn LLM Agent Scheduling with KV Cache Time-to-Live", 2025,
        arXiv:2511.02230, sections 4 and 5.
    Differs: by itself it only orders evictions; who may be let in while others are kept is what the schedule policy of
        the same name says; the time to compute a context again is a line through the prefills seen, not a quadratic
        fit made beforehand.
    Needs: programs whose calls say which tool they call (session and tool numbers), and a prefix cache.
    Use when: agents come back within seconds with long contexts, and KV is short.
    Avoid when: memory suffices for all programs, or contexts are short: lru is as good.
    """

    fixed: float = -1.0  # s; time to live of all; inf: until they return; below 0: as the paper has it
    _times: Lifetimes = field(init=False, repr=False, compare=False)
    _until: float = field(default=0.0, init=False, repr=False)  # s; of the request that releases now

    def __post_init__(self) -> None:
        if math.isnan(self.fixed):
            raise InputError(f"fixed is {self.fixed}: it must be a number of seconds, or below 0")
        self._times = Lifetimes(self.fixed)

    def on_release(self, request: Request, now: float) -> None:
        """Until when to keep what `request` leaves (s)."""
        self._until = now + self._times.finished(request, now) if request.status == FINISHED else now

    def score(self, segment: Segment, now: float) -> float:
        """The end of its time (s)."""
        return self._until if segment.kind == SHARED else now
