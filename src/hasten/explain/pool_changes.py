"""The one thing that a what-if changes in prefill and decode pools: a resource of one of them, a whole pool, the link
that KV crosses, how many replicas each has, an engine's knob, or a policy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, get_args

from hasten.explain.changes import (
    CAUSE,
    KNOB,
    RENT,
    Change,
    from_straggler,
    other_policies,
    roomier,
    traffic_causes,
    word,
)
from hasten.explain.resources import RESOURCES, sped_up
from hasten.explain.setup import Pool, PooledSetup, Setup
from hasten.latency import StepCost
from hasten.latency.messages import MESSAGES
from hasten.latency.scaled import scaled

POOLS: tuple[Pool, ...] = get_args(Pool)
WHOLE = "pool"
"""Kind of a change that makes everything of a pool faster: no cause, for it has parts that may be to blame."""

LINK = "KV link between the pools"
_PIECES = {"layer": "layer by layer", "block": "block by block", "whole": "in one message"}


def causes(setup: PooledSetup, speed: float = 2.0) -> Iterator[Change]:
    """What may be to blame, each taken away: a pool's resources or the KV link `speed` times as fast, a pool's KV cache
    twice as large, slow replicas at nominal speed, disproportionate prompts sent elsewhere."""
    for pool in POOLS:
        for name, words in RESOURCES.items():
            if name != "link" or getattr(setup.deployment, pool).parallelism.devices > 1:
                yield Change(
                    name=f"{pool}_{name}",
                    text=f"{pool} pool: {words} {speed:g} times as fast",
                    kind=CAUSE,
                    make=lambda pool=pool, name=name: _faster(setup, pool, name, speed),  # type: ignore[misc]
                    cause=f"{words} of the {pool} pool",
                )
    yield Change(
        name="kv_link",
        text=f"{LINK} {speed:g} times as fast",
        kind=CAUSE,
        make=lambda: faster_link(setup, speed),
        cause=LINK,
        resource=LINK,
        at=lambda each: faster_link(setup, each),
    )
    for pool in POOLS:
        yield Change(
            name=f"{pool}_kv_memory",
            text=f"{pool} pool: KV cache twice as large",
            kind=CAUSE,
            make=lambda pool=pool: with_room(setup, pool, 2.0),  # type: ignore[misc]
            cause=f"room in the KV cache of the {pool} pool",
            is_condition=True,
        )
    yield from from_straggler(setup)
    yield from traffic_causes(setup)


def wholes(setup: PooledSetup, speed: float = 2.0) -> Iterator[Change]:
    """A whole pool `speed` times as fast."""
    for pool in POOLS:
        yield Change(
            name=f"{pool}_pool",
            text=f"{pool} pool {speed:g} times as fast",
            kind=WHOLE,
            make=lambda pool=pool: faster_pool(setup, pool, speed),  # type: ignore[misc]
            resource=f"{pool} pool",
            at=lambda each, pool=pool: faster_pool(setup, pool, each),  # type: ignore[misc]
        )


def faster_link(setup: PooledSetup, speed: float) -> PooledSetup:
    """The link between the pools `speed` times as fast, in bandwidth and latency."""
    link = setup.deployment.link
    quick = replace(link, bandwidth=link.bandwidth * speed, latency=link.latency / speed)
    return setup.changed(deployment=replace(setup.deployment, link=quick))


def faster_pool(setup: PooledSetup, pool: Pool, speed: float) -> PooledSetup:
    """Every step of a pool `speed` times as fast."""
    return _with_cost(setup, pool, scaled(_costs(setup)[POOLS.index(pool)], 1.0 / speed))


def with_room(setup: PooledSetup, pool: Pool, factor: float) -> PooledSetup:
    """The KV cache of a pool's replicas `factor` times as large; everything else stays."""
    costs = _costs(setup)
    return setup.with_pool(pool, roomier(getattr(setup.deployment, pool), factor)).changed(cost=costs)


def _faster(setup: PooledSetup, pool: Pool, resource: str, speed: float) -> PooledSetup:
    return _with_cost(setup, pool, sped_up(getattr(setup.deployment, pool), resource, speed))


def _costs(setup: PooledSetup) -> tuple[StepCost, StepCost]:
    return (setup.deployment.prefill.cost, setup.deployment.decode.cost) if setup.cost is None else setup.cost


def _with_cost(setup: PooledSetup, pool: Pool, cost: StepCost) -> PooledSetup:
    first, second = _costs(setup)
    return setup.changed(cost=(cost, second) if pool == "prefill" else (first, cost))


def knobs(setup: PooledSetup) -> Iterator[Change]:
    """Every knob of the engines one notch up and down, and other ways to send KV."""
    for pool in POOLS:
        limits = getattr(setup.deployment, pool).limits
        for name in ("max_num_seqs", "max_num_batched_tokens"):
            now = getattr(limits, name)
            for value in (2 * now, now // 2):
                if value:
                    yield _setting(setup, pool, name, value, now)
        yield _setting(setup, pool, "prefix_caching", not limits.prefix_caching, now=limits.prefix_caching)
    for messages in MESSAGES:
        if messages != setup.deployment.messages:
            yield Change(
                name=f"messages={messages}",
                text=f"KV travels {_PIECES[messages]} (now {_PIECES[setup.deployment.messages]})",
                kind=KNOB,
                make=lambda messages=messages: setup.changed(  # type: ignore[misc]
                    deployment=replace(setup.deployment, messages=messages)
                ),
            )


def _setting(setup: PooledSetup, pool: Pool, name: str, value: Any, now: Any) -> Change:
    return Change(
        name=f"{pool}_{name}={value}",
        text=f"{pool} pool: {name} {word(value)} (now {word(now)})",
        kind=KNOB,
        make=lambda: setup.with_settings(pool, **{name: value}),
    )


def rents(setup: PooledSetup) -> Iterator[Change]:
    """One more prefill or decode replica, one less, one moved over, and the same replicas without a split."""
    counts = {pool: getattr(setup.deployment, pool).replicas for pool in POOLS}
    for more, less in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, -1), (-1, 1)):
        first, second = counts["prefill"] + more, counts["decode"] + less
        if min(first, second) > 0:
            yield Change(
                name=f"prefill={first},decode={second}",
                text=_counted(more, less, first, second),
                kind=RENT,
                make=lambda first=first, second=second: _resized(setup, first, second),  # type: ignore[misc]
            )
    if replace(setup.deployment.decode, replicas=counts["prefill"]) == setup.deployment.prefill:
        total = sum(counts.values())
        yield Change(
            name="not_split",
            text=f"the same {total} replicas for prompts and answers alike",
            kind=RENT,
            make=lambda: together(setup),
        )


def _counted(more: int, less: int, prefill: int, decode: int) -> str:
    if more and less:
        return f"one replica from {'decode to prefill' if more > 0 else 'prefill to decode'} ({prefill} and {decode})"
    pool, step, now = ("prefill", more, prefill) if more else ("decode", less, decode)
    return f"one {pool} replica {'more' if step > 0 else 'less'} ({now})"


def _resized(setup: PooledSetup, prefill: int, decode: int) -> PooledSetup:
    served = setup.deployment
    pools = [(served.prefill, prefill), (served.decode, decode)]
    speeds = list(setup.speeds)
    kept: list[float] = []
    for pool, count in pools if speeds else ():
        own = [speeds.pop(0) for _ in range(pool.replicas)]
        kept += [*own, 1.0][:count]
    first, second = (pool.with_replicas(count) for pool, count in pools)
    return setup.changed(deployment=replace(served, prefill=first, decode=second), speeds=tuple(kept))


def together(setup: PooledSetup) -> Setup:
    """As many replicas that serve whole requests, of the kind of the prefill pool."""
    served = setup.deployment
    policies = {role: spec for role, spec in setup.policies.items() if role != "decode_route"}
    return Setup(
        deployment=served.prefill.with_replicas(served.prefill.replicas + served.decode.replicas),
        work=setup.work,
        policies=policies,
        slo=setup.slo,
        seed=setup.seed,
        speeds=setup.speeds,
        cost=None if setup.cost is None else setup.cost[0],
    )


def every_change(setup: PooledSetup) -> list[Change]:
    """All of them, causes first."""
    served = setup.deployment
    replicas = {"route": served.prefill.replicas, "decode_route": served.decode.replicas}
    return [
        *causes(setup),
        *wholes(setup),
        *knobs(setup),
        *rents(setup),
        *other_policies(setup, replicas, defaults={"decode_route": "least_outstanding"}),
    ]
