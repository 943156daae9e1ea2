"""From a deployment and a workload to a report: wires core, costs and policies together and plays the run."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from time import perf_counter

from hasten.core.batch import Chunk
from hasten.core.policy import (
    AdmitPolicy,
    CachePolicy,
    LengthPredictor,
    RoutePolicy,
    SchedulingPolicy,
)
from hasten.core.request import SLO, Request
from hasten.core.scheduler import Scheduler
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.latency.compiled import LockstepCost, StepCost
from hasten.policies import load_policy
from hasten.report.gaps import Gaps
from hasten.report.records import Records
from hasten.report.report import Report
from hasten.report.stats import ReplicaStats, RunStats
from hasten.sim.frontend import Frontend
from hasten.sim.lockstep import LockstepReplica
from hasten.sim.loop import EngineLoop
from hasten.sim.recorder import Recorder
from hasten.sim.replica import Replica
from hasten.sim.simulation import Progress, Simulation
from hasten.sim.source import source_of
from hasten.sim.steps import StepLog
from hasten.workload import Workload


def simulate(
    deployment: Deployment,
    work: Workload,
    *,
    schedule: str | SchedulingPolicy = "fcfs",
    route: str | RoutePolicy = "round_robin",
    cache: str | CachePolicy = "lru",
    admit: str | AdmitPolicy = "always",
    length: str | LengthPredictor | None = None,
    slo: SLO | None = None,
    seed: int = 0,
    stepping: bool = False,
    cost: StepCost | None = None,
    speeds: Sequence[float] = (),
    log: StepLog | None = None,
    progress: Progress | None = None,
) -> Report:
    """Play `work` on `deployment` in virtual time and report latencies (s), rates, use and cost.

    Policies are names ("sjf"), names with parameters ("static:batch_size=8"), paths ("./mine.py") or instances;
    every replica gets a copy. `stepping` takes every step one by one instead of jumping over those that decide
    nothing: equal to rounding, slower. `cost` replaces the step times. `speeds` are those of the replicas, 1 being
    nominal: a straggler at 0.5 takes twice as long for every step, and nobody tells the policies. `log` is filled
    with every step. `progress(ended, total)` is called at times.

    Raises InputError for an unknown policy or setting, speeds that don't fit, or a model that does not fit.
    """
    began = perf_counter()
    recorder = Recorder()
    truth: dict[int, int] = {}
    estimates = CostEstimates(deployment.cost if cost is None else cost)
    policies = (load_policy("schedule", schedule), load_policy("cache", cache))
    each = 1 if deployment.parallelism.is_lockstep else deployment.parallelism.dp
    replicas = [
        _replica(
            deployment, index, policies, recorder, truth, estimates=estimates, stepping=stepping, speed=speed
        )
        for index, speed in enumerate(_speeds(deployment.replicas, speeds, each))
    ]
    simulation = Simulation(
        source_of(work, slo),
        replicas,
        recorder,
        truth,
        route=copy.deepcopy(load_policy("route", route)),
        admit=copy.deepcopy(load_policy("admit", admit)),
        length=None if length is None else copy.deepcopy(load_policy("length", length)),
        estimates=estimates,
        seed=seed,
    )
    if log is not None:
        for replica in replicas:
            replica.keep(log)
    simulation.run(progress)
    stats = RunStats(
        [_stats(replica) for replica in replicas],
        simulated_seconds=simulation.now,
        wall_seconds=perf_counter() - began,
    )
    return _report(deployment, work, records_of(recorder), stats, slo)


def _report(
    deployment: Deployment, work: Workload, records: Records, stats: RunStats, slo: SLO | None
) -> Report:
    return Report(
        records=records,
        origin=deployment.latency.origin,
        error=_error(deployment),
        stats=stats,
        label=deployment.label,
        slo=slo,
        price_per_hour=deployment.price_per_hour,
        request_rate=work.rate,
        max_concurrency=None if work.closed_loop is None else work.closed_loop.concurrency,
    )


def _speeds(replicas: int, speeds: Sequence[float], each: int) -> list[float]:
    """The speed of every engine loop, `each` of them per replica. Raises InputError."""
    if speeds and (len(speeds) != replicas or not all(0.001 <= speed <= 1000.0 for speed in speeds)):
        raise InputError(
            f"speeds are {', '.join(f'{speed:g}' for speed in speeds)} for {replicas} replicas: "
            "give one from 0.001 to 1000 for each, such as 1,1,0.5"
        )
    return [speed for speed in speeds or [1.0] * replicas for _ in range(each)]


def _replica(
    deployment: Deployment,
    index: int,
    policies: tuple[SchedulingPolicy, CachePolicy],
    recorder: Recorder,
    truth: dict[int, int],
    *,
    estimates: CostEstimates,
    stepping: bool,
    speed: float,
) -> EngineLoop:
    """One engine loop: of a single scheduler, or of all data-parallel ranks that step together."""
    depth, frontend, cost = deployment.profile.loop_depth, _frontend(deployment), estimates.cost
    if speed != 1.0:
        from hasten.latency.scaled import scaled  # here, for plain Python can't derive from compiled costs

        cost = scaled(cost, 1.0 / speed)
    parallelism = deployment.parallelism
    ranks = [
        _scheduler(deployment, policies, estimates)
        for _ in range(parallelism.dp if parallelism.is_lockstep else 1)
    ]
    if not parallelism.is_lockstep:
        return Replica(
            index, ranks[0], cost, recorder, truth, depth=depth, stepping=stepping, frontend=frontend
        )
    if not isinstance(cost, LockstepCost):
        raise InputError(
            f"step times are a {type(cost).__name__}, but {parallelism.label} has ranks that step together: "
            "give a LockstepCost"
        )
    return LockstepReplica(
        index, ranks, cost, recorder, truth, depth=depth, stepping=stepping, frontend=frontend
    )


def _scheduler(
    deployment: Deployment, policies: tuple[SchedulingPolicy, CachePolicy], estimates: CostEstimates
) -> Scheduler:
    scheduling, caching = copy.deepcopy(policies)
    return Scheduler(deployment.scheduler_limits, scheduling, cache=caching, estimates=estimates)


class CostEstimates:
    """What policies may ask of the latency model, in seconds."""

    def __init__(self, cost: StepCost) -> None:
        self.cost = cost
        self._anyone = Request(-1, 0.0, 1, 1)

    def prefill_seconds(self, tokens: int, context: int) -> float:
        """A step that computes one chunk of `tokens` after `context` cached ones, and nothing else."""
        return self.cost.mixed([Chunk(self._anyone, tokens, context, True)], 0, 0)

    def decode_seconds(self, num_sequences: int, context: int) -> float:
        """A step that decodes `num_sequences` with `context` tokens in KV together."""
        fixed, slope, _ = self.cost.decode_line(num_sequences, context)
        return fixed + slope * context


def records_of(recorder: Recorder) -> Records:
    """The columns of a run, in the order in which requests ended."""
    gaps = Gaps(
        recorder.gap_first,
        recorder.gap_increment,
        recorder.gap_steps,
        recorder.gap_weight,
        start=recorder.gap_start,
    )
    return Records(
        id=recorder.id,
        arrival=recorder.arrival,
        queued=recorder.drained,
        scheduled=recorder.scheduled,
        first_token=recorder.first_token,
        finish=recorder.finish,
        prompt_tokens=recorder.prompt_tokens,
        output_tokens=recorder.output_tokens,
        cached_tokens=recorder.cached_tokens,
        preemptions=recorder.preemptions,
        replica=recorder.replica,
        session=recorder.session,
        status=recorder.status,
        gaps=gaps,
    )


def _stats(replica: EngineLoop) -> ReplicaStats:
    return ReplicaStats(
        num_blocks=sum(rank.pool.num_blocks for rank in replica.ranks),
        busy_seconds=replica.busy,
        steps=replica.steps,
        decode_tokens=replica.decode_tokens,
        kv_block_seconds=replica.kv_block_seconds,
        kv_peak_blocks=replica.kv_peak_blocks,
    )


def _frontend(deployment: Deployment) -> Frontend | None:
    fixed, per_token = deployment.front_end
    return None if fixed == per_token == 0.0 else Frontend(fixed, per_token)


def _error(deployment: Deployment) -> str:
    error = deployment.latency.error
    return "unknown" if math.isnan(error) else f"{error:.0%} of a step time"
