"""Step costs as the simulator asks for them, millions of times: lists and arithmetic, nothing else.

A decode-only step of n sequences whose contexts sum to S lasts ``a + b * S`` seconds, so a driver can fold k
steps into one multiplication (S grows by n each step). Every other step is priced one at a time by ``mixed``.

This file keeps to the standard library and plain typed classes, so that a compiler such as mypyc can take it
as it is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hasten.core.batch import Chunk

UNLIMITED = 1 << 60
"""Window of an attention that sees its whole context, in tokens."""

Line = tuple[float, float, float]
"""``(a, b, limit)``: a step lasts ``a + b * S`` seconds while S < limit; limit is math.inf for ever."""


class StepCost:
    """What a step costs, in seconds. Both methods must be pure: same arguments, same seconds."""

    def decode_line(self, n: int, context_sum: int) -> Line:
        """Line of a decode-only step of ``n`` sequences, in seconds, from ``S = context_sum`` to its limit.

        ``context_sum`` is the number of tokens of all n sequences that are in KV when the step starts.
        """
        raise NotImplementedError

    def mixed(self, prefills: list[Chunk], n: int, context_sum: int) -> float:
        """Seconds of a step with prefill chunks and ``n`` decodes with ``context_sum`` tokens in KV."""
        raise NotImplementedError


class LinearCost(StepCost):
    """A step time that is linear in everything, in seconds: for closed forms and tests.

    seconds = fixed + per_sequence * decodes + per_context * context_sum
    + per_prefill_token * (sum of chunk tokens) + per_prefill_context * (sum of chunk contexts).
    """

    def __init__(
        self,
        fixed: float,
        *,
        per_sequence: float = 0.0,
        per_context: float = 0.0,
        per_prefill_token: float = 0.0,
        per_prefill_context: float = 0.0,
    ) -> None:
        self.fixed = fixed
        self.per_sequence = per_sequence
        self.per_context = per_context
        self.per_prefill_token = per_prefill_token
        self.per_prefill_context = per_prefill_context

    def decode_line(self, n: int, context_sum: int) -> Line:
        return (self.fixed + self.per_sequence * n, self.per_context, math.inf)

    def mixed(self, prefills: list[Chunk], n: int, context_sum: int) -> float:
        tokens = 0
        context = 0
        for chunk in prefills:
            tokens += chunk.tokens
            context += chunk.context
        return (
            self.fixed
            + self.per_sequence * n
            + self.per_context * context_sum
            + self.per_prefill_token * tokens
            + self.per_prefill_context * context
        )
