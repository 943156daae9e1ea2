"""A run of a disaggregated deployment: two pools wired together, one report."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from hasten.core.request import SLO
from hasten.disaggregation import Disaggregated
from hasten.latency.compiled import StepCost
from hasten.report.report import Report
from hasten.report.stats import RunStats
from hasten.sim.build import CostEstimates, Policies, replica_of, report_of, speeds_of, stats_of
from hasten.sim.loop import EngineLoop
from hasten.sim.pools import PooledSimulation, PullingReplica
from hasten.sim.recorder import Recorder
from hasten.sim.replica import Replica
from hasten.sim.simulation import Progress
from hasten.sim.source import source_of
from hasten.sim.steps import StepLog
from hasten.sim.transfer import Transfers
from hasten.workload import Workload


def simulate_disaggregated(
    deployment: Disaggregated,
    work: Workload,
    policies: Policies,
    *,
    slo: SLO | None = None,
    seed: int = 0,
    stepping: bool = False,
    costs: tuple[StepCost, StepCost] | None = None,
    speeds: Sequence[float] = (),
    log: StepLog | None = None,
    progress: Progress | None = None,
) -> Report:
    """Play `work` on two pools; arguments as `hasten.simulate`, which calls this. `costs` are those of the pools,
    `speeds` those of the prefill replicas, then of the decode replicas."""
    began = perf_counter()
    recorder = Recorder()
    truth: dict[int, int] = {}
    pools = deployment.prefill, deployment.decode
    known = [CostEstimates(cost) for cost in costs or [pool.cost for pool in pools]]
    speed_of = iter(speeds_of(sum(pool.replicas for pool in pools), speeds, 1))
    made: dict[str, Any] = {"policies": policies, "recorder": recorder, "truth": truth, "stepping": stepping}
    loops: list[EngineLoop] = []
    paces: list[float] = []
    for pool, estimates, kind in zip(pools, known, (Replica, PullingReplica), strict=True):
        for speed in [each for _ in range(pool.replicas) for each in [next(speed_of)] * pool.parallelism.dp]:
            loops.append(replica_of(pool, len(loops), estimates=estimates, speed=speed, kind=kind, **made))
            paces.append(speed)
    prompts = [loop for loop in loops if not isinstance(loop, PullingReplica)]
    answers = [loop for loop in loops if isinstance(loop, PullingReplica)]
    simulation = PooledSimulation(
        source_of(work, slo),
        (prompts, answers),
        recorder,
        truth,
        Transfers(len(prompts), len(answers), deployment.transfer_seconds),
        decode_route=copy.deepcopy(policies.decode_route),
        estimates=known[0],
        seed=seed,
        **policies.for_cluster(),
    )
    if log is not None:
        simulation.keep(log, paces)
    simulation.run(progress)
    stats = RunStats([stats_of(loop) for loop in loops], simulation.now, perf_counter() - began)
    first = "replica 0 computes" if len(prompts) == 1 else f"replicas 0 to {len(prompts) - 1} compute"
    note = f"{first} prompts, the others answers; a request counts for the latter"
    return report_of(deployment, pools[0].latency, work, recorder, stats, slo=slo, notes=(note,))
