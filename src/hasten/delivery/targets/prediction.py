"""What was predicted, for which inputs, by which version: prediction.json."""

from __future__ import annotations

import importlib.metadata
import json

from hasten.delivery.engine import Engine
from hasten.delivery.offer import Offer


def files(offer: Offer, engine: Engine) -> dict[str, str]:
    """prediction.json; the same offer gives the same text."""
    told = {
        "hasten_version": importlib.metadata.version("hasten"),
        "model": offer.deployment.model.name,
        "model_id": offer.model_id,
        "engine": offer.profile.engine,
        "engine_version": offer.profile.version,
        "image": engine.image(offer),
        "deployment": offer.deployment.label,
        "price_usd_per_hour": offer.deployment.price_per_hour,
        "policies": {role: f"{policy}" for role, policy in offer.policies.items()},
        "workload": offer.work.origin,
        "workload_requests": len(offer.work),
        "mean_prompt_tokens": offer.mean_prompt,
        "mean_output_tokens": offer.mean_output,
        "predicted_concurrency": offer.concurrency,
        "prediction": dict(offer.prediction),
        "input_sha256": offer.input_hashes,
    }
    return {"prediction.json": json.dumps(told, indent=2, allow_nan=False, default=str) + "\n"}
