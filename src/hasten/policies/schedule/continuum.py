"""Programs in order of arrival, and room for those that are at a tool."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

from hasten.core.policy import FOREVER, SchedulingPolicy
from hasten.core.request import WAITING, Request
from hasten.core.view import SchedulerView
from hasten.errors import InputError
from hasten.policies.cache.continuum import Lifetimes

_LATER = 1e9  # s; puts who has nothing kept behind all who have


@dataclass(slots=True)
class _Pin:
    """What is kept for a program: until when (s), how many blocks of its own, and the call that came back for it."""

    until: float
    blocks: int
    back: Request | None = None

    def is_live(self, now: float) -> bool:
        """Whether it still counts: until its time is over, or until the call that came back is let in."""
        return self.until > now if self.back is None else self.back.status == WAITING


@dataclass
class Continuum(SchedulingPolicy):
    """Admit programs in order of arrival, those first whose context is kept, and nobody into the room of kept ones.

    What a call leaves when it goes to a tool is kept for its time to live; until then nobody gets in who would need
    these blocks, unless he belongs to an older program or nobody else runs.

    Paper: "Continuum: Efficient and Robust Multi-Turn LLM Agent Scheduling with KV Cache Time-to-Live", 2025,
        arXiv:2511.02230, sections 4 and 5.
    Differs: which blocks are lost to an older program is for the cache policy to say, not those of the latest one;
        blocks that programs share are counted by what the first call of each found cached.
    Needs: programs whose calls say which tool they call (session and tool numbers), and cache=continuum.
    Use when: agents come back within seconds with long contexts, and KV is short.
    Avoid when: tools take long beside a prefill; or memory suffices: it then is first come, first served by program.
    """

    rank_changes: ClassVar[bool] = False

    fixed: float = -1.0  # s; time to live of all; inf: until they return; below 0: as the paper has it
    _times: Lifetimes = field(init=False, repr=False, compare=False)
    _began: dict[int, float] = field(default_factory=dict, init=False, repr=False)  # session -> arrival (s)
    _common: dict[int, int] = field(default_factory=dict, init=False, repr=False)  # session -> shared tokens
    _pins: dict[int, _Pin] = field(default_factory=dict, init=False, repr=False)  # by session

    def __post_init__(self) -> None:
        if math.isnan(self.fixed):
            raise InputError(f"fixed is {self.fixed}: it must be a number of seconds, or below 0")
        self._times = Lifetimes(self.fixed)

    def rank(self, request: Request, view: SchedulerView) -> float:
        """Arrival of the program (s): of a preempted call before all others, without kept context after them."""
        if request.session < 0:
            return request.arrival + (-_LATER if request.preemptions else _LATER)
        began = self._began.setdefault(request.session, request.arrival)
        if request.preemptions:
            return began - _LATER
        pin = self._pins.get(request.session)
        if pin is None or not pin.is_live(view.now):
            return began + _LATER
        pin.back = request
        return began

    def admits(self, view: SchedulerView) -> bool:
        """Whether the next in line fits beside what is kept for older programs; always if nobody runs."""
        request = view.next_waiting
        if request is None or not self._pins or not view.num_running:
            return True
        began = self._began.get(request.session, request.arrival)
        kept = 0
        for session, pin in list(self._pins.items()):
            if not pin.is_live(view.now):
                del self._pins[session]
            elif session != request.session and self._began[session] <= began:
                kept += pin.blocks
        common = self._common.get(request.session, -1)
        own = request.target - (view.cached_tokens(request) if common < 0 else common)
        return kept + -(-own // view.block_size) <= view.free_blocks

    def victim(self, view: SchedulerView) -> Request | None:
        """A call of the latest program."""
        began = self._began
        return max(
            view.running,
            key=lambda request: (began.get(request.session, request.arrival), request.order),
            default=None,
        )

    def horizon(self, view: SchedulerView) -> int:
        """Only time ends what is kept, and `wakes_at` says when."""
        return FOREVER

    def wakes_at(self, view: SchedulerView) -> float:
        """When the next time to live is over (s)."""
        ends = [pin.until for pin in self._pins.values() if pin.back is None and pin.until > view.now]
        return min(ends, default=math.inf)

    def on_finish(self, request: Request, view: SchedulerView) -> None:
        """Keep what it leaves for its time to live, or forget the program."""
        seconds = self._times.finished(request, view.now)
        session = request.session
        self._pins.pop(session, None)
        if session < 0:
            return
        if request.tool < 0:
            self._began.pop(session, None)
            self._common.pop(session, None)
            return
        self._began.setdefault(session, request.arrival)
        common = self._common.setdefault(session, request.cached)
        if seconds > 0.0:
            own = request.prompt_tokens + request.sampled - common
            self._pins[session] = _Pin(view.now + seconds, -(-own // view.block_size))
