"""What workers do for a plan: weigh a shape, verify a deployment on the full workload."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hasten.plan.bisection import CapacityEstimate, find_capacity
from hasten.plan.bounds import Bounds, bounds_of
from hasten.plan.probe import Outcome, Setting, replica_stream, resampled, run, stretched

RESAMPLES = 8
"""Resamples of the trace that the interval of a capacity rests on."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """One shape on a sample of the workload: capacity of a replica, replicas needed, the run with that many."""

    capacity: CapacityEstimate
    replicas: int = 0  # 0: holds at no rate
    estimate: Outcome | None = None


def bound(setting: Setting, shape: int) -> Bounds:
    """Bounds of shape number `shape`."""
    bounds = bounds_of(setting.shapes[shape], setting.work, setting.constraints)
    return Bounds(bounds.rate / min(setting.factors(setting.shapes[shape])), bounds.checks)


def weigh(setting: Setting, shape: int, ceiling: float) -> Weighed:
    """Capacity of one replica by bisection below `ceiling` (requests/s), and the replicas that follow from it."""
    one, rate = setting.shapes[shape], setting.work.rate
    share = max(1, round(rate / (0.7 * ceiling)))
    stream = replica_stream(setting.work, share)
    capacity = find_capacity(setting, one, stream, ceiling=ceiling, wanted=rate)
    if capacity.holds == 0.0:
        return Weighed(capacity)
    replicas = math.ceil(rate / capacity.holds)
    each = rate / replicas
    if capacity.holding is not None and abs(each / capacity.holds - 1) < 1e-9:
        return Weighed(capacity, replicas, capacity.holding)
    estimate = run(setting, one, stretched(stream, stream.rate / each), rate=each)
    return Weighed(capacity, replicas, estimate)


def refine(setting: Setting, shape: int, replicas: int, ceiling: float, guess: float) -> CapacityEstimate:
    """Capacity of one of `replicas` replicas, bisected to the end from a guess on."""
    stream = replica_stream(setting.work, replicas)
    return find_capacity(setting, setting.shapes[shape], stream, ceiling=ceiling, start=guess)


def verify(setting: Setting, shape: int, replicas: int) -> Outcome:
    """The whole workload on `replicas` replicas behind the router."""
    deployment = setting.shapes[shape].with_replicas(replicas)
    return run(setting, deployment, setting.work, rate=setting.work.rate)


def imagine(setting: Setting, shape: int, replicas: int, growth: float, slowdown: float) -> Outcome:
    """One replica's share of `growth` times the traffic, with steps that last `slowdown` times as long."""
    stream = replica_stream(setting.work, replicas)
    rate = setting.work.rate / replicas * growth
    work = stretched(stream, stream.rate / rate)
    return run(setting, setting.shapes[shape], work, rate=rate, slowdown=slowdown)


def capacity_on(setting: Setting, shape: int, replicas: int, ceiling: float) -> CapacityEstimate:
    """Capacity of `replicas` replicas behind the router, on a sample of the workload."""
    deployment = setting.shapes[shape].with_replicas(replicas)
    return find_capacity(setting, deployment, replica_stream(setting.work, 1), ceiling=ceiling * replicas)


def whole_capacity(
    setting: Setting, shape: int, replicas: int, ceiling: float, guess: float
) -> CapacityEstimate:
    """The same on the whole workload, starting from a guess at the result."""
    deployment = setting.shapes[shape].with_replicas(replicas)
    return find_capacity(setting, deployment, setting.work, ceiling=ceiling * replicas, start=guess)


def resampled_capacity(
    setting: Setting, shape: int, replicas: int, ceiling: float, guess: float, part: int
) -> CapacityEstimate:
    """The same on resample number `part` of the sample."""
    deployment = setting.shapes[shape].with_replicas(replicas)
    work = resampled(replica_stream(setting.work, 1), part, setting.seed)
    return find_capacity(setting, deployment, work, ceiling=ceiling * replicas, start=guess)


def told(
    setting: Setting, task: tuple[Callable[..., Any], tuple[Any, ...]], found: object, seconds: float
) -> str:
    """One line about a task that ended: what ran on which deployment, what came out, and how long it took."""
    function, (shape, *rest) = task
    one = setting.shapes[shape]
    replicas = rest[0] if rest and isinstance(rest[0], int) else 1
    kv = "" if one.kv_dtype == "auto" else f", {one.kv_dtype} KV"
    if isinstance(found, Weighed):
        found = found.capacity
    if isinstance(found, CapacityEstimate):
        verdict = f"holds {found.likely:.3g} req/s"
    elif isinstance(found, Bounds):
        verdict = f"at most {found.rate:.3g} req/s" if found.failed is None else found.failed.text
    elif isinstance(found, Outcome):
        verdict = f"{'holds' if found.holds else 'fails'} at {found.rate:.3g} req/s, bound by {found.binding}"
    else:
        verdict = "ended"
    name = function.__name__.replace("_", " ")
    return f"{name} {one.with_replicas(replicas).label}{kv}: {verdict}, {seconds:.2f} s"
