"""One sequence on its way through the engine: the core's request, its tokens and its text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from hasten.core.request import Request
from hasten.engine.blocks import BlockNames
from hasten.engine.sampling import Chooser, Sampled, SamplingParams
from hasten.engine.text import StopFinder

STOP, LENGTH, CANCELLED, REFUSED = "stop", "length", "abort", "refused"


class Output(NamedTuple):
    """What one step brought to one sequence, at `at` (s); `finish` says why it is the last (None: more will come)."""

    sequence: Sequence
    sampled: Sampled | None
    text: str  # new text that can no longer become part of a stop string
    finish: str | None = None
    at: float = -1.0


Sink = Callable[[Output], None]


@dataclass(eq=False)
class Sequence:
    """A prompt and its answer. Driver and executor write it; clients read it through `Output`s."""

    request: Request
    tokens: list[int]  # the prompt, then the answer
    chooser: Chooser
    sink: Sink
    ends: frozenset[int] = frozenset()  # tokens that end the answer
    text: StopFinder | None = None  # None: no tokenizer
    names: BlockNames | None = None  # of its KV blocks; None: nobody shares them
    finish: str | None = field(default=None, init=False)

    @property
    def answer(self) -> list[int]:
        """Output tokens so far."""
        return self.tokens[self.request.prompt_tokens :]

    @property
    def params(self) -> SamplingParams:
        """How its tokens are chosen."""
        return self.chooser.params

    def take(self, sampled: Sampled, is_last: bool) -> bool:
        """Append a token and tell the client. True: the answer ended here by its content.

        A token that ends the answer belongs to it, its text does not.
        """
        self.tokens.append(sampled.token)
        count = len(self.tokens) - self.request.prompt_tokens
        ended = sampled.token in self.ends and count >= self.params.min_tokens
        fresh = ""
        if self.text is not None:
            hidden = ended and sampled.token not in self.params.stop_token_ids
            fresh, met = self.text.add(
                None if hidden else sampled.token, check=count >= self.params.min_tokens
            )
            ended = ended or met
            if (ended or is_last) and not met:
                fresh += self.text.rest()
        self.finish = STOP if ended else LENGTH if is_last else None
        self.sink(Output(self, sampled, fresh, self.finish, self.request.last_token))
        return ended

    def end(self, reason: str) -> None:
        """End without another token."""
        if self.finish is None:
            self.finish = reason
            self.sink(Output(self, None, "", reason))
