"""Length distributions: how many tokens prompts and answers have."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hasten.errors import InputError
from hasten.workload.columns import MAX_TOKENS, Ints


class Lengths(Protocol):
    """Anything that draws token counts of 1 or more."""

    def draw(self, rng: np.random.Generator, num: int) -> Ints:
        """`num` token counts, int32 [num]."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """Every length is `tokens`."""

    tokens: int

    def __post_init__(self) -> None:
        _check_tokens("tokens", self.tokens)

    def draw(self, rng: np.random.Generator, num: int) -> Ints:
        """`num` equal lengths."""
        return np.full(num, self.tokens, dtype=np.int32)


@dataclass(frozen=True, slots=True)
class Uniform:
    """Whole lengths from `low` to `high`, both included."""

    low: int
    high: int

    def __post_init__(self) -> None:
        _check_tokens("low", self.low)
        _check_tokens("high", self.high)
        if self.low > self.high:
            raise InputError(f"low = {self.low} is above high = {self.high}: swap them")

    def draw(self, rng: np.random.Generator, num: int) -> Ints:
        """`num` lengths."""
        return rng.integers(self.low, self.high, num, dtype=np.int32, endpoint=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lognormal:
    """Lognormal lengths of `mean` or `median` tokens (give one), `sigma` of the logarithm, clipped to [low, high].

    mean = median exp(sigma^2 / 2) holds before rounding to whole tokens and clipping; values outside move to the
    nearer limit.
    """

    sigma: float
    mean: float | None = None
    median: float | None = None
    low: int = 1
    high: int = MAX_TOKENS

    def __post_init__(self) -> None:
        if (self.mean is None) == (self.median is None):
            raise InputError("a lognormal length needs either mean or median (tokens)")
        centre = self.mean if self.median is None else self.median
        if centre is None or not 0 < centre <= MAX_TOKENS:
            raise InputError(f"mean or median = {centre} must be above 0 and at most {MAX_TOKENS} tokens")
        if not 0 <= self.sigma <= 5:
            raise InputError(f"sigma = {self.sigma} must be 0 to 5 (0.6 is a usual spread)")
        _check_tokens("low", self.low)
        _check_tokens("high", self.high)
        if self.low > self.high:
            raise InputError(f"low = {self.low} is above high = {self.high}: swap them")

    def draw(self, rng: np.random.Generator, num: int) -> Ints:
        """`num` lengths."""
        mu = (
            math.log(self.median) if self.median is not None else math.log(self.mean or 1) - self.sigma**2 / 2
        )
        drawn = np.exp(np.minimum(rng.normal(mu, self.sigma, num), math.log(2.0 * MAX_TOKENS)))
        return np.clip(np.rint(drawn), self.low, self.high).astype(np.int32)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Empirical:
    """Lengths drawn with replacement from `values` (a workload's `prompt_tokens`, say)."""

    values: Any

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.ndim != 1 or len(values) == 0 or values.dtype.kind not in "iu":
            raise InputError("empirical lengths need a list of one or more whole numbers")
        _check_tokens("the smallest value", int(values.min()))
        _check_tokens("the largest value", int(values.max()))
        object.__setattr__(self, "values", values.astype(np.int32))

    def __repr__(self) -> str:
        return f"Empirical({len(self.values)} values)"

    def draw(self, rng: np.random.Generator, num: int) -> Ints:
        """`num` lengths."""
        drawn: Ints = self.values[rng.integers(0, len(self.values), num)]
        return drawn


def _check_tokens(name: str, tokens: int) -> None:
    if not 1 <= tokens <= MAX_TOKENS:
        raise InputError(f"{name} = {tokens} is outside 1 to {MAX_TOKENS} tokens")
