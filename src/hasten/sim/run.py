"""From a deployment and a workload to a report: wires core, costs and policies together and plays the run."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

from hasten.core.policy import AdmitPolicy, CachePolicy, LengthPredictor, RoutePolicy, SchedulingPolicy
from hasten.core.request import SLO
from hasten.deployment import Deployment
from hasten.disaggregation import Disaggregated
from hasten.errors import InputError
from hasten.latency.compiled import StepCost
from hasten.report.report import Report
from hasten.report.stats import RunStats
from hasten.sim.build import CostEstimates, Policies, replica_of, report_of, speeds_of, stats_of
from hasten.sim.disaggregated import simulate_disaggregated
from hasten.sim.recorder import Recorder
from hasten.sim.simulation import Progress, Simulation
from hasten.sim.source import source_of
from hasten.sim.steps import StepLog
from hasten.workload import Workload


def simulate(
    deployment: Deployment | Disaggregated,
    work: Workload,
    *,
    schedule: str | SchedulingPolicy = "fcfs",
    route: str | RoutePolicy = "round_robin",
    decode_route: str | RoutePolicy = "least_outstanding",
    cache: str | CachePolicy = "lru",
    admit: str | AdmitPolicy = "always",
    length: str | LengthPredictor | None = None,
    slo: SLO | None = None,
    seed: int = 0,
    stepping: bool = False,
    cost: StepCost | tuple[StepCost, StepCost] | None = None,
    speeds: Sequence[float] = (),
    log: StepLog | None = None,
    progress: Progress | None = None,
) -> Report:
    """Play `work` on `deployment` in virtual time and report latencies (s), rates, use and cost.

    Policies are names ("sjf"), names with parameters ("static:batch_size=8"), paths ("./mine.py") or instances;
    every replica gets a copy. `stepping` takes every step one by one instead of jumping over those that decide
    nothing: equal to rounding, slower. `cost` replaces the step times (of both pools, for a disaggregated
    deployment, whose decode replicas are chosen by `decode_route`). `speeds` are those of the replicas, 1 being
    nominal: a straggler at 0.5 takes twice as long for every step, and nobody tells the policies (of pools, prefill
    replicas come first). `log` is filled with every step. `progress(ended, total)` is called at times.

    Raises InputError for an unknown policy or setting, speeds that don't fit, or a model that does not fit.
    """
    policies = Policies.of(
        schedule=schedule, route=route, decode_route=decode_route, cache=cache, admit=admit, length=length
    )
    if isinstance(deployment, Disaggregated):
        both = (cost, cost) if isinstance(cost, StepCost) else cost
        how: dict[str, Any] = {"stepping": stepping, "speeds": speeds, "log": log, "progress": progress}
        return simulate_disaggregated(deployment, work, policies, slo=slo, seed=seed, costs=both, **how)
    if isinstance(cost, tuple):
        raise InputError("two step costs are for a disaggregated deployment: give one")
    began = perf_counter()
    recorder = Recorder()
    truth: dict[int, int] = {}
    known = CostEstimates(deployment.cost if cost is None else cost)
    each = 1 if deployment.parallelism.is_lockstep else deployment.parallelism.dp
    paces = speeds_of(deployment.replicas, speeds, each)
    replicas = [
        replica_of(deployment, at, policies, recorder, truth, estimates=known, stepping=stepping, speed=speed)
        for at, speed in enumerate(paces)
    ]
    source, chosen = source_of(work, slo), policies.for_cluster()
    simulation = Simulation(source, replicas, recorder, truth, estimates=known, seed=seed, **chosen)
    if log is not None:
        for replica, speed in zip(replicas, paces, strict=True):
            replica.keep(log, speed=speed)
    simulation.run(progress)
    stats = RunStats([stats_of(replica) for replica in replicas], simulation.now, perf_counter() - began)
    return report_of(deployment, deployment.latency, work, recorder, stats, slo=slo)
