"""A short run with two replicas, its labels and its steps, shared by the tests of pages."""

from __future__ import annotations

from functools import cache

import numpy as np

from hasten.core.request import SLO
from hasten.deployment import Deployment
from hasten.explain.attribution import Attribution
from hasten.explain.setup import Setup
from hasten.report.report import Report
from hasten.sim.steps import StepLog
from hasten.workload import Workload


def workload(requests: int = 300, *, rate: float = 8.0) -> Workload:
    """Random prompts and answers."""
    rng = np.random.default_rng(5)
    return Workload(
        arrival=np.cumsum(rng.exponential(1.0 / rate, requests)),
        prompt_tokens=rng.integers(50, 3000, requests),
        output_tokens=rng.integers(1, 200, requests),
    )


@cache
def played() -> tuple[Report, Attribution, StepLog]:
    """The run."""
    deployment = Deployment.of("llama-3.1-8b", "l40s", replicas=2)
    return Setup(deployment=deployment, work=workload(), slo=SLO(ttft=0.4, tpot=0.05)).attributed()
