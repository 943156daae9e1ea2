"""The cost of a tool-using run in one unit: how many prefill tokens would take the engine as long.

Token counts add cheap and dear tokens: a decoded token costs a whole step, a cached one next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from hasten.core.batch import Chunk
from hasten.core.request import Request
from hasten.errors import InputError

CHUNK = 2048  # prompt tokens in a step, of a run's prompts and of the unit
_ANYONE = Request(-1, 0.0, 1, 1)


class Cost(Protocol):
    """What is asked of a step-time model, in seconds: `Deployment.cost` is one."""

    def decode_line(self, n: int, context_sum: int) -> tuple[float, float, float]:
        """(a, b, limit): a step of n sequences lasts a + b times the sum of their contexts."""
        ...

    def mixed(self, prefills: list[Chunk], n: int, context_sum: int) -> float:
        """A step with prompts."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """One model call of a run: prompt tokens, how many of them were found in the cache, output tokens."""

    prompt: int
    cached: int
    output: int

    def __post_init__(self) -> None:
        if not 0 <= self.cached < self.prompt or self.output < 0:
            raise InputError(
                f"call of {self.prompt} prompt, {self.cached} cached and {self.output} output tokens: cached must be "
                "below prompt, and none below 0"
            )


def engine_seconds(calls: Iterable[Call], cost: Cost, *, batch: int = 1) -> float:
    """Predicted engine time (s) of the calls: prompts in chunks, answers as one of `batch` equal sequences."""
    if batch < 1:
        raise InputError(f"batch is {batch}: it must be at least 1")
    total = 0.0
    for call in calls:
        start = call.cached
        while start < call.prompt:
            tokens = min(CHUNK, call.prompt - start)
            total += cost.mixed([Chunk(_ANYONE, tokens, start, True)], 0, 0)
            start += tokens
        # The first token comes with the prompt; contexts of the others differ by one, so their mean stands for all.
        steps = max(call.output - 1, 0)
        context = batch * (call.prompt + steps // 2)
        fixed, slope, _ = cost.decode_line(batch, context)
        total += steps * (fixed + slope * context) / batch
    return total


def token_seconds(cost: Cost) -> float:
    """The unit: seconds per token of one full chunk of a prompt."""
    return cost.mixed([Chunk(_ANYONE, CHUNK, 0, True)], 0, 0) / CHUNK


def prefill_token_equivalents(calls: Iterable[Call], cost: Cost, *, batch: int = 1) -> float:
    """Engine time of the calls over the time of one prefill token: a number of tokens."""
    return engine_seconds(calls, cost, batch=batch) / token_seconds(cost)
