"""Shortest prompt first, with age."""

from dataclasses import dataclass
from typing import ClassVar

from hasten.core.policy import FOREVER, SchedulingPolicy
from hasten.core.request import Request
from hasten.core.view import SchedulerView
from hasten.errors import InputError


@dataclass
class Nexus(SchedulingPolicy):
    """Admit the shortest prompt first; a second of age counts as some tokens less, so that long ones get their turn.

    Paper: "Proactive Intra-GPU Disaggregation of Prefill and Decode in LLM Serving" (Nexus), 2025, arXiv:2507.06608.
    Differs: this is the queue alone, on a device that is not split; the split is `hasten.latency.split_device`. The
        unit of the age's weight is our reading.
    Needs: nothing.
    Use when: prompts differ widely in length, and the mean time to the first token counts.
    Avoid when: the slowest first token counts: long prompts wait for short ones.
    """

    rank_changes: ClassVar[bool] = False

    ageing: float = 15.0  # tokens per second of age

    def __post_init__(self) -> None:
        if not self.ageing >= 0.0:
            raise InputError(f"ageing is {self.ageing}: it must be 0 tokens/s or more")

    @property
    def may_starve(self) -> bool:
        """Without ageing a long prompt waits as long as short ones come."""
        return self.ageing == 0.0

    def rank(self, request: Request, view: SchedulerView) -> float:
        """Tokens less age times weight; what all have in common is left out."""
        return request.prompt_tokens + self.ageing * request.arrival

    def horizon(self, view: SchedulerView) -> int:
        """The order never changes: a refusal lasts until something arrives or finishes."""
        return FOREVER
