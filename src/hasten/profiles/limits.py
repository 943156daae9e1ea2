"""The limits an engine runs with on one device: its defaults, after the user's overrides."""

from __future__ import annotations

from dataclasses import dataclass

from hasten.profiles.rules import next_size


@dataclass(frozen=True, kw_only=True)
class EngineLimits:
    """What bounds a step and the KV cache of one replica. Counts are tokens, sequences and blocks."""

    max_num_seqs: int
    max_num_batched_tokens: int  # tokens in one step
    max_model_len: int
    block_size: int  # tokens per KV block
    chunk_tokens: int | None = None  # tokens of prefill in one step, when the engine bounds them apart
    long_prefill_token_threshold: int = 0  # 0: no limit per request and step
    prefix_caching: bool = True
    chunked_prefill: bool = True
    memory_fraction: float = 0.9  # 0: the engine derives it from its reserve
    watermark: float = 0.0  # share of the blocks kept free when a waiting request is admitted
    offline: bool = False
    graph_sizes: tuple[int, ...] = ()  # tokens of captured decode steps, rising; empty: no graphs
    prefill_graph_sizes: tuple[int, ...] = ()  # tokens of captured steps that prefill
    overridden: tuple[str, ...] = ()  # settings that the user gave; the rest are the engine's defaults

    def padded(self, num_tokens: int) -> int:
        """Tokens the dense layers of a step see: the next captured size, or `num_tokens` without a graph."""
        return next_size(self.graph_sizes, num_tokens)

    def has_graph(self, num_tokens: int) -> bool:
        """Whether a step of `num_tokens` fits a captured graph."""
        return bool(self.graph_sizes) and num_tokens <= self.graph_sizes[-1]
