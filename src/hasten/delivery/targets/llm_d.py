"""llm-d: values for its Helm chart llm-d-modelservice, which runs vLLM."""

from __future__ import annotations

from typing import Any

from hasten.delivery import yaml
from hasten.delivery.engine import Engine
from hasten.delivery.offer import DECODE, PREFILL, Offer, Pool


def files(offer: Offer, engine: Engine) -> dict[str, str]:
    """llm-d-values.yaml. A deployment that is not disaggregated is the chart's decode part alone."""
    if engine.settings is None:
        return {}
    by_task = {pool.task: pool for pool in offer.pools}
    decode = by_task.get(DECODE, offer.pools[0])
    values: dict[str, Any] = {
        "modelArtifacts": {
            "name": offer.model_id,
            "uri": f"hf://{offer.model_id}",
            "size": f"{_gib(offer)}Gi",
            "authSecretName": "llm-d-hf-token",
        },
        "routing": {"servicePort": engine.port},
        "decode": _part(offer, engine, decode),
        "prefill": _part(offer, engine, by_task[PREFILL]) if PREFILL in by_task else {"create": False},
    }
    if offer.is_disaggregated:
        values["routing"]["proxy"] = {"connector": "nixlv2", "targetPort": 8200}
    values["accelerator"] = {"type": decode.deployment.device.vendor}
    return {
        "llm-d-values.yaml": yaml.dump(
            values,
            comment="helm install NAME llm-d-modelservice -f llm-d-values.yaml\n"
            f"{offer.deployment.label}; needs the secret llm-d-hf-token",
        )
    }


def _part(offer: Offer, engine: Engine, pool: Pool) -> dict[str, Any]:
    sizes = pool.deployment.parallelism
    container = {
        "name": engine.backend,
        "image": engine.image(offer),
        "modelCommand": "vllmServe",
        "args": engine.args(offer, pool)[1:],  # the chart names the model
        "resources": {"limits": {"nvidia.com/gpu": f"{pool.devices_per_replica}"}},
    }
    return {
        "create": True,
        "replicas": pool.deployment.replicas,
        "parallelism": {"tensor": sizes.tp, "data": sizes.dp},
        "containers": [container],
    }


def _gib(offer: Offer) -> int:
    """Room for the checkpoint, with a fifth to spare."""
    return max(1, round(1.2 * float(offer.deployment.model.weight_bytes) / 2**30))
