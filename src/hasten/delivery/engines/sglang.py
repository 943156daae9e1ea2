"""SGLang: `python3 -m sglang.launch_server --model-path MODEL ...` (docs.sglang.ai, server arguments)."""

from __future__ import annotations

from hasten.delivery.offer import SERVE, Offer, Pool

IMAGE = "lmsysorg/sglang:v{version}"
PORT = 30000
PROGRAM = ("python3", "-m", "sglang.launch_server")
BACKEND = "sglang"


def args(offer: Offer, pool: Pool) -> list[str]:
    """Model and flags. A memory fraction of 0 stays with the engine, which derives it."""
    deployed, limits = pool.deployment, pool.deployment.limits
    sizes = deployed.parallelism
    words = ["--model-path", offer.model_id, "--tp-size", f"{sizes.tp}"]
    if sizes.pp > 1:
        words += ["--pp-size", f"{sizes.pp}"]
    if sizes.dp > 1:
        words += ["--dp-size", f"{sizes.dp}", "--enable-dp-attention"]
    if sizes.ep > 1:
        words += ["--ep-size", f"{sizes.ep}"]
    words += [
        *("--context-length", f"{limits.max_model_len}"),
        *("--max-running-requests", f"{limits.max_num_seqs}"),
        *("--max-prefill-tokens", f"{limits.max_num_batched_tokens}"),
        *("--page-size", f"{limits.block_size}"),
    ]
    if limits.chunk_tokens is not None:
        words += ["--chunked-prefill-size", f"{limits.chunk_tokens}"]
    if limits.memory_fraction > 0:
        words += ["--mem-fraction-static", f"{limits.memory_fraction:g}"]
    if not limits.prefix_caching:
        words.append("--disable-radix-cache")
    if deployed.kv_dtype == "fp8":
        words += ["--kv-cache-dtype", "fp8_e5m2"]
    host = pool.host_memory("computed", "evicted")
    if host is not None:
        size = host.num_blocks * host.block_bytes / 1e9 / host.lanes  # GB per device
        policy = "write_through" if host.writes == "computed" else "write_back"
        words += [
            "--enable-hierarchical-cache",
            "--hicache-size",
            f"{size:.0f}",
            "--hicache-write-policy",
            policy,
        ]
    if pool.task != SERVE:
        words += ["--disaggregation-mode", pool.task, "--disaggregation-transfer-backend", "nixl"]
    return words


def extra(offer: Offer, pool: Pool) -> dict[str, str]:
    """None: everything is a flag."""
    return {}


def environment(pool: Pool) -> dict[str, str]:
    """None."""
    return {}
