"""First come, first served: the rules of vLLM."""

from dataclasses import dataclass
from typing import ClassVar

from hasten.core.policy import FOREVER, SchedulingPolicy
from hasten.core.view import SchedulerView


@dataclass
class Fcfs(SchedulingPolicy):
    """Serve in the order of arrival; running requests go first, prompts fill what is left of the token budget.

    Paper: "Efficient Memory Management for Large Language Model Serving with PagedAttention", SOSP 2023,
        arXiv:2309.06180, with the chunked prefill of Sarathi-Serve, OSDI 2024, arXiv:2403.02310; as vLLM 0.19 does it.
    Differs: nothing; the scheduler's defaults are these rules. The newest request is preempted, its KV recomputed.
    Needs: nothing.
    Use when: nothing is known about requests; it is the default of the engines and starves nobody.
    Avoid when: a few long prompts hold up many short ones: laps, sjf; or gaps between tokens must be short:
        sarathi.
    """

    rank_changes: ClassVar[bool] = False

    def horizon(self, view: SchedulerView) -> int:
        """Nothing depends on time or progress: a refusal lasts until something arrives or finishes."""
        return FOREVER
