"""Whole prompts, together only up to the length that fills the device."""

from dataclasses import dataclass, field
from typing import ClassVar

from hasten.core.policy import FOREVER, SchedulingPolicy
from hasten.core.request import Request
from hasten.core.view import SchedulerView
from hasten.errors import InputError
from hasten.policies.filling import StepFill


@dataclass
class Distserve(SchedulingPolicy):
    """Batch whole prompts up to the number of tokens that saturates the device; a longer prompt runs alone.

    Paper: "DistServe: Disaggregating Prefill and Decoding for Goodput-optimized Large Language Model Serving", OSDI
        2024, arXiv:2401.09670.
    Differs: prompts above the engine's own step limit are still cut by it; which pools there are, and how large, is
        decided by `hasten.plan.placement`.
    Needs: prefill and decode pools (`Disaggregated`); on one replica prompts and answers share steps.
    Use when: prompts are computed by a pool of their own, so that batching beyond saturation only delays the first.
    Avoid when: prompts and answers share a replica: whole prompts then stall the answers (sarathi).
    """

    rank_changes: ClassVar[bool] = False

    saturation: int = 512  # prompt tokens in a step that fill the device
    _fill: StepFill = field(default_factory=StepFill, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.saturation < 1:
            raise InputError(f"saturation is {self.saturation}: it must be at least 1 token")

    def chunk(self, request: Request, wanted: int, view: SchedulerView) -> int:
        """All of the prompt if the step is empty or stays within saturation with it; else nothing."""
        filled = self._fill.tokens(request, view)
        if filled and filled + wanted > self.saturation:
            return 0
        return self._fill.add(request, wanted)

    def horizon(self, view: SchedulerView) -> int:
        """Only steps with prompts refuse others, and those are never jumped over."""
        return FOREVER
