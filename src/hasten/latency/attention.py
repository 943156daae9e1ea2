"""Attention kernels as costs: which pairs of tokens meet, and how many cached bytes are read."""

from __future__ import annotations

from dataclasses import dataclass

from hasten.latency.compiled import UNLIMITED, causal_pairs, tokens_seen
from hasten.latency.work import Kernel
from hasten.models.shape import Attention

ATTENTION_FIXED = 4.0
ATTENTION_COMPUTE_SHARE = 0.65
"""Fixed time, in kernel_seconds, and share of a large product's FLOP/s of an attention kernel.

Fitted to the bf16 tables of vLLM in AIConfigurator 0.12.0 (Apache-2.0; A100, H100, H200, B200, L40S, RTX PRO
6000, head size 128): best fixed times 4 to 6 and shares 0.6 to 0.75 per device, with mean absolute errors of
19 to 37 %.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionCost:
    """Attention of equal layers on one device, summed over ``layers``.

    Prefill: ``pair_flops`` per (query, key) pair, ``past_flops`` per cached token (expanding a latent cache),
    ``seen_bytes`` per key read, ``new_bytes`` per query (in and out). Decoding has its own figures, because a
    latent cache is then read as it is and never expanded (DeepSeek-V2, arXiv:2405.04434, section 2.1.2).
    """

    layers: int
    window: int = UNLIMITED  # tokens
    dtype: str = "bf16"
    pair_flops: float = 0.0
    past_flops: float = 0.0
    seen_bytes: float = 0.0
    new_bytes: float = 0.0
    decode_pair_flops: float = 0.0
    decode_seen_bytes: float = 0.0
    decode_new_bytes: float = 0.0
    heads_per_kv_head: float = 1.0

    def prefill(self, tokens: int, context: int, share: float = 1.0) -> Kernel:
        """A chunk of ``tokens`` behind ``context`` cached ones; ``share`` scales it (micro-batches)."""
        pairs = causal_pairs(tokens, context, self.window)
        return Kernel(
            name="prefill attention",
            launches=0,
            compute_share=ATTENTION_COMPUTE_SHARE,
            dtype=self.dtype,
            flops=share * (self.pair_flops * pairs + self.past_flops * context),
            kv_bytes=share * self.seen_bytes * tokens_seen(tokens, context, self.window),
            activation_bytes=share * self.new_bytes * tokens,
        )

    def decode(self, n: int, context_sum: int, share: float = 1.0, slowdown: float = 1.0) -> Kernel:
        """One token for each of ``n`` sequences whose cached tokens sum to ``context_sum``.

        Every sequence is taken to have the mean context, so a window of w caps the sum at n * w. That is
        exact when all contexts are on one side of the window, and never too low otherwise.
        """
        seen = min(context_sum + n, n * self.window)
        return Kernel(
            name="decode attention",
            launches=0,
            compute_share=ATTENTION_COMPUTE_SHARE,
            dtype=self.dtype,
            flops=share * self.decode_pair_flops * seen,
            kv_bytes=share * self.decode_seen_bytes * seen,
            activation_bytes=share * self.decode_new_bytes * n,
            slowdown=slowdown,
        )

    def mixed_slowdown(self, sigma: float) -> float:
        """Factor on decode attention beside a prefill: 1 + (query heads per KV head - 1) * sigma."""
        return 1.0 + (self.heads_per_kv_head - 1.0) * sigma


def attention_cost(
    attention: Attention, tp: int, *, layers: int, kv_element_bytes: float, dtype_bytes: float
) -> AttentionCost:
    """Costs of ``layers`` equal attention layers on one of ``tp`` devices; bytes are per element."""
    heads = attention.heads / tp
    value_dim = attention.value_dim
    kv_bytes = attention.kv_elements_per_device(tp) * kv_element_bytes
    query_bytes = heads * (attention.head_dim + value_dim) * dtype_bytes
    pair_flops = 2.0 * heads * (attention.head_dim + value_dim)
    if attention.kind == "mla":
        latent = attention.kv_lora_rank
        # Prefill expands the latent into keys and values of every head, for cached tokens once more.
        past_flops = 2.0 * latent * heads * (attention.qk_nope_head_dim + value_dim)
        seen_bytes = kv_bytes + query_bytes
        decode_pair_flops = 2.0 * heads * (2 * latent + attention.qk_rope_head_dim)
        decode_new_bytes = heads * (2 * latent + attention.qk_rope_head_dim) * dtype_bytes
        heads_per_kv_head = 1.0  # latent kernels read the cache once for all heads
    else:
        past_flops = 0.0
        seen_bytes = kv_bytes
        decode_pair_flops = pair_flops
        decode_new_bytes = query_bytes
        heads_per_kv_head = max(1.0, heads / -(-attention.kv_heads // tp))
    return AttentionCost(
        layers=layers,
        window=UNLIMITED if attention.window is None else attention.window,
        dtype="fp32" if dtype_bytes == 4 else "bf16",
        pair_flops=layers * pair_flops,
        past_flops=layers * past_flops,
        seen_bytes=layers * seen_bytes,
        new_bytes=layers * query_bytes,
        decode_pair_flops=layers * decode_pair_flops,
        decode_seen_bytes=layers * kv_bytes,
        decode_new_bytes=layers * decode_new_bytes,
        heads_per_kv_head=heads_per_kv_head,
    )
