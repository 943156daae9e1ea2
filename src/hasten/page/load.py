"""How latency grows with load: one deployment played at rates up to and past the one it holds, with its error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hasten.deployment import Deployment
from hasten.plan.constraints import Constraints
from hasten.plan.probe import Outcome, Setting, run
from hasten.workload import Workload

LOADS = (0.2, 0.4, 0.6, 0.75, 0.85, 0.93, 1.0, 1.07, 1.2, 1.4)
"""Rates, as shares of the capacity."""

REQUESTS = 2_000
CONFIDENCES = {"low": 0.1, "": 0.5, "high": 0.9}
"""Ends of the 80 % interval from the error that all steps share, and what lies between them."""


def load_curve(
    deployment: Deployment,
    work: Workload,
    constraints: Constraints,
    *,
    capacity: float,
    policies: Mapping[str, object] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Latencies at LOADS times `capacity` (requests/s), on the first REQUESTS requests; keys carry units.

    Each is given at the percentile of the constraints and at the median, with the former where steps take as long as
    they may at a confidence of 10 and of 90 %.
    """
    head = work.head(REQUESTS)
    setting = Setting(head, constraints, (deployment.with_replicas(1),), policies or {}, seed)
    points: list[dict[str, Any]] = []
    done, runs = 0, len(LOADS) * len(CONFIDENCES)
    for load in LOADS:
        rate = load * capacity
        point: dict[str, Any] = {"rate_req_per_s": rate}
        played = head.scaled(rate=rate)
        for end, confidence in CONFIDENCES.items():
            outcome = run(replace(setting, confidence=confidence), deployment, played, rate=rate)
            point |= _figures(outcome, f"_{end}" if end else "")
            done += 1
            if progress is not None:
                progress(done, runs)
        points.append(point)
    return points


def _figures(outcome: Outcome, end: str) -> dict[str, Any]:
    figures = {f"ttft{end}_ms": outcome.ttft * 1e3, f"tpot{end}_ms": outcome.tpot * 1e3}
    if not end:
        figures |= {
            "median_ttft_ms": outcome.ttft_median * 1e3,
            "median_tpot_ms": outcome.tpot_median * 1e3,
            "attainment": outcome.attainment,
        }
    return figures
