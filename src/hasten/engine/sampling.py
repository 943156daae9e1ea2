"""From logits to tokens: greedy, or drawn after penalties, temperature, top-k, top-p and min-p.

Every row is treated by itself with its own random stream, so a token never depends on who shares the batch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from hasten.errors import InputError

FEW = 256  # tokens that top_p looks at first
MAX_LOGPROBS = 20
MAX_STOPS = 16
MAX_STOP_LENGTH = 1024


@dataclass(frozen=True)
class SamplingParams:
    """How tokens are chosen and when an answer ends. temperature 0 is greedy; top_k 0 means all.

    Raises InputError, naming the field, for a value out of range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0  # > 1 discourages every token of prompt and answer
    presence_penalty: float = 0.0  # subtracted once from tokens of the answer
    frequency_penalty: float = 0.0  # subtracted per occurrence in the answer
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    min_tokens: int = 0
    ignore_eos: bool = False
    logprobs: int | None = None  # the chosen token's, and as many alternatives
    logit_bias: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{name} is {value}: it must lie in [{low:g}, {high:g}]")
        if not 0.0 < self.top_p <= 1.0:
            raise InputError(f"top_p is {self.top_p}: it must lie in (0, 1]")
        if not 0.0 < self.repetition_penalty <= 100.0:
            raise InputError(f"repetition_penalty is {self.repetition_penalty}: it must lie in (0, 100]")
        if self.logprobs is not None and not 0 <= self.logprobs <= MAX_LOGPROBS:
            raise InputError(f"logprobs is {self.logprobs}: the limit is {MAX_LOGPROBS}")
        if len(self.stop) > MAX_STOPS or any(not 0 < len(text) <= MAX_STOP_LENGTH for text in self.stop):
            raise InputError(f"stop takes at most {MAX_STOPS} texts of 1 to {MAX_STOP_LENGTH} characters")
        if any(not -100.0 <= bias <= 100.0 for bias in self.logit_bias.values()):
            raise InputError("logit_bias has a value outside [-100, 100]")

    def for_choice(self, choice: int) -> SamplingParams:
        """The same, for one of `n` answers: each draws from a stream of its own."""
        return self if self.seed is None or not choice else replace(self, seed=self.seed + choice)

    @property
    def is_plain(self) -> bool:
        """Whether the token is the largest logit and nothing else is asked for."""
        return self.temperature == 0.0 and not self.adjusts and self.logprobs is None

    @property
    def adjusts(self) -> bool:
        """Whether logits change before the choice."""
        return (
            self.repetition_penalty != 1.0
            or self.presence_penalty != 0.0
            or self.frequency_penalty != 0.0
            or self.min_tokens > 0
            or bool(self.logit_bias)
        )


_RANGES = (
    ("temperature", 0.0, 2.0),
    ("top_k", 0, 1 << 31),
    ("min_p", 0.0, 1.0),
    ("presence_penalty", -2.0, 2.0),
    ("frequency_penalty", -2.0, 2.0),
    ("min_tokens", 0, 1 << 31),
)


class Sampled(NamedTuple):
    """One chosen token; natural logarithms of probabilities before any adjustment, when asked for."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass
class Chooser:
    """The random stream and the rules of one sequence. `ends` are tokens forbidden before `min_tokens`."""

    params: SamplingParams
    prompt: Sequence[int]
    ends: tuple[int, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        self.is_plain = self.params.is_plain
        self._stream = torch.Generator()
        self._stream.manual_seed((self.seed if self.params.seed is None else self.params.seed) & (2**63 - 1))

    def choose(self, logits: Tensor, answer: Sequence[int]) -> Sampled:
        """The next token from `logits` [vocab] (fp32) after the tokens of `answer`."""
        params = self.params
        raw = logits
        if params.adjusts:
            logits = self._adjusted(logits.clone(), answer)
        token = int(logits.argmax()) if params.temperature == 0.0 else self._draw(logits / params.temperature)
        if params.logprobs is None:
            return Sampled(token)
        scores = torch.log_softmax(raw, dim=-1)
        top = torch.topk(scores, min(params.logprobs, scores.numel())) if params.logprobs else None
        pairs = () if top is None else tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True))
        return Sampled(token, float(scores[token]), pairs)

    def _adjusted(self, logits: Tensor, answer: Sequence[int]) -> Tensor:
        params = self.params
        if len(answer) < params.min_tokens and self.ends:
            logits[list(self.ends)] = -math.inf
        if params.repetition_penalty != 1.0:
            seen = torch.tensor(sorted({*self.prompt, *answer}), dtype=torch.long, device=logits.device)
            found = logits[seen]
            factor = params.repetition_penalty
            logits[seen] = torch.where(found > 0, found / factor, found * factor)
        if answer and (params.presence_penalty or params.frequency_penalty):
            said = Counter(answer)
            counts = torch.tensor(list(said.values()), device=logits.device)
            logits[list(said)] -= params.presence_penalty + params.frequency_penalty * counts
        for token, bias in params.logit_bias.items():
            if 0 <= token < logits.numel():
                logits[token] += bias
        return logits

    def _draw(self, logits: Tensor) -> int:
        """A token by inverse transform over the kept ones: most likely first where some are cut off."""
        params = self.params
        count, order = logits.numel(), None
        if params.top_k and params.top_k < count:
            values, order = torch.topk(logits, params.top_k)
            weights = self._cut(torch.softmax(values.double(), dim=-1))
        else:
            weights = self._cut(torch.softmax(logits.double(), dim=-1))
        if params.top_p < 1.0:
            mass = params.top_p * weights.sum()
            if order is None:
                order = _likeliest(logits, weights, float(mass))
                weights = weights[order]
            before = weights.cumsum(0) - weights  # mass of more likely tokens
            weights = torch.where(before < mass, weights, 0.0)
        sums = weights.cumsum(0)
        at = float(torch.rand((), generator=self._stream, dtype=torch.float64)) * float(sums[-1])
        place = int(torch.searchsorted(sums, at, right=True))
        if place == len(sums):  # rounding carried it past the last kept one
            place = int(weights.nonzero()[-1])
        return place if order is None else int(order[place])

    def _cut(self, weights: Tensor) -> Tensor:
        """Without those that min_p cuts off."""
        least = self.params.min_p
        return torch.where(weights >= least * weights.max(), weights, 0.0) if least > 0.0 else weights


def _likeliest(logits: Tensor, weights: Tensor, mass: float) -> Tensor:
    """Tokens by falling probability, as many as hold `mass` of the `weights`: mostly few, and sorting all is slow."""
    keep = FEW
    while keep < logits.numel():
        order = torch.topk(logits, keep).indices
        if float(weights[order].sum()) >= mass:
            return order
        keep *= 8
    return torch.sort(logits, descending=True).indices


def largest(logits: Tensor) -> list[int]:
    """The token of the largest of `logits` [rows, vocab] in each row; on a CPU the first of equal ones."""
    if logits.device.type == "cpu":
        found: list[int] = logits.numpy().argmax(axis=-1).tolist()  # NumPy's is 13 times as fast as torch's
        return found
    return [int(token) for token in logits.argmax(dim=-1).tolist()]


def choose_all(
    logits: Tensor, choosers: Sequence[Chooser], answers: Sequence[Sequence[int]]
) -> list[Sampled]:
    """One token per row of `logits` [rows, vocab]; rows that just want the largest share one call."""
    plain = [row for row, chooser in enumerate(choosers) if chooser.is_plain]
    found = dict(zip(plain, largest(logits[plain]), strict=True)) if plain else {}
    rows = logits.cpu()
    return [
        Sampled(found[row]) if row in found else chooser.choose(rows[row], answers[row])
        for row, chooser in enumerate(choosers)
    ]
