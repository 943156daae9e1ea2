"""One run that can be repeated with one thing changed: deployment, workload, policies, seed, speeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hasten.core.request import SLO
from hasten.deployment import Deployment
from hasten.explain.attribution import Attribution, Costs, attribute
from hasten.explain.breakdown import Breakdown
from hasten.explain.prefixes import reusable
from hasten.latency import StepCost
from hasten.report.report import Report
from hasten.sim.run import simulate
from hasten.sim.steps import StepLog
from hasten.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What `hasten.simulate` takes. `policies` are its keywords by role; `cost` replaces the step times."""

    deployment: Deployment
    work: Workload
    policies: Mapping[str, Any] = field(default_factory=dict)
    slo: SLO | None = None
    seed: int = 0
    speeds: Sequence[float] = ()
    cost: StepCost | None = None

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

    def changed(self, **fields: Any) -> Setup:
        """The same with other fields."""
        return replace(self, **fields)

    def with_settings(self, **settings: Any) -> Setup:
        """The same with other settings of the deployment. Raises InputError where they can't be."""
        return self.changed(deployment=replace(self.deployment, **settings))

    def attributed(self) -> tuple[Report, Attribution, StepLog]:
        """Play it and label every second."""
        log = StepLog()
        report = self.run(log)
        deployment = self.deployment
        cost = deployment.cost if self.cost is None else self.cost
        breakdown = Breakdown(deployment.latency, deployment.cost) if self.cost is None else None
        found = attribute(
            report.records,
            log,
            Costs(cost, breakdown, tuple(self.speeds)),
            reusable=reusable(self.work, log, deployment.limits.block_size),
        )
        return report, found, log
