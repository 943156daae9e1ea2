"""One simulation of a plan: what to run, on which requests, and the few figures that come back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.latency.compiled import StepCost
from hasten.latency.scaled import adjusted, scaled
from hasten.plan.constraints import Check, Constraints
from hasten.report import metrics
from hasten.report.metrics import percentile_with_losses
from hasten.report.records import Ints
from hasten.report.report import Report
from hasten.sim.run import simulate
from hasten.workload import Workload, stream

SAMPLE_REQUESTS = 2000
SAMPLE_WINDOWS = 10
KV_FULL = 0.98
"""Share of the KV blocks in use at the peak from which the cache counts as full."""


@dataclass(frozen=True)
class Setting:
    """What every simulation of one plan shares; sent to each worker once."""

    work: Workload  # at the asked rate
    constraints: Constraints
    shapes: tuple[Deployment, ...]  # one replica each
    policies: Mapping[str, object] = field(default_factory=dict)
    seed: int = 0
    pessimism: float = 0.0  # steps last 1 + pessimism times what the latency model says
    confidence: float = 0.5  # with which true steps are no longer than those simulated

    def factors(self, deployment: Deployment) -> tuple[float, float]:
        """Factors on decodes and on what prefills add to a step of a deployment, for the confidence and pessimism."""
        decode, prefill = (1.0, 1.0)
        if self.confidence != 0.5:
            decode, prefill = deployment.latency.step_error.quantile(self.confidence)
        return decode * (1.0 + self.pessimism), prefill * (1.0 + self.pessimism)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Figures of one run: percentiles in seconds, shares from 0 to 1, requests/s."""

    rate: float
    checks: tuple[Check, ...]
    ttft: float = math.nan  # at the percentile of the constraints
    tpot: float = math.nan
    e2e: float = math.nan
    ttft_median: float = math.nan
    tpot_median: float = math.nan
    attainment: float = math.nan
    utilisation: float = math.nan
    kv_peak: float = math.nan
    preemptions: int = 0
    misses: int = 0  # see Constraints.misses
    tightest: str = ""  # the limit that most requests miss

    @property
    def holds(self) -> bool:
        """Whether every constraint is met."""
        return all(check.holds for check in self.checks)

    @property
    def strain(self) -> float:
        """The largest strain of a constraint: above 1 when one is missed, by that factor."""
        return max((check.strain for check in self.checks if not math.isnan(check.value)), default=0.0)

    @property
    def binding(self) -> str:
        """The constraint closest to its limit or furthest beyond it, and what stands behind it if that is known."""
        worst = max(self.checks, key=lambda check: -1.0 if math.isnan(check.value) else check.strain)
        name = f"{worst.name}, {self.tightest}" if self.tightest else worst.name
        return f"{name} (KV capacity)" if self.is_kv_full else name

    @property
    def is_kv_full(self) -> bool:
        """Whether requests had to wait for KV blocks, or were about to."""
        return self.preemptions > 0 or self.kv_peak >= KV_FULL


def run(
    setting: Setting, deployment: Deployment, work: Workload, *, rate: float, slowdown: float = 1.0
) -> Outcome:
    """Simulate `work` as it is on `deployment`; `rate` is only noted. Steps last `slowdown` times as long."""
    decode, prefill = setting.factors(deployment)
    if (decode, prefill, slowdown) != (1.0, 1.0, 1.0):
        deployment = slowed(deployment, decode * slowdown, prefill * slowdown)
    report = simulate(deployment, work, slo=setting.constraints.slo, seed=setting.seed, **setting.policies)  # type: ignore[arg-type]
    return outcome_of(report, setting.constraints, rate)


def outcome_of(report: Report, constraints: Constraints, rate: float) -> Outcome:
    """The figures of a finished run."""
    records, q = report.records, constraints.percentile
    lost = len(records) - int(np.count_nonzero(records.is_ok))
    busy = report.utilisation
    ttft, tpot = metrics.ttft(records), metrics.tpot(records)
    tightest = constraints.tightest(records) if constraints.attainment is not None else ""
    return Outcome(
        rate,
        constraints.check(records),
        ttft=percentile_with_losses(ttft, lost, q),
        tpot=percentile_with_losses(tpot, lost, q),
        e2e=percentile_with_losses(metrics.e2e(records), lost, q),
        ttft_median=percentile_with_losses(ttft, lost, 50.0),
        tpot_median=percentile_with_losses(tpot, lost, 50.0),
        attainment=report.attainment,
        utilisation=sum(busy) / len(busy),
        kv_peak=report.kv_peak_share,
        preemptions=report.preemptions,
        misses=constraints.misses(records),
        tightest=tightest,
    )


# -- the requests one replica sees ----------------------------------------------------------------------


def replica_stream(work: Workload, replicas: int, *, size: int = SAMPLE_REQUESTS) -> Workload:
    """About `size` requests as one of `replicas` replicas sees them behind a router that deals them out in turn.

    Every `replicas`-th request, so that gaps are as regular as a dealt stream's, then windows spread evenly over
    the whole trace, so that busy and quiet times keep their shares; between windows lies one mean gap. Requests of
    a conversation or with shared prefixes belong together: of such a workload it is the first `size` requests.
    Raises InputError where a replica gets fewer than two.
    """
    if belongs_together(work):
        return work.head(size)
    rows = np.arange(0, len(work), replicas)
    if len(rows) < 2:
        raise InputError(
            f"{len(work):,} requests at {work.rate:,.0f} req/s are too few for the {replicas:,} replicas it may "
            "take: give more requests, or a lower rate"
        )
    if len(rows) <= size:
        return _picked(work, [rows])
    length = size // SAMPLE_WINDOWS
    starts = np.linspace(0, len(rows) - length, SAMPLE_WINDOWS).astype(np.int64)
    return _picked(work, [rows[start : start + length] for start in starts], spacing=replicas)


def resampled(work: Workload, part: int, seed: int = 0) -> Workload:
    """Resample number `part` of a workload: as many requests, in windows drawn with replacement (block bootstrap).

    Windows are about the square root of the requests long, so that bursts stay whole. Requests that belong together
    would be torn apart: raises InputError for such a workload.
    """
    if belongs_together(work):
        raise InputError("conversations and shared prefixes can't be resampled in windows")
    rng = stream(seed, f"resample {part}")
    length = max(2, math.isqrt(len(work)))
    starts = rng.integers(0, len(work) - length + 1, math.ceil(len(work) / length))
    return _picked(work, [np.arange(start, start + length) for start in starts])


def belongs_together(work: Workload) -> bool:
    """Whether requests depend on each other, by conversation or by shared prefixes, so that none can be left out."""
    return work.block_ids is not None or work.parent is not None or work.session is not None


def _picked(work: Workload, windows: Sequence[Ints], *, spacing: int = 1) -> Workload:
    """The rows in `windows` one after the other, with one mean gap (of every `spacing`-th request) in between."""
    gap = work.duration * spacing / max(1, len(work) - 1)
    times, clock = [], 0.0
    for window in windows:
        arrival = work.arrival[window]
        times.append(arrival - arrival[0] + clock)
        clock = float(times[-1][-1]) + gap
    rows = np.concatenate(windows)
    columns: dict[str, Any] = {
        name: None if (column := getattr(work, name)) is None else column[rows]
        for name in ("prompt_tokens", "output_tokens", "priority", "max_tokens")
    }
    return work.replaced(arrival=np.concatenate(times), **columns)


def stretched(work: Workload, factor: float) -> Workload:
    """The same requests with all gaps times `factor`."""
    return work if factor == 1.0 else work.replaced(arrival=work.arrival * factor)


# -- slower steps ---------------------------------------------------------------------------------------


class _Slowed(Deployment):
    """A deployment whose steps last longer than its latency model says."""

    @property
    def cost(self) -> StepCost:  # type: ignore[override]
        decode, prefill = self.__dict__["slowdown"]
        return scaled(super().cost, decode) if decode == prefill else adjusted(super().cost, decode, prefill)


def slowed(deployment: Deployment, factor: float, prefill: float | None = None) -> Deployment:
    """`deployment` with every step `factor` times as long: what if the latency model is that far off?

    With `prefill` that is the factor on what prefills add to a step, and `factor` the one on decodes.
    """
    copy = object.__new__(_Slowed)
    copy.__dict__.update(deployment.__dict__, slowdown=(factor, factor if prefill is None else prefill))
    return copy
