"""Chunked prefill under a small token budget: no step is long."""

from dataclasses import dataclass, field
from typing import ClassVar

from hasten.core.policy import FOREVER, SchedulingPolicy
from hasten.core.request import Request
from hasten.core.view import SchedulerView
from hasten.errors import InputError
from hasten.policies.filling import StepFill


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
    _fill: StepFill = field(default_factory=StepFill, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise InputError(f"tokens is {self.tokens}: it must be at least 1")

    def chunk(self, request: Request, wanted: int, view: SchedulerView) -> int:
        """What the decodes and the prompts before leave of the budget."""
        left = self.tokens - view.num_decodes - self._fill.tokens(request, view)
        return self._fill.add(request, max(0, min(wanted, left)))

    def horizon(self, view: SchedulerView) -> int:
        """The budget left by decodes changes only when a request ends."""
        return FOREVER
