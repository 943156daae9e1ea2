"""The one thing that a what-if changes: a resource, a knob of the engine, what is rented, a policy, or the traffic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from hasten.core.policy import REJECT, AdmitPolicy
from hasten.core.request import Request
from hasten.core.view import ClusterView
from hasten.deployment import Deployment
from hasten.explain.resources import RESOURCES, sped_up
from hasten.explain.setup import Run, Setup
from hasten.policies import load_policy, policy_names
from hasten.workload import Workload

CAUSE, KNOB, RENT, POLICY = "cause", "knob", "rent", "policy"
TOOLS, CLIENTS, LONG_PROMPTS = "tools", "clients", "long_prompts"
LONG_FACTOR, LONG_SHARE, LONG_MOST = 8.0, 0.15, 0.25
"""Prompts are disproportionate from 8 medians on, if they hold 15 % of all prompt tokens and are at most a quarter."""

_PINNED = ("max_num_seqs", "max_num_batched_tokens", "max_model_len", "block_size")

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Same = TypeVar("Same", bound=Run)


def _as_it_is(work: Workload) -> Workload:
    return work


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing changed: `make` gives the setup. A CAUSE is taken away, the others are things that one can do.

    `rows` says of a workload which requests' objective counts, None: all. `cause` says in words what a cause is. What
    can be made faster by any factor is a `resource`, and `at` gives the setup for a speed. A change of the traffic
    itself says what it makes of other `traffic`.
    """

    name: str
    text: str
    kind: str
    make: Callable[[], Run]
    cause: str = ""
    is_condition: bool = (
        False  # a cause that need not be there, unlike a resource, of which twice as much always helps
    )
    rows: Callable[[Workload], Mask] | None = None
    resource: str = ""
    at: Callable[[float], Run] | None = None
    traffic: Callable[[Workload], Workload] = _as_it_is


def counted(change: Change, work: Workload, *columns: Floats) -> list[Floats]:
    """Columns of runs of `work`, one value per request, without the requests that do not count."""
    return list(columns) if change.rows is None else [each[change.rows(work)] for each in columns]


def causes(setup: Setup, speed: float = 2.0) -> Iterator[Change]:
    """What may be to blame, each taken away: resources `speed` times as fast, KV cache twice as large,
    slow replicas at nominal speed, disproportionate prompts sent elsewhere."""
    many = setup.deployment.parallelism.devices > 1
    for name, words in RESOURCES.items():
        if name != "link" or many:
            yield Change(
                name=name,
                text=f"{words} {speed:g} times as fast",
                kind=CAUSE,
                make=lambda name=name: faster(setup, name, speed),  # type: ignore[misc]
                cause=words,
                resource=words,
                at=lambda each, name=name: faster(setup, name, each),  # type: ignore[misc]
            )
    yield Change(
        name="kv_memory",
        text="KV cache twice as large",
        kind=CAUSE,
        make=lambda: with_kv(setup, 2.0),
        cause="room in the KV cache",
        is_condition=True,
    )
    yield from from_straggler(setup)
    yield from traffic_causes(setup)


def from_straggler(setup: Run) -> Iterator[Change]:
    """Replicas below nominal speed, repaired."""
    if any(each < 1.0 for each in setup.speeds):
        slow = ", ".join(str(index) for index, each in enumerate(setup.speeds) if each < 1.0)
        yield Change(
            name="straggler",
            text=f"replica {slow} as fast as its model says",
            kind=CAUSE,
            make=lambda: setup.changed(speeds=tuple(max(1.0, each) for each in setup.speeds)),
            cause=f"slow replica {slow}",
            is_condition=True,
        )


def from_door(setup: Run) -> Change:
    """Nobody is held at the door: everybody is let in, and sent to the replica with the fewest requests."""
    return Change(
        name="admission",
        text="nobody held at the door (admit always, route least_outstanding)",
        kind=CAUSE,
        make=lambda: setup.changed(
            policies={**setup.policies, "admit": "always", "route": "least_outstanding"}
        ),
        cause="admission, which holds requests at the door",
        is_condition=True,
    )


def traffic_causes(setup: Run, speed: float = 2.0) -> Iterator[Change]:
    """Disproportionate prompts, sent elsewhere; tools and users `speed` times as fast."""
    limit = long_prompts(setup.work)
    if limit is not None:
        yield Change(
            name=LONG_PROMPTS,
            text=f"prompts above {limit:,} tokens served elsewhere (effect on all others)",
            kind=CAUSE,
            make=lambda: without_prompts(setup, limit),
            cause=f"prompts above {limit:,} tokens among the others",
            is_condition=True,
            rows=lambda work: work.prompt_tokens <= limit,
        )
    for name, (words, rows) in _waits(setup.work).items():
        if rows.any():
            yield Change(
                name=name,
                text=f"{words} {speed:g} times as fast",
                kind=CAUSE,
                make=lambda name=name: setup.changed(work=_sooner(setup.work, name, speed)),  # type: ignore[misc]
                cause=words,
                resource=words,
                at=lambda each, name=name: setup.changed(work=_sooner(setup.work, name, each)),  # type: ignore[misc]
                traffic=lambda work, name=name: _sooner(work, name, speed),  # type: ignore[misc]
            )


def _waits(work: Workload) -> Mapping[str, tuple[str, Mask]]:
    """Rows that wait for tools, and rows that wait for somebody else."""
    if work.think_s is None or work.parent is None:
        return {}
    waits = (work.parent >= 0) & (work.think_s > 0.0)
    by_tool = np.zeros(len(work), dtype=np.bool_) if work.tool is None else work.tool[work.parent] >= 0
    return {TOOLS: ("tools", waits & by_tool), CLIENTS: ("users and clients", waits & ~by_tool)}


def _sooner(work: Workload, name: str, speed: float) -> Workload:
    """What tools, or users and clients, are waited for takes less time."""
    if work.think_s is None:
        return work
    _, rows = _waits(work)[name]
    return work.replaced(think_s=np.where(rows, work.think_s / speed, work.think_s))


def faster(setup: Setup, resource: str, speed: float) -> Setup:
    """A resource of the deployment `speed` times as fast."""
    return setup.changed(cost=sped_up(setup.deployment, resource, speed))


def with_kv(setup: Setup, factor: float) -> Setup:
    """The KV cache `factor` times as large; everything else stays."""
    made = setup.deployment
    return setup.changed(
        deployment=roomier(made, factor), cost=made.cost if setup.cost is None else setup.cost
    )


def roomier(made: Deployment, factor: float) -> Deployment:
    """The same with a KV cache `factor` times as large, on a device with the memory for it."""
    limits, kv = made.limits, made.kv
    pinned = {name: getattr(limits, name) for name in _PINNED}
    memory = int(made.device.memory_bytes + 2 * max(0.0, factor - 1.0) * kv.kv_bytes)
    larger = replace(made, device=replace(made.device, memory_bytes=memory), **pinned)
    return replace(larger, kv_cache_tokens=max(1, int(kv.tokens * factor)))


def long_prompts(work: Workload) -> int | None:
    """The prompt length (tokens) above which a few requests bring much of the work; None: prompts are alike."""
    prompts = work.prompt_tokens
    limit = int(LONG_FACTOR * float(np.median(prompts)))
    long = prompts > limit
    if not long.any() or long.mean() > LONG_MOST or prompts[long].sum() < LONG_SHARE * prompts.sum():
        return None
    return limit


@dataclass
class _Shorter(AdmitPolicy):
    """Turns prompts above a length away, and asks another policy about the rest."""

    inner: AdmitPolicy
    limit: int

    def decide(self, request: Request, view: ClusterView) -> bool:
        return REJECT if request.prompt_tokens > self.limit else self.inner.decide(request, view)


def without_prompts(setup: Same, limit: int) -> Same:
    """Prompts above `limit` tokens are served by somebody else."""
    inner = load_policy("admit", setup.policies.get("admit", "always"))
    return setup.changed(policies={**setup.policies, "admit": _Shorter(inner, limit)})


def knobs(setup: Setup) -> Iterator[Change]:
    """Every knob of the engine one notch up and down."""
    limits = setup.deployment.limits
    for name in ("max_num_seqs", "max_num_batched_tokens", "block_size"):
        now = getattr(limits, name)
        for value in (2 * now, now // 2):
            if value:
                yield _setting(setup, name, value, now)
    threshold = limits.long_prefill_token_threshold
    for value in (2 * threshold, threshold // 2) if threshold else (512, 2048):
        if value:
            yield _setting(setup, "long_prefill_token_threshold", value, threshold)
    yield _setting(setup, "prefix_caching", not limits.prefix_caching, limits.prefix_caching)
    if setup.deployment.kv_dtype == "auto":
        yield _setting(setup, "kv_dtype", "fp8", "auto")
    if setup.work.block_ids is not None:
        yield Change(
            name="endless_cache",
            text="prefix cache 16 times as large",
            kind=KNOB,
            make=lambda: with_kv(setup, 16.0),
        )


def _setting(setup: Setup, name: str, value: Any, now: Any) -> Change:
    return Change(
        name=f"{name}={value}",
        text=f"{name} {word(value)} (now {word(now)})",
        kind=KNOB,
        make=lambda: setup.with_settings(**{name: value}),
    )


def word(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:,}" if isinstance(value, int) else str(value)


def rents(setup: Setup) -> Iterator[Change]:
    """One more replica, one less, a KV cache half as large."""
    replicas = setup.deployment.replicas
    for more in (1, -1):
        if replicas + more > 0:
            speeds = (*setup.speeds, 1.0)[: replicas + more] if setup.speeds else ()
            yield Change(
                name=f"replicas={replicas + more}",
                text=f"one replica {'more' if more > 0 else 'less'} ({replicas + more})",
                kind=RENT,
                make=lambda more=more, speeds=speeds: setup.changed(  # type: ignore[misc]
                    deployment=setup.deployment.with_replicas(replicas + more), speeds=speeds
                ),
            )
    yield Change(name="kv_half", text="KV cache half as large", kind=RENT, make=lambda: with_kv(setup, 0.5))


def other_policies(
    setup: Run, replicas: Mapping[str, int], defaults: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Change]:
    """Every other built-in policy of the roles that matter here, with its default parameters.

    `replicas` says among how many each router chooses; `defaults` adds roles to the usual ones.
    """
    chosen = {"schedule": "fcfs", "route": "round_robin", "cache": "lru", **defaults}
    if setup.work.block_ids is None:
        del chosen["cache"]
    for role, default in chosen.items():
        if replicas.get(role, 2) < 2:
            continue
        now = _name_of(setup.policies.get(role, default))
        for name in policy_names("route" if role in replicas else role):
            if name != now:
                yield Change(
                    name=f"{role}={name}",
                    text=f"{role} {name} instead of {now}",
                    kind=POLICY,
                    make=lambda role=role, name=name: setup.changed(  # type: ignore[misc]
                        policies={"length": "mean", **setup.policies, role: name}
                    ),
                )


def _name_of(policy: object) -> str:
    """What a policy is called: an instance by the file that it comes from."""
    return policy if isinstance(policy, str) else type(policy).__module__.rpartition(".")[2]


def every_change(setup: Setup) -> list[Change]:
    """All of them, causes first."""
    policies = other_policies(setup, {"route": setup.deployment.replicas})
    return [*causes(setup), *knobs(setup), *rents(setup), *policies]
