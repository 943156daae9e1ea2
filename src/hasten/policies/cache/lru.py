"""Least recently used."""

from dataclasses import dataclass

from hasten.core.policy import CachePolicy


@dataclass
class Lru(CachePolicy):
    """Evict the cached blocks that were released longest ago; blocks without content wait in the same queue.

    Paper: "Efficient Memory Management for Large Language Model Serving with PagedAttention", SOSP 2023,
        arXiv:2309.06180; the free-block queue of vLLM 0.19.
    Differs: nothing; this is the pool's default.
    Needs: nothing.
    Use when: nothing is known about reuse; it is what the engines do.
    Avoid when: much is used once and floods the cache: one_bit.
    """
