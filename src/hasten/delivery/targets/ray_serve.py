"""Ray Serve LLM: `serve run ray-serve.yaml`. It runs vLLM: only engines with arguments in Python have one."""

from __future__ import annotations

from typing import Any

from hasten.delivery import yaml
from hasten.delivery.engine import Engine
from hasten.delivery.offer import DECODE, PREFILL, Offer, Pool

# Names that Ray gives to accelerators (ray.util.accelerators); others are left to the cluster's resources.
_ACCELERATORS = {
    "a100-sxm-80g": "A100-80G",
    "a100-sxm-40g": "A100-40G",
    "a10": "A10",
    "h100-sxm": "H100",
    "h200-sxm": "H200",
    "b200-sxm": "B200",
    "l4": "L4",
    "l40s": "L40S",
    "t4": "T4",
}


def files(offer: Offer, engine: Engine) -> dict[str, str]:
    """ray-serve.yaml."""
    if engine.settings is None:
        return {}
    configs = {pool.task: _config(offer, engine, pool) for pool in offer.pools}
    if offer.is_disaggregated:
        path = "ray.serve.llm:build_pd_openai_app"
        args: dict[str, Any] = {
            "prefill_config": configs[PREFILL],
            "decode_config": configs[DECODE],
        }
    else:
        path, args = "ray.serve.llm:build_openai_app", {"llm_configs": list(configs.values())}
    app = {"name": "llm", "route_prefix": "/", "import_path": path, "args": args}
    return {
        "ray-serve.yaml": yaml.dump(
            {"applications": [app]}, comment=f"serve run ray-serve.yaml\n{offer.deployment.label}"
        )
    }


def _config(offer: Offer, engine: Engine, pool: Pool) -> dict[str, Any]:
    deployed = pool.deployment
    config: dict[str, Any] = {
        "model_loading_config": {"model_id": deployed.model.name, "model_source": offer.model_id},
    }
    if deployed.device.name in _ACCELERATORS:
        config["accelerator_type"] = _ACCELERATORS[deployed.device.name]
    config["deployment_config"] = {
        "num_replicas": deployed.replicas,
        "max_ongoing_requests": 2 * deployed.limits.max_num_seqs,
    }
    config["engine_kwargs"] = engine.settings(offer, pool) if engine.settings is not None else {}
    return config
