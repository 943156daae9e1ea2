"""Prefill before decode, never together."""

from dataclasses import dataclass
from typing import ClassVar

from hasten.core.policy import FOREVER, SchedulingPolicy
from hasten.core.view import SchedulerView


@dataclass
class PrefillFirst(SchedulingPolicy):
    """Run waiting prompts alone and at once, while all decodes stand still; decode only when no prompt can run.

    Paper: "Efficient Memory Management for Large Language Model Serving with PagedAttention", SOSP 2023,
        arXiv:2309.06180 (vLLM before chunked prefill), and "SGLang: Efficient Execution of Structured Language Model
        Programs", NeurIPS 2024, arXiv:2312.07104 (its default).
    Differs: admission and preemption follow the deployment's engine profile.
    Needs: nothing.
    Use when: the time to the first token counts and stalls between tokens do not.
    Avoid when: tokens must come evenly: decodes stand still while prompts run.
    """

    mixes_steps: ClassVar[bool] = False
    rank_changes: ClassVar[bool] = False

    def horizon(self, view: SchedulerView) -> int:
        """Nothing depends on time or progress: a refusal lasts until something arrives or finishes."""
        return FOREVER
