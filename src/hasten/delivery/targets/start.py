"""A shell script per kind of worker: starts one replica on the devices of this machine."""

from __future__ import annotations

from hasten.delivery.engine import Engine
from hasten.delivery.offer import DECODE, SERVE, Offer, Pool


def files(offer: Offer, engine: Engine) -> dict[str, str]:
    """start.sh, or start-prefill.sh and start-decode.sh, with the files that the command lines refer to."""
    made: dict[str, str] = {}
    for pool in offer.pools:
        name = "start.sh" if pool.task == SERVE else f"start-{pool.task}.sh"
        made[name] = _script(offer, engine, pool)
        made |= engine.extra(offer, pool)
    return made


def _script(offer: Offer, engine: Engine, pool: Pool) -> str:
    deployed = pool.deployment
    exports = "".join(f"export {name}={text}\n" for name, text in engine.environment(pool).items())
    port = engine.port + (100 if pool.task == DECODE else 0)
    task = "" if pool.task == SERVE else f" ({pool.task})"
    return f"""#!/usr/bin/env bash
# Starts one{task} replica of {deployed.label} with {offer.profile.name}.
# Usage: {"start" if pool.task == SERVE else f"start-{pool.task}"}.sh [REPLICA]   0 to {deployed.replicas - 1}; \
replica i takes {pool.devices_per_replica} device(s) from i x {pool.devices_per_replica} on and port {port} + i.
set -euo pipefail
cd "$(dirname "$0")"
replica=${{1:-0}}
first=$((replica * {pool.devices_per_replica}))
export CUDA_VISIBLE_DEVICES=${{CUDA_VISIBLE_DEVICES:-$(seq -s, "$first" $((first + {pool.devices_per_replica - 1})))}}
{exports}exec {engine.command(offer, pool)} --host "${{HOST:-0.0.0.0}}" --port "${{PORT:-$(({port} + replica))}}"
"""
