"""Loading the KV of a long context over a link: quantised levels, recomputation, and a streamer that picks per chunk.

Source: "CacheGen: KV Cache Compression and Streaming for Fast Large Language Model Serving", SIGCOMM 2024,
arXiv:2310.07240; levels and the streamer's rule as in its public code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hasten.errors import InputError


@dataclass(frozen=True, slots=True)
class Level:
    """One quality of encoded KV: bytes as a share of those cached in 16 bits."""

    name: str
    share: float

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise InputError(f"level {self.name}: share is {self.share}: it must be above 0, at most 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A context to load: `tokens` in chunks of `chunk`, `kv_bytes` per token in 16 bits.

    `recompute(tokens, past)` is the prefill time (s) of a chunk behind those before it. A device decodes encoded KV at
    `decode_rate` bytes/s of the result, while the next chunk travels; KV in 8 or 16 bits needs no decoding.
    """

    tokens: int
    kv_bytes: float
    recompute: Callable[[int, int], float]
    chunk: int = 1000
    decode_rate: float = 10e9

    def __post_init__(self) -> None:
        for name in ("tokens", "kv_bytes", "chunk", "decode_rate"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}: it must be above 0")

    @property
    def chunks(self) -> list[int]:
        """Tokens of each chunk."""
        full, rest = divmod(self.tokens, self.chunk)
        return [self.chunk] * full + ([rest] if rest else [])


@dataclass(frozen=True, slots=True)
class Loaded:
    """What loading took (s), and each chunk's level; None: its text was sent and computed anew."""

    seconds: float
    levels: tuple[Level | None, ...]


def load(
    context: Context, level: Level | None, bandwidth: Sequence[float] | float, *, raw: bool = False
) -> Loaded:
    """All chunks at one level, or (None) recomputed. `bandwidth` in B/s, one for all or one per chunk.

    `raw`: the level needs no decoding.
    """
    return _play(context, bandwidth, lambda *_: level, raw=raw)


def stream(
    context: Context,
    levels: Sequence[Level],
    bandwidth: Sequence[float] | float,
    *,
    limit: float,
    lag: int = 0,
) -> Loaded:
    """For each chunk the best level (they are given best first) that fits the time left, by the bandwidth measured.

    The budget is what is left of `limit` (s) over the chunks left; the bandwidth is that of the chunk, or of the one
    `lag` chunks before. A chunk for which no level fits is sent as text and recomputed, if that is sooner than the
    smallest level.
    """
    if not limit > 0.0 or not levels or lag < 0:
        raise InputError(
            f"limit is {limit} s, lag {lag}, and there are {len(levels)} levels: give a limit above 0, a lag from 0 on "
            "and one level"
        )

    def choose(at: int, tokens: int, past: int, rates: Sequence[float], elapsed: float) -> Level | None:
        seen = rates[max(0, at - lag)]
        budget = (limit - elapsed) / (len(context.chunks) - at)
        raw = tokens * context.kv_bytes
        for level in levels:
            if raw * level.share / seen <= budget:
                return level
        return None if context.recompute(tokens, past) < raw * levels[-1].share / seen else levels[-1]

    return _play(context, bandwidth, choose)


def break_even(context: Context, level: Level) -> float:
    """The bandwidth (B/s) at which loading at `level` takes as long as recomputing: share x KV bytes / prefill time."""
    return level.share * context.tokens * context.kv_bytes / load(context, None, math.inf).seconds


def _play(
    context: Context,
    bandwidth: Sequence[float] | float,
    choose: Callable[[int, int, int, Sequence[float], float], Level | None],
    *,
    raw: bool = False,
) -> Loaded:
    """Chunk by chunk: the link carries the next one while the device decodes or computes the last."""
    chunks = context.chunks
    rates = [bandwidth] * len(chunks) if isinstance(bandwidth, int | float) else list(bandwidth)
    if len(rates) < len(chunks) or not all(rate > 0.0 for rate in rates):
        raise InputError(f"{len(rates)} bandwidths for {len(chunks)} chunks: give one above 0 B/s for each")
    link = device = 0.0
    past = 0
    found: list[Level | None] = []
    for at, tokens in enumerate(chunks):
        level = choose(at, tokens, past, rates, max(link, device))
        if level is None:
            device = max(link, device) + context.recompute(tokens, past)
            link = max(link, device)  # the streamer asks for the next chunk when this one is done
        else:
            link += tokens * context.kv_bytes * level.share / rates[at]
            device = max(link, device) + (0.0 if raw else tokens * context.kv_bytes / context.decode_rate)
        past += tokens
        found.append(level)
    return Loaded(max(link, device), tuple(found))
