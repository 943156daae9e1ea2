"""Step costs fitted per phase, as DistServe publishes them: a polynomial for prompts, one with a knee for answers.

Source: DistServe (OSDI 2024, arXiv:2401.09670), its public simulator (simdistserve, Apache-2.0) for form and constants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hasten.core.batch import Chunk
from hasten.errors import InputError
from hasten.latency.compiled import Line, StepCost

Coefficients = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseFit:
    """A fit of both phases on one tensor-parallel group. Seconds, tokens, sequences.

    `prefill` (a, b, c): a + b x + c x^2 for a prompt of x tokens. `decode`: a + b (sum of contexts) + c n for n
    sequences, fewer than `knee`; `decode_large` the same from there on. `hop` is what a stage of a pipeline adds to
    each step for every stage.
    """

    prefill: Coefficients
    decode: Coefficients
    decode_large: Coefficients
    knee: int = 95
    hop: float = 1e-3

    def stage_seconds(self, prompts: list[int], stages: int = 1) -> float:
        """One stage of `stages` on a batch of whole prompts: (a + b sum x + c sum x^2) / PP + PP hop (none at PP 1)."""
        a, b, c = self.prefill
        whole = a + b * sum(prompts) + c * sum(each * each for each in prompts)
        return whole / stages + (stages * self.hop if stages > 1 else 0.0)


class FittedCost(StepCost):
    """Steps of one instance after a `PhaseFit`, its layers in `stages` pipeline stages.

    A mixed step reads the weights once: its answers add what they add to a step of their own beyond its fixed time.
    A chunk of x tokens behind y costs c x (x + 2 y), so that chunks of a prompt add up to it. A single token behind
    others is an answer that goes on. With stages n sequences run as PP groups of n / PP, one per stage, and a token of
    each takes PP stage times: a + (b S + c n) / PP + PP^2 hop, the knee at n / PP. Prompts of a mixed step run through
    all stages before the next step: an instance for prompts alone is `hasten.plan.placement.pipeline_ttft`.
    """

    def __init__(self, fit: PhaseFit, stages: int = 1) -> None:
        if stages < 1:
            raise InputError(f"stages is {stages}: it must be at least 1")
        self.fit = fit
        self.stages = stages
        self.hops = stages * stages * fit.hop if stages > 1 else 0.0

    def decode_line(self, n: int, context_sum: int) -> Line:
        a, b, c = self._coefficients(n)
        return (a + c * n / self.stages + self.hops, b / self.stages, math.inf)

    def mixed(self, prefills: list[Chunk], n: int, context_sum: int) -> float:
        tokens = 0
        pairs = 0
        for chunk in prefills:
            if chunk.tokens == 1 and chunk.context:
                n += 1
                context_sum += chunk.context
            else:
                tokens += chunk.tokens
                pairs += chunk.tokens * (chunk.tokens + 2 * chunk.context)
        fixed, slope, _ = self.decode_line(n, context_sum)
        decode = fixed + slope * context_sum
        if not tokens:
            return decode
        a, b, c = self.fit.prefill
        answers = decode - self.fit.decode[0] - self.hops if n else 0.0
        return a + b * tokens + c * pairs + self.hops + answers

    def _coefficients(self, n: int) -> Coefficients:
        return self.fit.decode if n < self.fit.knee * self.stages else self.fit.decode_large
