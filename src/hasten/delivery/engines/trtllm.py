"""TensorRT-LLM: `trtllm-serve MODEL --extra_llm_api_options FILE` (nvidia.github.io/TensorRT-LLM, LLM arguments)."""

from __future__ import annotations

from typing import Any

from hasten.delivery import yaml
from hasten.delivery.offer import SERVE, Offer, Pool

IMAGE = "nvcr.io/nvidia/tensorrt-llm/release:{version}"
PORT = 8000
PROGRAM = ("trtllm-serve",)
BACKEND = "trtllm"


def args(offer: Offer, pool: Pool) -> list[str]:
    """Model and flags; the rest stands in the options file."""
    sizes = pool.deployment.parallelism
    return [
        offer.model_id,
        *("--tp_size", f"{sizes.tp}"),
        *("--pp_size", f"{sizes.pp}"),
        *("--extra_llm_api_options", _name(pool)),
    ]


def extra(offer: Offer, pool: Pool) -> dict[str, str]:
    """The options file."""
    deployed, limits = pool.deployment, pool.deployment.limits
    options: dict[str, Any] = {
        "max_seq_len": limits.max_model_len,
        "max_batch_size": limits.max_num_seqs,
        "max_num_tokens": limits.max_num_batched_tokens,
        "enable_chunked_prefill": limits.chunked_prefill,
        "kv_cache_config": {
            "free_gpu_memory_fraction": limits.memory_fraction,
            "tokens_per_block": limits.block_size,
            "enable_block_reuse": limits.prefix_caching,
        },
        "cuda_graph_config": {"enable_padding": True},
    }
    host = pool.host_memory("evicted")
    if host is not None:  # bytes per device
        options["kv_cache_config"]["host_cache_size"] = int(host.num_blocks * host.block_bytes / host.lanes)
    if deployed.kv_dtype != "auto":
        options["kv_cache_config"]["dtype"] = deployed.kv_dtype
    if deployed.parallelism.ep > 1:
        options["moe_expert_parallel_size"] = deployed.parallelism.ep
    if deployed.parallelism.dp > 1:
        options["enable_attention_dp"] = True
    if pool.task != SERVE:
        options["cache_transceiver_config"] = {"backend": "DEFAULT"}
    return {_name(pool): yaml.dump(options)}


def _name(pool: Pool) -> str:
    return "trtllm.yaml" if pool.task == SERVE else f"trtllm-{pool.task}.yaml"


def environment(pool: Pool) -> dict[str, str]:
    """None."""
    return {}
