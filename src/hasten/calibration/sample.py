"""One measurement: seconds of something that the step-time model can predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hasten.errors import InputError


@dataclass(frozen=True)
class Step:
    """One step: prefill chunks as (tokens, cached tokens before them), decodes and the sum of their contexts.

    ``decode_context`` counts the tokens in KV of all decoding sequences when the step starts.
    """

    prefills: tuple[tuple[int, int], ...] = ()
    decodes: int = 0
    decode_context: int = 0

    @property
    def prefill_tokens(self) -> int:
        """Tokens of all chunks."""
        return sum(new for new, _ in self.prefills)

    @property
    def mean_context(self) -> float:
        """Tokens in KV per decoding sequence."""
        return self.decode_context / self.decodes if self.decodes else 0.0


@dataclass(frozen=True)
class Sample:
    """Measured ``seconds`` of a weighted sum of steps: one step, a window of several, or a mean step.

    ``where`` names the place it was read from. ``front_tokens`` is set when a request's way to the engine is part
    of it (a TTFT at the client): the prompt tokens of that request. ``scale`` multiplies the sum (queueing that
    the sum does not show); ``count`` says how many measurements it sums up.
    """

    where: str
    seconds: float
    steps: tuple[tuple[Step, float], ...]
    front_tokens: int | None = None
    scale: float = 1.0
    count: int = 1

    @property
    def has_prefill(self) -> bool:
        """Whether a prefill takes part in it."""
        return any(step.prefills for step, _ in self.steps)

    @property
    def is_prefill(self) -> bool:
        """Whether most of its tokens are prefilled: it tells about prefills more than about decodes."""
        prefilled = sum(weight * step.prefill_tokens for step, weight in self.steps)
        decoded = sum(weight * step.decodes for step, weight in self.steps)
        return prefilled > decoded


def one_step(
    where: str,
    seconds: float,
    *,
    prefills: Sequence[tuple[int, int]] = (),
    decodes: int = 0,
    mean_context: float = 0.0,
) -> Sample:
    """A sample of a single step. Raises InputError for an empty step."""
    if not prefills and not decodes:
        raise InputError(f"{where}: the step is empty: give prefill_tokens or decodes")
    step = Step(tuple(prefills), decodes, round(decodes * mean_context))
    return Sample(where, seconds, ((step, 1.0),))
