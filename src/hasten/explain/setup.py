"""One run that can be repeated with one thing changed: deployment, workload, policies, seed, speeds."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from hasten.core.request import SLO
from hasten.deployment import Deployment
from hasten.disaggregation import Disaggregated
from hasten.explain.attribution import Attribution, attribute, costs_of
from hasten.explain.prefixes import reusable
from hasten.latency import StepCost
from hasten.report.report import Report
from hasten.sim.run import simulate
from hasten.sim.steps import StepLog
from hasten.workload import Workload

Pool = Literal["prefill", "decode"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What `hasten.simulate` takes. `policies` are its keywords by role; `cost` replaces the step times."""

    deployment: Any
    work: Workload
    policies: Mapping[str, Any] = field(default_factory=dict)
    slo: SLO | None = None
    seed: int = 0
    speeds: Sequence[float] = ()
    cost: Any = None

    def run(self, log: StepLog | None = None) -> Report:
        """Play it; every step goes to `log`. Raises InputError as `hasten.simulate` does."""
        return simulate(
            self.deployment,
            self.work,
            slo=self.slo,
            seed=self.seed,
            speeds=self.speeds,
            cost=self.cost,
            log=log,
            **self.policies,
        )

    def changed(self, **fields: Any) -> Self:
        """The same with other fields."""
        return replace(self, **fields)

    def attributed(self) -> tuple[Report, Attribution, StepLog]:
        """Play it and label every second."""
        log = StepLog()
        report = self.run(log)
        return report, attributed(self.deployment, self.work, report, log, cost=self.cost), log


@dataclass(frozen=True, kw_only=True)
class Setup(Run):
    """A run of replicas that serve whole requests."""

    deployment: Deployment
    cost: StepCost | None = None

    def with_settings(self, **settings: Any) -> Setup:
        """The same with other settings of the deployment. Raises InputError where they can't be."""
        return self.changed(deployment=replace(self.deployment, **settings))


@dataclass(frozen=True, kw_only=True)
class PooledSetup(Run):
    """A run of prefill and decode replicas, whose step times are a pair."""

    deployment: Disaggregated
    cost: tuple[StepCost, StepCost] | None = None

    def with_pool(self, pool: Pool, deployment: Deployment) -> PooledSetup:
        """The same with another pool."""
        other: dict[str, Any] = {pool: deployment}
        return self.changed(deployment=replace(self.deployment, **other))

    def with_settings(self, pool: Pool, **settings: Any) -> PooledSetup:
        """The same with other settings of one pool. Raises InputError where they can't be."""
        return self.with_pool(pool, replace(getattr(self.deployment, pool), **settings))


def attributed(
    deployment: Deployment | Disaggregated,
    work: Workload,
    report: Report,
    log: StepLog,
    *,
    cost: Any = None,
    progress: Callable[[], None] = lambda: None,
) -> Attribution:
    """The labels of a run whose steps are in `log`. `cost` are its step times, if not those of `deployment`; `progress`
    is called now and then, and may raise."""
    first = deployment.prefill if isinstance(deployment, Disaggregated) else deployment
    collects = gc.isenabled()
    gc.disable()  # labels make no cycles, and looking for them among the steps takes a fourth of the time
    try:
        known = reusable(work, log, report.records, first.limits.block_size)
        progress()
        return attribute(report.records, log, costs_of(deployment, cost), reusable=known, progress=progress)
    finally:
        if collects:
            gc.enable()
