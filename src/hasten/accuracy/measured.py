"""Predicted against measured, request by request: the same requests simulated, and the difference explained.

The measured run's own arrivals and lengths are played on the deployment. What differs is then taken apart by
swapping in measured values one after the other: the KV capacity (if the log says it), one factor on all step times such
that mean TPOT is as measured, a front end such that the TTFT of requests into an idle server is as measured. What is
left is scheduling: queues, batches, and steps that are wrong in shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.latency.scaled import scaled
from hasten.report.records import Floats, Records
from hasten.sim.run import simulate
from hasten.workload import Workload
from hasten.workload.columns import ClosedLoop

CLOSE = 1e-3
"""Relative difference of mean TPOT at which the step times count as the measured ones."""

CACHED = 0.01
"""Share of prompt tokens from the server's prefix cache above which the simulation plays another load."""

QUANTITIES = ("ttft", "tpot", "e2e")
_MEAN, _P99 = "mean", "p99"


@dataclass(frozen=True)
class Figure:
    """One figure in seconds, measured and predicted, and the parts of predicted - measured, which sum to it.

    ``parts`` maps capacity, step time, front end and scheduling to seconds; a part that can't be told is missing.
    """

    name: str
    measured: float
    predicted: float
    parts: dict[str, float]

    @property
    def error(self) -> float:
        """Predicted / measured - 1."""
        return self.predicted / self.measured - 1.0


@dataclass(frozen=True, eq=False)
class Joined:
    """A measured run and its simulation, joined by request.

    ``per_request`` holds the median of each request's relative error without sign; ``step_factor`` is what steps have
    to be multiplied by for the measured mean TPOT, ``front_end`` the seconds missing before the engine, ``throughput``
    output tokens per second from first arrival to last token, (measured, predicted).
    """

    figures: tuple[Figure, ...]
    per_request: dict[str, float]
    requests: int
    throughput: tuple[float, float]
    step_factor: float = 1.0
    front_end: float = 0.0
    origin: str = "analytical"
    error: str = "unknown"
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Everything under keys with units."""
        return {
            "requests": self.requests,
            "origin": self.origin,
            "stated_error": self.error,
            "step_time_factor": self.step_factor,
            "front_end_ms": self.front_end * 1e3,
            "output_throughput": dict(zip(("measured", "predicted"), self.throughput, strict=True)),
            "per_request_median_error": self.per_request,
            "figures": {
                each.name: {
                    "measured_ms": each.measured * 1e3,
                    "predicted_ms": each.predicted * 1e3,
                    "error": each.error,
                    "parts_ms": {name: value * 1e3 for name, value in each.parts.items()},
                }
                for each in self.figures
            },
            "notes": list(self.notes),
        }


def join(
    deployment: Deployment, measured: Records, *, users: int | None = None, kv_cache_tokens: int | None = None
) -> Joined:
    """Play the requests of ``measured`` on ``deployment`` and explain the difference.

    ``users`` replays a closed loop of so many users instead of the arrivals; ``kv_cache_tokens`` is the capacity that
    the engine logged. Raises InputError when nothing was served.
    """
    kept = measured.select(np.flatnonzero(measured.is_ok & (measured.output_tokens > 0)))
    if not len(kept):
        raise InputError("no request of the measured run was served: nothing to compare")
    kept = kept.select(np.argsort(kept.arrival, kind="stable"))
    work = _workload(kept, users)
    truth = latencies(kept) | {"finish": kept.finish - kept.arrival[0]}
    stages = [("predicted", _played(deployment, work))]
    known = deployment
    if kv_cache_tokens is not None and deployment.kv_cache_tokens is None:
        known = replace(deployment, kv_cache_tokens=kv_cache_tokens)
        stages.append(("capacity", _played(known, work)))
    factor = _step_factor(known, work, truth, stages[-1][1])
    stages.append(("step time", _played(known, work, factor)))
    front = _front_end(kept, truth, stages[-1][1])
    figures = tuple(_figure(kind, how, truth, stages, front) for kind in QUANTITIES for how in (_MEAN, _P99))
    first = stages[0][1]
    with np.errstate(invalid="ignore", divide="ignore"):
        each = {kind: float(np.nanmedian(np.abs(first[kind] / truth[kind] - 1.0))) for kind in QUANTITIES}
    error = deployment.latency.error
    return Joined(
        figures,
        each,
        len(kept),
        (_throughput(kept, truth), _throughput(kept, first)),
        factor,
        front,
        deployment.latency.origin,
        "unknown" if math.isnan(error) else f"{error:.0%} of a step time",
        tuple(_notes(measured, kept, users, kv_cache_tokens)),
    )


def latencies(records: Records) -> dict[str, Floats]:
    """TTFT, TPOT and E2E of every request in seconds; TPOT of a single token is NaN."""
    later = records.output_tokens - 1
    decode = records.finish - records.first_token
    return {
        "ttft": records.first_token - records.arrival,
        "tpot": np.where(later > 0, decode / np.maximum(later, 1), np.nan),
        "e2e": records.finish - records.arrival,
    }


def _throughput(kept: Records, found: dict[str, Floats]) -> float:
    """Output tokens per second from the first arrival to the last token."""
    return float(kept.output_tokens.sum() / found["finish"].max())


def _workload(kept: Records, users: int | None) -> Workload:
    return Workload(
        arrival=kept.arrival - kept.arrival[0],
        prompt_tokens=kept.prompt_tokens.astype(np.int32),
        output_tokens=kept.output_tokens.astype(np.int32),
        max_tokens=kept.output_tokens.astype(np.int32),
        closed_loop=None if users is None else ClosedLoop(users),
        origin="the measured run",
    )


def _played(deployment: Deployment, work: Workload, factor: float = 1.0) -> dict[str, Floats]:
    """Latencies and ends of a simulation in the order of the workload, all steps multiplied by ``factor``."""
    cost = deployment.cost if factor == 1.0 else scaled(deployment.cost, factor)
    records = simulate(deployment, work, cost=cost).records
    rows = records.select(np.argsort(records.id))
    if not rows.is_ok.all():
        raise InputError(
            "the simulation turned requests away that the server took: check the deployment's limits"
        )
    return latencies(rows) | {"finish": rows.finish}


def _step_factor(
    deployment: Deployment, work: Workload, truth: dict[str, Floats], first: dict[str, Floats]
) -> float:
    """Factor on all step times at which mean TPOT is as measured."""
    wanted = float(np.nanmean(truth["tpot"]))
    if math.isnan(wanted):
        return 1.0
    factor, found = 1.0, first
    for _ in range(8):  # TPOT is nearly proportional to it
        ratio = float(np.nanmean(found["tpot"])) / wanted
        if abs(ratio - 1.0) < CLOSE:
            break
        factor /= ratio
        found = _played(deployment, work, factor)
    return factor


def _front_end(kept: Records, truth: dict[str, Floats], played: dict[str, Floats]) -> float:
    """Seconds missing in the TTFT of requests that met an idle server, once steps are right; 0: there were none."""
    latest = np.maximum.accumulate(kept.finish)
    idle = np.concatenate([[True], kept.arrival[1:] > latest[:-1]])
    if int(idle.sum()) < 3:
        return 0.0
    return max(0.0, float(np.median((truth["ttft"] - played["ttft"])[idle])))


def _figure(
    kind: str, how: str, truth: dict[str, Floats], stages: list[tuple[str, dict[str, Floats]]], front: float
) -> Figure:
    def value(of: dict[str, Floats]) -> float:
        return float(np.nanmean(of[kind]) if how == _MEAN else np.nanpercentile(of[kind], 99.0))

    measured, values = value(truth), [value(found) for _, found in stages]
    parts = {name: values[i] - values[i + 1] for i, (name, _) in enumerate(stages[1:])}
    missing = -front if kind != "tpot" else 0.0
    if front:
        parts["front end"] = missing
    parts["scheduling"] = values[-1] - measured - missing
    return Figure(f"{kind} {how}", measured, values[0], parts)


def _notes(measured: Records, kept: Records, users: int | None, kv_cache_tokens: int | None) -> list[str]:
    found = []
    lost = len(measured) - len(kept)
    if lost:
        found.append(f"{lost:,} requests that were not served are left out of both")
    cached = float(kept.cached_tokens.sum() / kept.prompt_tokens.sum())
    if cached > CACHED:
        found.append(
            f"{cached:.0%} of the prompt tokens came from the server's prefix cache, and the simulation, which knows "
            "lengths alone, computes them: replay with other prompts (`hasten bench --seed`)"
        )
    if kv_cache_tokens is None:
        found.append(
            "KV capacity can't be told apart: give --kv-cache-tokens as the engine logged it; without, its part is in "
            "scheduling"
        )
    if users is not None:
        found.append(f"closed loop of {users} users: requests are joined by their order, not by their time")
    return found
