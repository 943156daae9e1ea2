"""Plays scenarios for the live page: the newest one matters, an older one still under way is given up."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from hasten.core.request import SLO
from hasten.deployment import Deployment
from hasten.explain.programs import programs_of
from hasten.explain.setup import attributed
from hasten.page.run import Heading, detail_data, run_data
from hasten.page.scenario import NOBODY, Value, command
from hasten.plan.constraints import Constraints
from hasten.sim.run import simulate
from hasten.sim.steps import StepLog
from hasten.workload import Workload, parse_workload

LABELLED = 5_000
"""Requests up to which a scenario's page says where the milliseconds went."""


class StaleError(Exception):
    """A newer scenario has come in."""


class Player:
    """One run at a time. Workloads and deployments are kept, so that a knob that moves costs the run alone."""

    def __init__(self) -> None:
        self._newest = 0
        self._numbers = itertools.count(1)
        self._turn = threading.Lock()

    def play(self, values: Mapping[str, Value]) -> tuple[dict[str, Any], Callable[[], dict[str, Any]]]:
        """The data of the page of a run: what its curves are drawn from, and what gives the rest, its labels and steps.

        Both raise StaleError when a newer scenario arrives meanwhile; the first InputError.
        """
        number = next(self._numbers)
        self._newest = max(self._newest, number)

        def look_up(*_: int) -> None:
            if number < self._newest:
                raise StaleError

        with self._turn:
            look_up()
            return self._run(values, look_up)

    def _run(
        self, values: Mapping[str, Value], look_up: Callable[..., None]
    ) -> tuple[dict[str, Any], Callable[[], dict[str, Any]]]:
        work = _workload(str(values["workload"]), values["requests"], values["seed"])
        work = work.scaled(rate=float(values["rate_req_per_s"] or 1.0))
        served = _deployment(tuple((name, values[name]) for name in _DEPLOYED))
        limits, log = _limits(values), StepLog()
        roles: dict[str, Any] = {role: values[role] for role in ("schedule", "route", "cache")}
        if values["length"] != NOBODY:
            roles["length"] = values["length"]
        seed = int(values["seed"] or 0)
        report = simulate(served, work, slo=limits, seed=seed, log=log, progress=look_up, **roles)
        look_up()
        checks = () if limits is None else Constraints(limits).check(report.records)
        heading = Heading(
            model=served.model.name,
            deployment=f"{served.label}, {served.profile.name}",
            workload=f"{values['workload']}: {len(work):,} requests",
            checks=[(check.text, check.holds) for check in checks],
        )

        def rest() -> dict[str, Any]:
            with self._turn:
                look_up()
                found = programs = None
                if len(work) <= LABELLED:
                    found = attributed(served, work, report, log, progress=look_up)
                    programs = programs_of(found, work)
                return detail_data(report, found=found, programs=programs, log=log)

        return run_data(heading, report) | {"command": command(values)}, rest


_DEPLOYED = (
    "model",
    "device",
    "tp",
    "replicas",
    "engine",
    "kv_dtype",
    "max_num_seqs",
    "max_num_batched_tokens",
)


@lru_cache(maxsize=16)
def _workload(name: str, requests: int, seed: int) -> Workload:
    return parse_workload(name, limit=requests, seed=seed)


@lru_cache(maxsize=32)
def _deployment(given: tuple[tuple[str, Value], ...]) -> Deployment:
    settings: dict[str, Any] = dict(given)
    model, device = str(settings.pop("model")), str(settings.pop("device"))
    return Deployment.of(model, device, tp=int(settings.pop("tp")), **settings)


def _limits(values: Mapping[str, Value]) -> SLO | None:
    seconds = {
        name: float(value) / 1e3
        for name in ("ttft", "tpot", "e2e")
        if (value := values[f"{name}_ms"]) is not None
    }
    return SLO(**seconds) if seconds else None
