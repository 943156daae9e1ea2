"""Intervals of what a simulation predicts: the same requests again with steps as fast and as slow as they may be.

Step times carry an error that all steps of a deployment share (`hasten.latency.error`). Its quantiles become factors
on decodes and prefills, and the workload is played once at the lower and once at the upper one, with common random
numbers. Latencies rise with both factors, so the runs frame the interval; two runs do what sampling needs hundreds for.
Both factors are taken at their quantile at once, as if their errors were one: a little wide for figures that depend on
both, exact for figures that depend on one. Errors of single steps cancel over a run and are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.latency.compiled import StepCost
from hasten.latency.error import StepTimeError, check_confidence
from hasten.latency.scaled import adjusted
from hasten.report.metrics import Summary
from hasten.report.report import Report
from hasten.sim.run import simulate
from hasten.workload import Workload

LATENCIES = ("ttft", "tpot", "itl", "e2e")


def cost_at(deployment: Deployment, share: float) -> StepCost:
    """Step costs that the true ones stay below with probability ``share`` (0.5: the predicted ones)."""
    decode, prefill = deployment.latency.step_error.quantile(share)
    return adjusted(deployment.cost, decode, prefill)


@dataclass(frozen=True)
class Span:
    """A predicted figure and the interval around it."""

    low: float
    value: float
    high: float

    def to_dict(self, suffix: str = "", factor: float = 1.0) -> dict[str, float | None]:
        """The three numbers under keys with a unit, times ``factor``."""
        return {
            f"{name}{suffix}": number * factor if math.isfinite(number) else None
            for name, number in (("low", self.low), ("value", self.value), ("high", self.high))
        }


@dataclass(frozen=True)
class Intervals:
    """A run with the runs at both ends of the error of its step times; ``confidence`` is between 0 and 1."""

    confidence: float
    error: StepTimeError
    fast: Report
    middle: Report
    slow: Report
    is_extrapolated: bool = False  # nothing measured on this kind of device stands behind the error

    def span(self, figure: Callable[[Report], float]) -> Span:
        """A figure of the run, and the interval that the three runs span."""
        found = [figure(each) for each in (self.fast, self.middle, self.slow)]
        known = [each for each in found if not math.isnan(each)]
        return Span(min(known, default=math.nan), found[1], max(known, default=math.nan))

    def latency(self, kind: str, percentile: float | None) -> Span:
        """Mean (None) or percentile of ttft, tpot, itl or e2e in seconds."""
        if kind not in LATENCIES:
            raise InputError(f"no interval of {kind!r}: choose {', '.join(LATENCIES)}")

        def figure(report: Report) -> float:
            summary: Summary = getattr(report, kind)
            return summary.mean if percentile is None else summary.percentile(percentile)

        return self.span(figure)

    def to_dict(self) -> dict[str, Any]:
        """Every interval, times in milliseconds."""
        found: dict[str, Any] = {
            "confidence": self.confidence,
            "origin": self.error.origin,
            "is_extrapolated": self.is_extrapolated,
        }
        for kind in LATENCIES:
            for q in (None, *self.middle.percentiles):
                name = f"{'mean' if q is None else f'p{q:g}'}_{kind}"
                found[name] = self.latency(kind, q).to_dict("_ms", 1e3)
        found["output_throughput"] = self.span(lambda each: each.throughput.output_tokens).to_dict(
            "_tokens_per_s"
        )
        if self.middle.slo is not None:
            found["goodput"] = self.span(lambda each: each.goodput).to_dict("_req_per_s")
            found["attainment"] = self.span(lambda each: each.attainment).to_dict()
        return found


def simulate_intervals(
    deployment: Deployment,
    work: Workload,
    *,
    confidence: float = 0.9,
    middle: Report | None = None,
    **options: Any,
) -> Intervals:
    """`simulate` at the predicted step times and at both ends of their ``confidence`` interval.

    ``middle`` is the run at the predicted times where it is known already; ``options`` are those of `simulate`.
    Raises InputError as that does, and for a confidence outside (0, 1).
    """
    upper = 0.5 + 0.5 * check_confidence(confidence)
    if middle is None:
        middle = simulate(deployment, work, **options)
    fast, slow = (
        replace(
            simulate(deployment, work, cost=cost_at(deployment, share), **options),
            percentiles=middle.percentiles,
        )
        for share in (1.0 - upper, upper)
    )
    is_extrapolated = deployment.latency.is_extrapolated
    return Intervals(confidence, deployment.latency.step_error, fast, middle, slow, is_extrapolated)
