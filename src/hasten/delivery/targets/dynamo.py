"""NVIDIA Dynamo: a DynamoGraphDeployment with a frontend and one worker service per pool."""

from __future__ import annotations

import shlex
from typing import Any

from hasten.delivery import yaml
from hasten.delivery.engine import Engine
from hasten.delivery.offer import PREFILL, SERVE, Offer, Pool

_KIND = {SERVE: "Worker", PREFILL: "PrefillWorker", "decode": "DecodeWorker"}


def files(offer: Offer, engine: Engine) -> dict[str, str]:
    """dynamo.yaml."""
    frontend = {
        "componentType": "frontend",
        "replicas": 1,
        "extraPodSpec": {"mainContainer": {"image": _image(engine, offer)}},
    }
    services: dict[str, Any] = {"Frontend": frontend}
    for pool in offer.pools:
        services[f"{engine.backend.capitalize()}{_KIND[pool.task]}"] = _worker(offer, engine, pool)
    name = offer.deployment.model.name.replace(".", "-").replace("_", "-").lower()
    manifest = {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": name},
        "spec": {"services": services},
    }
    return {
        "dynamo.yaml": yaml.dump(
            manifest,
            comment=f"kubectl apply -f dynamo.yaml\n{offer.deployment.label}; review before you apply",
        )
    }


def _image(engine: Engine, offer: Offer) -> str:
    return f"nvcr.io/nvidia/ai-dynamo/{engine.backend}-runtime:latest"


def _worker(offer: Offer, engine: Engine, pool: Pool) -> dict[str, Any]:
    words = engine.args(offer, pool)
    if words[0] == offer.model_id:
        words = ["--model", *words]
    if pool.task != SERVE and engine.settings is not None:
        words.append(f"--is-{pool.task}-worker")
    files = engine.extra(offer, pool).items()
    before = "".join(f"cat > {name} <<'END'\n{text}END\n" for name, text in files)
    command = before + shlex.join(["python3", "-m", f"dynamo.{engine.backend}", *words])
    worker: dict[str, Any] = {"componentType": "worker"}
    if pool.task != SERVE:
        worker["subComponentType"] = pool.task
    return worker | {
        "replicas": pool.deployment.replicas,
        "resources": {"limits": {"gpu": f"{pool.devices_per_replica}"}},
        "extraPodSpec": {
            "mainContainer": {
                "image": _image(engine, offer),
                "command": ["/bin/sh", "-c"],
                "args": [command],
            }
        },
    }
