"""Short and long prompts apart: never in one step, short ones first."""

from dataclasses import dataclass, field
from typing import ClassVar

from hasten.core.policy import SchedulingPolicy
from hasten.core.request import PREFILLING, Request
from hasten.core.view import SchedulerView
from hasten.errors import InputError


@dataclass
class Laps(SchedulingPolicy):
    """Batch short prompts with short ones only and run them first; a long prompt runs alone, in chunks, between them.

    What counts is the length without what is cached. A long prompt that waited for `patience` goes before newer ones.

    Paper: "LAPS" (also circulated as PLA-Serve), length-aware prefill serving, MLSys 2026.
    Differs: steps cost what the deployment says, so that padding to captured shapes brings nothing by itself; the wait
        for a fuller batch is a fixed window instead of an adapted one; a long prompt under way keeps one token in
        each short batch.
    Needs: nothing; made for instances that compute prompts only.
    Use when: instances compute prompts only, most prompts are short, as in later turns of a chat, and some are long.
    Avoid when: prompts are of one class, or chunked prefill shares steps with decodes already.
    """

    rank_changes: ClassVar[bool] = False

    boundary: int = 256  # tokens to compute; up to here a prompt is short
    long_chunk: int = 2048  # tokens of a long prompt in a step
    window: float = 0.0  # s that a short prompt waits for others to fill its batch
    depth: int = 16  # short prompts that make a full batch
    patience: float = 2.0  # s after which a long prompt goes before newer short ones
    _long: set[int] = field(
        default_factory=set, init=False, repr=False
    )  # ids of long prompts that have not ended
    _step: float = field(default=-1.0, init=False, repr=False)  # time of the step that is being filled
    _began: int = field(default=0, init=False, repr=False)  # who ran before it
    _has_long: bool = field(default=False, init=False, repr=False)  # a long prompt began in it

    def __post_init__(self) -> None:
        for name in ("boundary", "long_chunk", "depth"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: it must be at least 1")
        for name in ("window", "patience"):
            if not getattr(self, name) >= 0.0:
                raise InputError(f"{name} is {getattr(self, name)}: it must be 0 s or more")

    def on_arrival(self, request: Request, view: SchedulerView) -> None:
        """Sort it into its class."""
        if request.target - view.cached_tokens(request) > self.boundary:
            self._long.add(request.id)

    def on_finish(self, request: Request, view: SchedulerView) -> None:
        """Forget its class."""
        self._long.discard(request.id)

    def rank(self, request: Request, view: SchedulerView) -> float:
        """Arrival; that of a long prompt `patience` later."""
        if request.target - view.cached_tokens(request) > self.boundary:
            return request.arrival + self.patience
        return request.arrival

    def admits(self, view: SchedulerView) -> bool:
        """One long prompt at a time and alone; short ones together, once their window is over or their batch full."""
        if view.now != self._step:
            self._step, self._has_long, self._began = view.now, False, view.num_running
        first = next(iter(view.waiting), None)
        if first is None:
            return True
        if first.id in self._long:
            is_first = view.num_running == self._began
            if not is_first or any(
                each.status == PREFILLING and each.id in self._long for each in view.running
            ):
                return False
            self._has_long = True
            return True
        if self._has_long:
            return False
        if view.num_running > self._began:  # the batch is on its way
            return True
        return view.now >= first.arrival + self.window or view.num_waiting >= self.depth

    def chunk(self, request: Request, wanted: int, view: SchedulerView) -> int:
        """A long prompt's next chunk; one token while short ones wait that are ahead of it."""
        if request.id not in self._long:
            return wanted
        first = next(iter(view.waiting), None)
        is_behind = first is not None and first.id not in self._long
        if (
            first is not None
            and is_behind
            and first.arrival < request.arrival + self.patience
            and request.computed
        ):
            return 1
        return min(wanted, self.long_chunk)

    def wakes_at(self, view: SchedulerView) -> float:
        """When the window of the first in line is over (s)."""
        first = next(iter(view.waiting), None)
        return view.now if first is None else first.arrival + self.window
