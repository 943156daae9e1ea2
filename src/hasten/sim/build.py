"""What a run is made of: replicas from a deployment, estimates from its costs, records from what happened."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hasten.core.batch import Chunk
from hasten.core.policy import AdmitPolicy, CachePolicy, LengthPredictor, RoutePolicy, SchedulingPolicy
from hasten.core.request import SLO, Request
from hasten.core.scheduler import Scheduler
from hasten.deployment import Deployment
from hasten.disaggregation import Disaggregated
from hasten.errors import InputError
from hasten.latency import AnalyticalModel
from hasten.latency.compiled import LockstepCost, StepCost
from hasten.latency.host import HostLink
from hasten.policies import load_policy
from hasten.report.gaps import Gaps
from hasten.report.records import Records
from hasten.report.report import Report
from hasten.report.stats import ReplicaStats, RunStats
from hasten.sim.frontend import Frontend
from hasten.sim.host import HostLockstepReplica, HostReplica, host_stats, tiered
from hasten.sim.lockstep import LockstepReplica
from hasten.sim.loop import EngineLoop
from hasten.sim.recorder import Recorder
from hasten.sim.replica import Replica
from hasten.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Policies:
    """One policy per role, loaded; whoever uses one takes a copy."""

    schedule: SchedulingPolicy
    route: RoutePolicy
    decode_route: RoutePolicy
    cache: CachePolicy
    admit: AdmitPolicy
    length: LengthPredictor | None = None

    @classmethod
    def of(
        cls, *, decode_route: str | RoutePolicy, length: str | LengthPredictor | None, **specs: Any
    ) -> Policies:
        """From names, paths or instances. Raises InputError for an unknown one."""
        loaded = {role: load_policy(role, spec) for role, spec in specs.items()}
        predictor = None if length is None else load_policy("length", length)
        return cls(decode_route=load_policy("route", decode_route), length=predictor, **loaded)

    def for_cluster(self) -> dict[str, Any]:
        """Fresh copies of those that stand before the replicas, as keywords of a Simulation."""
        return copy.deepcopy({"route": self.route, "admit": self.admit, "length": self.length})


def speeds_of(replicas: int, speeds: Sequence[float], each: int) -> list[float]:
    """The speed of every engine loop, `each` of them per replica. Raises InputError."""
    if speeds and (len(speeds) != replicas or not all(0.001 <= speed <= 1000.0 for speed in speeds)):
        raise InputError(
            f"speeds are {', '.join(f'{speed:g}' for speed in speeds)} for {replicas} replicas: "
            "give one from 0.001 to 1000 for each, such as 1,1,0.5"
        )
    return [speed for speed in speeds or [1.0] * replicas for _ in range(each)]


def replica_of(
    deployment: Deployment,
    index: int,
    policies: Policies,
    recorder: Recorder,
    truth: dict[int, int],
    *,
    estimates: CostEstimates,
    stepping: bool,
    speed: float = 1.0,
    kind: type[Replica] = Replica,
) -> EngineLoop:
    """One engine loop: of a single scheduler, or of all data-parallel ranks that step together."""
    cost = estimates.cost
    if speed != 1.0:
        from hasten.latency.scaled import scaled  # here, for plain Python can't derive from compiled costs

        cost = scaled(cost, 1.0 / speed)
    parallelism = deployment.parallelism
    options: dict[str, Any] = {"depth": deployment.profile.loop_depth, "stepping": stepping}
    if any(deployment.front_end):
        options["frontend"] = Frontend(*deployment.front_end)
    num = parallelism.dp if parallelism.is_lockstep else 1
    links = [] if deployment.host is None else [HostLink(deployment.host, estimates) for _ in range(num)]
    ranks = [scheduler_of(deployment, policies, estimates, links[at] if links else None) for at in range(num)]
    loop: EngineLoop
    if not parallelism.is_lockstep:
        loop = (HostReplica if links else kind)(index, ranks[0], cost, recorder, truth, **options)
    elif isinstance(cost, LockstepCost):
        together = HostLockstepReplica if links else LockstepReplica
        loop = together(index, ranks, cost, recorder, truth, **options)
    else:
        raise InputError(
            f"step times are a {type(cost).__name__}, but {parallelism.label} has ranks that step together: "
            "give a LockstepCost"
        )
    if isinstance(loop, HostReplica | HostLockstepReplica):
        loop.links = links
    return loop


def scheduler_of(
    deployment: Deployment, policies: Policies, estimates: CostEstimates, link: HostLink | None = None
) -> Scheduler:
    """The scheduler of one rank, with its own copies of the policies, and host memory behind `link`."""
    scheduling, caching = copy.deepcopy((policies.schedule, policies.cache))
    limits = deployment.scheduler_limits
    pool = None if link is None else tiered(link, limits, caching)
    return Scheduler(limits, scheduling, cache=caching, estimates=estimates, pool=pool)


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
    """The columns of a run, in the order in which requests ended at each replica."""
    return Records(**recorder.request_columns(), gaps=Gaps(**recorder.gap_columns()))


def stats_of(replica: EngineLoop) -> ReplicaStats:
    """The counters of one replica, in seconds, steps, tokens and blocks."""
    return ReplicaStats(
        num_blocks=sum(rank.pool.num_blocks for rank in replica.ranks),
        busy_seconds=replica.busy,
        steps=replica.steps,
        decode_tokens=replica.decode_tokens,
        kv_block_seconds=replica.kv_block_seconds,
        kv_peak_blocks=replica.kv_peak_blocks,
        host=host_stats(replica) if isinstance(replica, HostReplica | HostLockstepReplica) else None,
    )


def report_of(
    deployment: Deployment | Disaggregated,
    latency: AnalyticalModel,
    work: Workload,
    recorder: Recorder,
    stats: RunStats,
    *,
    slo: SLO | None,
    notes: tuple[str, ...] = (),
) -> Report:
    """The report of a run that has ended; `latency` says where its step times come from."""
    if stats.host is not None and stats.host.write_share(stats.simulated_seconds) > 1.0:
        notes += (
            "host memory is written faster than its link allows: less would be there than this run assumes",
        )
    return Report(
        records=records_of(recorder),
        origin=latency.origin,
        error="unknown" if math.isnan(latency.error) else f"{latency.error:.0%} of a step time",
        stats=stats,
        label=deployment.label,
        slo=slo,
        price_per_hour=deployment.price_per_hour,
        request_rate=work.rate,
        max_concurrency=None if work.closed_loop is None else work.closed_loop.concurrency,
        notes=notes,
    )
