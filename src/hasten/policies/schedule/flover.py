"""Temporal fusion: prompts one by one, answers together."""

from dataclasses import dataclass, field
from typing import ClassVar

from hasten.core.policy import FOREVER, SchedulingPolicy
from hasten.core.view import SchedulerView


@dataclass
class Flover(SchedulingPolicy):
    """Run each prompt alone in a step as it arrives, then fuse all live requests into one step per token.

    Paper: "Flover: A Temporal Fusion Framework for Efficient Autoregressive Model Parallel Inference", HiPC 2023,
        arXiv:2305.13484.
    Differs: paged KV, so that the compaction of buffers costs nothing; the prompt's step and the fused step take
        turns on one device instead of overlapping.
    Needs: nothing.
    Use when: prompts are long enough to fill the device alone, and requests come one at a time.
    Avoid when: many short prompts wait: prefill_first runs them together; or tokens must not stall: fcfs, sarathi.
    """

    mixes_steps: ClassVar[bool] = False
    rank_changes: ClassVar[bool] = False

    _now: float = field(default=-1.0, init=False, repr=False)  # when a prompt was last let in
    _running: int = field(default=0, init=False, repr=False)  # who ran before it was

    def admits(self, view: SchedulerView) -> bool:
        """The first prompt of a step only."""
        if view.now != self._now:
            self._now, self._running = view.now, view.num_running
        return view.num_running <= self._running

    def horizon(self, view: SchedulerView) -> int:
        """The second prompt waits for one step; other refusals last until something arrives or finishes."""
        return 1 if view.num_running > self._running else FOREVER
