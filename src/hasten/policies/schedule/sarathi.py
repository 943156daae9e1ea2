"""Chunked prefill under a small token budget: no step is long."""

from dataclasses import dataclass, field
from typing import ClassVar

from hasten.core.policy import FOREVER, SchedulingPolicy
from hasten.core.request import Request
from hasten.core.view import SchedulerView
from hasten.errors import InputError


@dataclass
class Sarathi(SchedulingPolicy):
    """Fill every step up to a budget: decodes first, then chunks of prompts under way, then of new ones.

    Paper: "Taming Throughput-Latency Tradeoff in LLM Inference with Sarathi-Serve", OSDI 2024, arXiv:2403.02310.
    Differs: one chunk size instead of the code's optional schedule of falling ones; memory at admission follows the
        deployment's engine profile.
    Needs: nothing.
    Use when: prompts are long against the budget, and gaps between tokens must stay short.
    Avoid when: only the time to the first token counts, or prompts are shorter than the budget anyway: a small budget
        reads the weights and the prompt's own KV more often.
    """

    rank_changes: ClassVar[bool] = False

    tokens: int = 512  # prompt and decode tokens in a step
    _step: tuple[float, int] = field(default=(-1.0, -1), init=False, repr=False)  # which step is being filled
    _chunks: dict[int, int] = field(
        default_factory=dict, init=False, repr=False
    )  # prompt tokens in it, by request

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise InputError(f"tokens is {self.tokens}: it must be at least 1")

    def chunk(self, request: Request, wanted: int, view: SchedulerView) -> int:
        """What the decodes and the prompts before leave of the budget."""
        step = view.now, view.steps_decoded
        if step != self._step or request.id in self._chunks:  # asked again: the step is filled anew
            self._step = step
            self._chunks.clear()
        left = self.tokens - view.num_decodes - sum(self._chunks.values())
        self._chunks[request.id] = max(0, min(wanted, left))
        return self._chunks[request.id]

    def horizon(self, view: SchedulerView) -> int:
        """The budget left by decodes changes only when a request ends."""
        return FOREVER
