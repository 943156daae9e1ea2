"""`plan`: the cheapest deployment that holds a workload within its limits; `capacity`: what a deployment holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hasten.core.request import SLO
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.hardware import Device
from hasten.latency.calibration import load_calibration
from hasten.latency.error import check_confidence
from hasten.models import ModelShape, load_model
from hasten.plan.bisection import Capacity, CapacityEstimate, with_interval
from hasten.plan.candidates import Choices, Rejected, devices_of, enumerate_shapes
from hasten.plan.constraints import Constraints
from hasten.plan.pool import Pool
from hasten.plan.probe import Outcome, Setting, belongs_together
from hasten.plan.result import Plan, Row, WhatIf
from hasten.plan.search import Search, fullest
from hasten.plan.site import Progress, Site, Tell
from hasten.plan.tasks import (
    RESAMPLES,
    Weighed,
    bound,
    capacity_on,
    imagine,
    refine,
    resampled_capacity,
    whole_capacity,
)
from hasten.plan.workers import Task, default_jobs
from hasten.policies import load_policy
from hasten.profiles import EngineProfile, load_profile
from hasten.workload import Workload

CAPACITY = "capacity"
GROWTH = (1.10, 1.25, 1.50)


def plan(
    model: str | Path | ModelShape,
    work: Workload,
    slo: SLO,
    *,
    devices: Sequence[str | Path | Device] | None = None,
    engine: str | Path | EngineProfile = "vllm",
    rate: float | str | None = None,
    max_devices: int | None = None,
    tp: Sequence[int] | None = None,
    pp: Sequence[int] | None = None,
    ep: Sequence[int] | None = None,
    policies: Mapping[str, object] | None = None,
    attainment: float | None = None,
    percentile: float = 99.0,
    kv_dtypes: Sequence[str] = ("auto",),
    settings: Mapping[str, object] | None = None,
    pessimism: float = 0.0,
    confidence: float = 0.5,
    seed: int = 0,
    jobs: int | None = None,
    ray: str | None = None,
    journal: str | Path | None = None,
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> Plan:
    """The cheapest deployment of `model` that serves `work` at `rate` requests/s within `slo`, and what else was tried.

    `rate` None is the workload's own; "capacity" asks for the highest rate that `max_devices` devices (default: one
    replica) hold instead. Percentile constraints at `percentile`, or with `attainment` a goodput share. `policies`
    are those of `simulate` by role (schedule, route, cache, admit, length), `settings` those of `Deployment`.
    `pessimism` 0.25 plans as if every step took a quarter longer. `confidence` 0.9 plans with step times that the true
    ones exceed once in ten deployments, and searches once more at 0.5 to say what that costs. The result does not
    depend on `jobs`, the number of processes (default: all cores), nor on `ray`, the address of a Ray cluster to run
    on instead. `journal` is a file that keeps results as they come: the same call goes on with it.

    Raises InputError for limits, rates, names or settings that can't be, and for a journal of another plan.
    """
    shape, profile = _model_of(model), engine if isinstance(engine, EngineProfile) else load_profile(engine)
    choices = Choices(tp, pp, ep, tuple(kv_dtypes), _settings(settings))
    _check_numbers(max_devices, pessimism, confidence)
    planned = _planned_work(work, rate)
    longest = int((planned.prompt_tokens.astype("int64") + planned.output_tokens).max())
    shapes, rejected = enumerate_shapes(
        shape, devices_of(devices), profile, choices, longest=longest, max_devices=max_devices
    )
    limits = Constraints(slo, percentile, attainment)
    setting = Setting(planned, limits, tuple(shapes), _policies(policies), seed, pessimism, confidence)
    with Site(setting, jobs=jobs, ray=ray, journal=journal, progress=progress, tell=tell) as site:
        found = _searched(site, setting, max_devices, rejected, by_capacity=rate == CAPACITY)
    return replace(
        found,
        model=shape.name,
        engine=profile.name,
        origin=" and ".join(sorted({each.latency.origin for each in shapes})) or "analytical",
        error=_error_text(shapes),
        notes=(*found.notes, *_notes(setting, choices)),
    )


def capacity(
    deployment: Deployment,
    work: Workload,
    slo: SLO,
    *,
    attainment: float | None = None,
    percentile: float = 99.0,
    policies: Mapping[str, object] | None = None,
    pessimism: float = 0.0,
    confidence: float = 0.5,
    seed: int = 0,
    jobs: int | None = None,
) -> Capacity:
    """The highest rate (requests/s) that `deployment` holds within `slo` on the requests of `work`.

    On the whole workload, with a 95 % interval from resamples of it. `confidence` 0.95 gives the capacity that the true
    one stays above with that probability, as far as the error of step times goes; 0.05 the upper edge. Raises
    InputError as `plan` does.
    """
    _check_numbers(None, pessimism, confidence)
    shapes = (deployment.with_replicas(1),)
    constraints = Constraints(slo, percentile, attainment)
    planned = _planned_work(work, None)
    setting = Setting(planned, constraints, shapes, _policies(policies), seed, pessimism, confidence)
    with Pool(setting, default_jobs() if jobs is None else jobs) as pool:
        ceiling = pool.result((bound, (0,))).rate
        guess: CapacityEstimate = pool.result((capacity_on, (0, deployment.replicas, ceiling)))
        return _interval(pool, 0, deployment.replicas, ceiling, guess.likely or guess.fails)


# -- two questions --------------------------------------------------------------------------------------


def _searched(
    site: Site, setting: Setting, max_devices: int | None, rejected: list[Rejected], *, by_capacity: bool
) -> Plan:
    likely, done = (None, 0) if by_capacity else _likely(setting, max_devices, site)
    with site.pool(setting) as pool:
        search = Search(setting, pool, max_devices, rejected)
        found = _by_capacity(search) if by_capacity else _by_cost(search)
        return replace(found, confidence=setting.confidence, likely=likely, simulations=done + pool.done)


def _likely(setting: Setting, max_devices: int | None, site: Site) -> tuple[Row | None, int]:
    """The cheapest deployment at a confidence of 0.5, where a higher one is asked for, and the simulations it took."""
    if setting.confidence <= 0.5:
        return None, 0
    even = replace(setting, confidence=0.5)
    with site.pool(even) as pool:
        search = Search(even, pool, max_devices)
        search.bound_all()
        search.weigh_all()
        best = search.cheapest()
        known = () if best is None else search.rows()
        found = next((row for row in known if (row.shape, row.deployment.replicas) == best), None)
        return found, pool.done


def _by_cost(search: Search) -> Plan:
    setting = search.setting
    search.bound_all()
    search.weigh_all()
    best = search.cheapest()
    if best is None:
        miss = search.nearest_miss()
        return _plan_of(search, rows=search.rows(), nearest_miss=miss)
    worlds = _worlds(search, *best)
    shape, ceiling = best[0], search.bounds[best[0]].rate
    finer: Task = (refine, (*best, ceiling, search.weighed[shape].capacity.likely))
    search.pool.expect(finer)
    search.verify_front()
    rows = search.rows()
    at = next(at for at, row in enumerate(rows) if (row.shape, row.deployment.replicas) == best)
    exact: CapacityEstimate = search.pool.result(finer)
    replicas = rows[at].deployment.replicas
    full = fullest(exact, replicas, rows[at].outcome)
    chosen = replace(rows[at], capacity=exact.likely * replicas, full=full)
    rows = (*rows[:at], chosen, *rows[at + 1 :])
    what_ifs = tuple(
        WhatIf(name=name, outcome=search.pool.result(task), replicas=_needed(chosen, growth))
        for name, growth, task in worlds
    )
    notes = (
        ()
        if setting.pessimism == 0.0
        else (f"all steps taken {setting.pessimism:.0%} longer than predicted",)
    )
    return _plan_of(search, rows=rows, best=chosen, sensitivity=what_ifs, notes=notes)


def _worlds(search: Search, shape: int, replicas: int) -> list[tuple[str, float, Task]]:
    """Other worlds for the best deployment: more traffic, and steps as slow as the model's stated error allows."""
    setting = search.setting
    error = setting.shapes[shape].latency.error if setting.confidence == 0.5 else math.nan
    worlds = [(f"traffic +{growth - 1:.0%}", growth, 1.0) for growth in GROWTH]
    if not math.isnan(error):
        worlds.append((f"steps {error:.0%} slower", 0.0, 1.0 + error))
    made: list[tuple[str, float, Task]] = [
        (name, growth, (imagine, (shape, replicas, growth or 1.0, slowdown)))
        for name, growth, slowdown in worlds
    ]
    for _, _, task in made:
        search.pool.expect(task)
    return made


def _needed(row: Row, growth: float) -> int:
    """Replicas for `growth` times the traffic, by what one of them is known to hold; 0 for another world."""
    replicas = row.deployment.replicas
    each = max(row.capacity, row.rate) / replicas
    return max(replicas, math.ceil(row.rate * growth / each - 1e-9)) if growth else 0


def _by_capacity(search: Search) -> Plan:
    """Highest rate of every shape within the devices allowed; best is the one with the least cost per request."""
    setting, pool = search.setting, search.pool
    search.bound_all()
    sizes = {
        shape: 1 if search.max_devices is None else search.max_devices // setting.shapes[shape].devices
        for shape in search.bounds
    }
    tasks = {shape: (capacity_on, (shape, size, search.bounds[shape].rate)) for shape, size in sizes.items()}
    for task in tasks.values():
        pool.expect(task)
    rows = []
    for shape, task in tasks.items():
        found: CapacityEstimate = pool.result(task)
        if found.holding is None:
            search.weighed[shape] = Weighed(found)
            continue
        rows.append(_capacity_row(search, shape, sizes[shape], found, found.holding))
    rows.sort(key=lambda row: (row.cost / row.capacity, row.devices, row.label))
    if not rows:
        return _plan_of(search, mode=CAPACITY, rate=math.nan, nearest_miss=search.nearest_miss())
    first = rows[0]
    exact = _interval(
        pool, first.shape, first.deployment.replicas, search.bounds[first.shape].rate, first.capacity
    )
    rows[0] = replace(first, capacity=exact.rate, interval=exact)
    return _plan_of(search, mode=CAPACITY, rate=math.nan, rows=tuple(rows), best=rows[0])


def _capacity_row(
    search: Search, shape: int, replicas: int, found: CapacityEstimate, outcome: Outcome
) -> Row:
    return Row(
        deployment=search.setting.shapes[shape].with_replicas(replicas),
        outcome=outcome,
        capacity=found.likely,
        shape=shape,
        binds=(found.failing or outcome).binding,
        full=outcome,
        setting=search.setting,
    )


def _interval(pool: Pool, shape: int, replicas: int, ceiling: float, guess: float) -> Capacity:
    """The capacity on the whole workload near a guess, and its interval."""
    whole: Task = (whole_capacity, (shape, replicas, ceiling, guess))
    parts: list[Task] = []
    if not belongs_together(pool.setting.work):
        parts = [(resampled_capacity, (shape, replicas, ceiling, guess, part)) for part in range(RESAMPLES)]
    for task in (whole, *parts):
        pool.expect(task)
    return with_interval(pool.result(whole), [pool.result(task) for task in parts])


def _plan_of(search: Search, *, rate: float | None = None, **found: Any) -> Plan:
    setting = search.setting
    return Plan(
        model="",
        workload=setting.work.origin,
        constraints=setting.constraints,
        rate=setting.work.rate if rate is None else rate,
        rejected=tuple(search.rejected),
        **found,
    )


# -- what was asked -------------------------------------------------------------------------------------


def _model_of(model: str | Path | ModelShape) -> ModelShape:
    return model if isinstance(model, ModelShape) else load_model(model)


def _settings(given: Mapping[str, object] | None) -> dict[str, object]:
    """The settings with their calibration read once, so that a broken file is an error."""
    found = dict(given or {})
    if isinstance(found.get("calibration"), str | Path):
        found["calibration"] = load_calibration(found["calibration"])  # type: ignore[arg-type]
    return found


def _planned_work(work: Workload, rate: float | str | None) -> Workload:
    """The workload at the asked rate. Raises InputError for a rate or a workload that can't be planned for."""
    if work.closed_loop is not None:
        raise InputError(
            "a closed loop sends as fast as it is answered: plan for arrivals in time, such as a trace"
        )
    if isinstance(rate, str) and rate != CAPACITY:
        raise InputError(f"rate is {rate!r}: give requests per second, or {CAPACITY!r}")
    if isinstance(rate, (int, float)) and not 0.0 < rate < math.inf:
        raise InputError(f"rate is {rate!r}: give requests per second above 0")
    if len(work) < 2 or not 0.0 < work.rate < math.inf:
        raise InputError(f"{len(work)} requests at once have no rate: give a workload with arrival times")
    return work if rate is None or isinstance(rate, str) else work.scaled(rate=rate)


def _policies(policies: Mapping[str, object] | None) -> dict[str, object]:
    """The policies by role, each looked up once; every simulation gets copies of its own."""
    given = {
        "schedule": "fcfs",
        "route": "round_robin",
        "cache": "lru",
        "admit": "always",
        **(policies or {}),
    }
    known = ("schedule", "route", "cache", "admit", "length")
    for role in given:
        if role not in known:
            raise InputError(f"policy role {role!r} is unknown: use one of {', '.join(known)}")
    return {role: load_policy(role, policy) for role, policy in given.items() if policy is not None}


def _check_numbers(max_devices: int | None, pessimism: float, confidence: float) -> None:
    if max_devices is not None and (isinstance(max_devices, bool) or not max_devices >= 1):
        raise InputError(f"max_devices is {max_devices!r}: give a whole number of at least 1")
    if not 0.0 <= pessimism <= 10.0:
        raise InputError(f"pessimism is {pessimism!r}: give a share between 0 and 10, such as 0.25")
    check_confidence(confidence)


def _error_text(shapes: Sequence[Deployment]) -> str:
    errors = sorted({each.latency.error for each in shapes})
    known = [each for each in errors if not math.isnan(each)]
    return f"{known[-1]:.0%} of a step time" if known else "unknown"


def _notes(setting: Setting, choices: Choices) -> list[str]:
    """Settings that were chosen for the user and change the answer."""
    limits = {each.limits.max_model_len for each in setting.shapes}
    full = setting.shapes[0].model.max_context if setting.shapes else 0
    cut = sorted(limit for limit in limits if limit < full)
    notes = []
    if cut and "max_model_len" not in choices.settings:
        notes.append(
            f"max_model_len {cut[0]:,} where the full context of {full:,} tokens does not fit the KV cache"
        )
    return notes
