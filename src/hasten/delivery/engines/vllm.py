"""vLLM: `vllm serve MODEL ...`. Flags as documented for `vllm serve` (docs.vllm.ai/en/latest/cli/serve)."""

from __future__ import annotations

import json
from typing import Any

from hasten.delivery.offer import PREFILL, SERVE, Offer, Pool
from hasten.errors import InputError

IMAGE = "vllm/vllm-openai:v{version}"
PORT = 8000
PROGRAM = ("vllm", "serve")
BACKEND = "vllm"


def settings(offer: Offer, pool: Pool) -> dict[str, Any]:
    """Engine arguments by their names in Python: what the simulation assumed, nothing left to a default."""
    deployed, limits = pool.deployment, pool.deployment.limits
    sizes = deployed.parallelism
    chosen: dict[str, Any] = {"tensor_parallel_size": sizes.tp}
    if sizes.pp > 1:
        chosen["pipeline_parallel_size"] = sizes.pp
    if sizes.dp > 1:
        chosen["data_parallel_size"] = sizes.dp
    if sizes.ep > 1:
        chosen["enable_expert_parallel"] = True
    chosen |= {
        "max_model_len": limits.max_model_len,
        "max_num_seqs": limits.max_num_seqs,
        "max_num_batched_tokens": limits.max_num_batched_tokens,
        "gpu_memory_utilization": limits.memory_fraction,
        "block_size": limits.block_size,
        "enable_prefix_caching": limits.prefix_caching,
    }
    if deployed.kv_dtype != "auto":
        chosen["kv_cache_dtype"] = "bfloat16" if deployed.kv_dtype == "bf16" else deployed.kv_dtype
    if str(offer.policies.get("schedule", "fcfs")).partition(":")[0] == "priority":
        chosen["scheduling_policy"] = "priority"
    host = pool.host_memory("computed")
    if host is not None and pool.task != SERVE:
        raise InputError(
            "host memory beside a decode pool takes a MultiConnector, which is not written yet: leave it out"
        )
    if host is not None:
        chosen["kv_offloading_backend"] = "native"
        chosen["kv_offloading_size"] = host.num_blocks * host.block_bytes / 2**30
    if pool.task != SERVE:
        chosen["kv_transfer_config"] = {"kv_connector": "NixlConnector", "kv_role": "kv_both"}
    return chosen


def args(offer: Offer, pool: Pool) -> list[str]:
    """Model and flags."""
    words = [offer.model_id]
    for name, value in settings(offer, pool).items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif value is False:
            words.append(f"--no-{name.replace('_', '-')}")
        else:
            words += [flag, json.dumps(value) if isinstance(value, dict) else f"{value}"]
    return words


def extra(offer: Offer, pool: Pool) -> dict[str, str]:
    """None: everything is a flag."""
    return {}


def environment(pool: Pool) -> dict[str, str]:
    """Replicas on one machine need a side channel each."""
    if pool.task == SERVE:
        return {}
    first = 5600 if pool.task == PREFILL else 5700
    return {"VLLM_NIXL_SIDE_CHANNEL_PORT": f"$(({first} + replica))"}
