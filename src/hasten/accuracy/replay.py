"""Replays of recorded runs: predicted against measured, and which part of the model the error comes from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hasten.accuracy.recorded import Latencies, RecordedRun, latencies
from hasten.deployment import Deployment
from hasten.latency.compiled import StepCost
from hasten.latency.scaled import scaled
from hasten.sim.run import simulate

Mask = npt.NDArray[np.bool_]

#: Figures compared: (name, what of the latencies, percentile; None: mean).
FIGURES = tuple(
    (f"{kind} {'mean' if q is None else f'p{q:g}'}", kind, q)
    for kind in ("ttft", "tpot", "e2e")
    for q in (None, 50.0, 90.0, 99.0)
)

CLOSE = 1e-3
"""Relative difference of mean TPOT at which a scaled step time counts as the measured one."""


def figure(of: Latencies, kind: str, q: float | None, rows: Mask | None = None) -> float:
    """Mean or percentile ``q`` of one kind of latency in seconds, over the given rows (a mask)."""
    values = getattr(of, kind) if rows is None else getattr(of, kind)[rows]
    return float(np.nanmean(values) if q is None else np.nanpercentile(values, q))


@dataclass(frozen=True, kw_only=True, eq=False)
class Replay:
    """A recorded run and what we predicted for it, in seconds.

    ``scored`` is the mask of the requests that figures are taken over; `origin` and `error` are those of the
    step times.
    """

    run: RecordedRun
    predicted: Latencies
    scored: Mask
    origin: str
    error: str

    def errors(self, of: Latencies | None = None) -> dict[str, float]:
        """Relative error of every figure (predicted / measured - 1), of ours or of another prediction."""
        other = self.predicted if of is None else of
        found = {
            name: figure(other, kind, q, self.scored) / figure(self.run.measured, kind, q, self.scored) - 1.0
            for name, kind, q in FIGURES
        }
        found["throughput"] = other.throughput / self.run.measured.throughput - 1.0
        return found

    def per_request(self, kind: str, of: Latencies | None = None) -> float:
        """Median over requests of the relative error without sign, of ours or of another prediction."""
        other = getattr(self.predicted if of is None else of, kind)[self.scored]
        true = getattr(self.run.measured, kind)[self.scored]
        return float(np.nanmedian(np.abs(other / true - 1.0)))


@dataclass(frozen=True, kw_only=True)
class Split:
    """Where the error of one figure comes from: parts that sum to ``total``, all relative to the measured.

    ``capacity`` is what changes when the recorded KV capacity is used, ``step_time`` what changes when
    steps are scaled by one factor so that mean TPOT is as measured, ``scheduling`` is all that is left.
    """

    total: float
    capacity: float
    step_time: float
    scheduling: float


def replay(
    run: RecordedRun, *, since: float = 0.0, cost: StepCost | None = None, **settings: object
) -> Replay:
    """Play a recorded run in virtual time; score the requests that arrived ``since`` seconds after the first.

    ``cost`` replaces the step times. The capacity is computed unless ``settings`` give ``kv_cache_tokens``;
    they replace recorded settings.
    """
    return _replay(run, run.deployment(**settings), since, cost)


def _replay(run: RecordedRun, deployment: Deployment, since: float, cost: StepCost | None) -> Replay:
    report = simulate(deployment, run.work, cost=cost)
    rows = report.records.select(np.argsort(report.records.id))  # they come in the order of their ends
    return Replay(
        run=run,
        predicted=latencies(rows.queued, rows.first_token, rows.finish, rows.output_tokens),
        scored=run.work.arrival >= since,
        origin=report.origin,
        error=report.error,
    )


def split(first: Replay, *, since: float = 0.0, **settings: object) -> tuple[dict[str, Split], float]:
    """The errors of a replay by part, and the factor on step times that meets the measured mean TPOT.

    ``settings`` must be those of the replay.
    """
    run = first.run
    if run.kv_cache_tokens is not None:
        settings["kv_cache_tokens"] = run.kv_cache_tokens
        second = _replay(run, run.deployment(**settings), since, None)
    else:
        second = first
    deployment = run.deployment(**settings)
    factor = 1.0
    third = second
    for _ in range(6):  # TPOT is nearly proportional to the factor
        error = third.errors()["tpot mean"]
        if abs(error) < CLOSE:
            break
        factor /= 1.0 + error
        third = _replay(run, deployment, since, scaled(deployment.cost, factor))
    errors = [each.errors() for each in (first, second, third)]
    parts = {
        name: Split(
            total=errors[0][name],
            capacity=errors[0][name] - errors[1][name],
            step_time=errors[1][name] - errors[2][name],
            scheduling=errors[2][name],
        )
        for name in errors[0]
    }
    return parts, factor
