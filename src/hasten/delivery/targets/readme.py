"""A page for whoever finds the folder."""

from __future__ import annotations

from hasten.delivery.engine import Engine
from hasten.delivery.offer import SERVE, Offer

# What engines do themselves: anything else was simulated, and nothing here turns it on.
_BUILT_IN = {
    "schedule": ("fcfs", "priority"),
    "cache": ("lru",),
    "admit": ("always",),
    "route": ("round_robin",),
}


def files(offer: Offer, engine: Engine) -> dict[str, str]:
    """README.md."""
    lines = [
        f"# {offer.deployment.model.name} on {offer.deployment.label}",
        "",
        f"Made by hasten for {offer.profile.name} (`{engine.image(offer)}`). The figures stand in `prediction.json`;",
        "`benchmark.sh` measures the running deployment around them.",
        "",
    ]
    for pool in offer.pools:
        script = "start.sh" if pool.task == SERVE else f"start-{pool.task}.sh"
        lines.append(
            f"- `{script} REPLICA` starts one of {pool.deployment.replicas} replica(s) on "
            f"{pool.devices_per_replica} x {pool.deployment.device.name} each"
        )
    lines.append("- the manifests say at their top how they are applied; review them first")
    unmet = [
        f"{role} {policy}"
        for role, policy in offer.policies.items()
        if policy is not None and f"{policy}" not in _BUILT_IN.get(role, (f"{policy}",))
    ]
    if unmet:
        lines += ["", f"Simulated, but not among the engine's own settings: {', '.join(unmet)}."]
    if sum(pool.deployment.replicas for pool in offer.pools) > len(offer.pools):
        lines += [
            "",
            "Several replicas need a router before them; the prediction is for round robin unless stated.",
        ]
    return {"README.md": "\n".join(lines) + "\n"}
