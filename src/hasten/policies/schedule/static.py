"""Request-level batching: a batch is formed, served, and only then followed by the next."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

from hasten.core.policy import FOREVER, SchedulingPolicy
from hasten.core.request import Request
from hasten.core.view import SchedulerView
from hasten.errors import InputError


@dataclass
class Static(SchedulingPolicy):
    """Form a batch when idle, prefill all of it, decode it to the end, then form the next.

    wait=0 takes what waits (dynamic batching); wait=inf waits for exactly batch_size (fixed); a number waits so
    long. hold=True pads: all leave when the longest ends. hold=False: each leaves when done (elastic).

    Paper: "A Queueing Theoretic Perspective on Low-Latency LLM Inference with Variable Token Length", WiOpt 2024,
        arXiv:2407.05347, section on batched inference; the baseline of Orca, OSDI 2022.
    Differs: prompts take several steps where the token budget forces it; who doesn't fit into KV memory or the
        sequence limit before the first decode waits for the next batch; a preempted member comes back when it fits.
    Needs: nothing.
    Use when: an engine with request-level batches is to be modelled, or as a baseline.
    Avoid when: anything else is possible: a batch waits for its longest member.
    """

    mixes_steps: ClassVar[bool] = False
    rank_changes: ClassVar[bool] = False

    batch_size: int = 32  # requests
    wait: float = 0.0  # s from the arrival of the oldest until a partial batch is served
    hold: bool = True  # finished members keep their slots until the batch ends
    _open: int = field(default=0, init=False, repr=False)  # members of this batch that have not finished
    _clock: int = field(default=-1, init=False, repr=False)  # decode steps when it was formed

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}: it must be at least 1")
        if not self.wait >= 0.0:
            raise InputError(f"wait is {self.wait}: it must be 0 s or more, inf to wait for a full batch")

    @property
    def holds_batch(self) -> bool:
        """As `hold` says."""
        return self.hold

    @property
    def may_starve(self) -> bool:
        """A batch that never fills is never served, if it may wait for ever."""
        return self.wait == math.inf

    def admits(self, view: SchedulerView) -> bool:
        """Until the batch is full or decodes; a new one starts when the last has gone and enough wait."""
        if view.num_running == 0 and (self._open == 0 or self._is_closed(view)):
            if view.num_waiting < self.batch_size and view.now < self._deadline(view):
                return False
            self._open = min(self.batch_size, view.num_waiting)
            self._clock = view.steps_decoded
        return view.num_running < self._open and not self._is_closed(view)

    def wakes_at(self, view: SchedulerView) -> float:
        """When the oldest has waited long enough (s)."""
        return self._deadline(view) if view.num_running == 0 else math.inf

    def horizon(self, view: SchedulerView) -> int:
        """A batch that decodes is closed until its members have finished."""
        return FOREVER

    def on_finish(self, request: Request, view: SchedulerView) -> None:
        """A member left. Who was cancelled while it waited can't be one."""
        if request.scheduled >= 0.0:
            self._open -= 1
        self._open = max(0, min(self._open, view.num_running + view.num_waiting))

    def _is_closed(self, view: SchedulerView) -> bool:
        return view.steps_decoded != self._clock

    def _deadline(self, view: SchedulerView) -> float:
        oldest = min((request.arrival for request in view.waiting), default=math.inf)
        return oldest + self.wait
