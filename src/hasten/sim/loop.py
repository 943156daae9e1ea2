"""An engine's loop in virtual time: its input, its next event, and the arithmetic of jumps. What it runs is left open.

The loop keeps up to `depth` steps in flight: 1 is a synchronous engine, 2 an asynchronous one, which schedules the
next step while one runs, and therefore drains its input once per turn and reuses a slot two steps later.

A jump. Let the last step scheduled be decode-only, its cost a line in the context sum S of n sequences, and let
nothing be able to change the decision for i steps. Those steps last a + b*S, a + b*(S + n), ...: an arithmetic
progression from `first` with `2 * half` between neighbours, i*first + i*(i-1)*half together. The loop then has one
event, at the end of the series. An arrival shortens it to the first step boundary at or after the arrival: a
quadratic equation.
"""

from __future__ import annotations

import math
from collections import deque

from hasten.core.request import Request
from hasten.core.scheduler import Scheduler
from hasten.latency.compiled import Line
from hasten.sim.frontend import Frontend
from hasten.sim.steps import RankSteps, StepLog
from hasten.sim.tokens import Tokens


class EngineLoop:
    """Drives schedulers in virtual time. `next_time` (s) is when it needs a turn; infinity when it idles.

    A planned event is the end of the step that leads, if there is one (`_lead_end`), or of `_steps` steps of a
    series behind it.
    """

    def __init__(
        self,
        index: int,
        tokens: list[Tokens],
        *,
        depth: int = 1,
        stepping: bool = False,
        frontend: Frontend | None = None,
    ) -> None:
        self.index = index
        self.ranks: list[Scheduler] = [each.scheduler for each in tokens]
        self.depth = depth
        self.pipelined = depth > 1
        self.stepping = stepping
        self.frontend = frontend
        self.next_time = math.inf
        self.inbox: deque[tuple[float, Request]] = deque()
        self.now = 0.0  # when the oldest step in flight started
        self.turned_away: list[Request] = []
        self._tokens = tokens
        self._idle = True
        self._series = False
        self._lead_end = 0.0
        self._steps = 0
        self._first = 0.0  # seconds of the first step of the series
        self._half = 0.0  # half of what each lasts longer than the one before it
        self._growth = 0  # tokens in KV that come with each
        self._log: StepLog | None = None
        # Books (seconds, counts).
        self.busy = 0.0
        self.steps = 0
        self.kv_block_seconds = 0.0
        self.kv_peak_blocks = 0

    @property
    def decode_tokens(self) -> int:
        """Tokens that decoding sequences emitted."""
        return sum(each.decoded for each in self._tokens)

    def keep(self, log: StepLog, *, role: str = "replica", speed: float = 1.0) -> None:
        """Write every step to `log` from now on, as those of a replica with this role and speed."""
        self._log = log
        for tokens in self._tokens:
            tokens.log = RankSteps(self.index, tokens.scheduler, role=role, speed=speed)
            log.ranks.append(tokens.log)

    def deliver(self, request: Request, now: float) -> None:
        """`request` reaches the front end at `now` (s)."""
        at = now if self.frontend is None else self.frontend.deliver(request, now)
        if self._log is not None:
            self._log.placed[request.id] = now
            self._log.ready[request.id] = at
        self.receive(request, at)

    def receive(self, request: Request, at: float) -> None:
        """Something about `request` reaches the engine loop: it sees that in its first turn from `at` (s) on."""
        inbox = self.inbox
        if inbox and inbox[-1][0] > at:  # what a front end still holds comes later
            place = len(inbox) - 1
            while place and inbox[place - 1][0] > at:
                place -= 1
            inbox.insert(place, (at, request))
        else:
            inbox.append((at, request))
        if self._idle:
            self.next_time = min(self.next_time, at)
        elif self._series and at < self.next_time:
            self._steps, self.next_time = self._steps_until(at)

    def catch_up(self, now: float) -> None:
        """Take the turn at the last step boundary before `now`, in the midst of a jump: books are then up to date."""
        if not self._series or self._lead_end >= now or self.next_time < now:
            return
        least = 0 if self.pipelined else 1
        steps, end = self._steps_until(now)
        if end >= now:
            steps -= 1
        if steps >= least:
            self._steps = steps
            self.next_time = self._boundary(steps)
            self.turn()

    def turn(self) -> list[Request]:
        """The event at `next_time`: book what ended, drain the input, schedule, plan. Returns who finished."""
        raise NotImplementedError

    def _start_series(self, line: Line, context: int, growth: int, most: int) -> None:
        """Plan up to `most` steps after the lead, of cost `line`; `context` tokens at first, `growth` more per step."""
        a, b, valid = line
        if most > 1 and valid != math.inf:
            most = max(1, min(most, math.ceil((valid - context) / growth)))
        self._series = True
        self._first = a + b * context
        self._half = 0.5 * b * growth
        self._growth = growth
        steps = self._steps = most if most > 1 else 1
        self.next_time = self._lead_end + steps * (self._first + self._half * (steps - 1))
        if self.inbox and self.inbox[0][0] < self.next_time:
            self._shorten(self.inbox[0][0])

    def _boundary(self, steps: int) -> float:
        """When the `steps`-th step of the series ends (s)."""
        return self._lead_end + steps * (self._first + self._half * (steps - 1))

    def _shorten(self, at: float) -> None:
        """End the series at its first step boundary at or after `at` (s)."""
        if self._series and at < self.next_time:
            self._steps, self.next_time = self._steps_until(at)

    def _steps_until(self, at: float) -> tuple[int, float]:
        """Steps of the series up to its first boundary at or after `at` (s), and that: a quadratic equation."""
        least = 0 if self.pipelined else 1
        span = at - self._lead_end
        if span <= 0.0:
            return least, self._boundary(least)
        half = self._half
        linear = self._first - half
        if half > 0.0:
            root = 2.0 * span / (linear + math.sqrt(linear * linear + 4.0 * half * span))
        else:
            root = span / linear if linear > 0.0 else 0.0
        steps = math.ceil(root)
        if steps > self._steps:
            steps = self._steps
        elif steps < least:
            steps = least
        end = self._boundary(steps)
        while steps < self._steps and end < at:
            steps += 1
            end = self._boundary(steps)
        while steps > least:
            earlier = self._boundary(steps - 1)
            if earlier < at:
                break
            steps -= 1
            end = earlier
        return steps, end
