"""Which `max_tokens` to set: what a limit on answers does to waiting, and what it cuts off.

Closed form for one server that takes one request at a time ("A Queueing Theoretic Perspective on Low-Latency LLM
Inference with Variable Token Length", WiOpt 2024, arXiv:2407.05347); a simulation for a deployment that batches, where
limits matter far less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.sim.run import simulate
from hasten.workload import Workload

Ints = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class TokenLimit:
    """One limit on output tokens (None: none) and what follows from it.

    `clipped` is the share of answers that end early, `kept` the share of all wanted tokens that is still produced,
    `wait` the mean time in seconds before service begins (a deployment: before the first token), `load` the share of
    time a single server is busy, NaN for a deployment.
    """

    limit: int | None
    clipped: float
    kept: float
    wait: float
    load: float = math.nan


def single_server(
    output_tokens: Ints,
    *,
    rate: float,
    seconds_per_token: float,
    seconds_per_request: float = 0.0,
    limits: Sequence[int | None] = (None,),
) -> list[TokenLimit]:
    """Mean waits (s) of one server, first come, first served, Poisson arrivals of `rate` per second (M/G/1).

    W = rate E[S^2] / (2 (1 - rate E[S])), S = seconds_per_token min(n, limit) + seconds_per_request
    (Pollaczek-Khinchine, with the censored second moment); infinite at a load of 1 or more. `output_tokens` are the
    unlimited answers, of a trace or drawn from a distribution. Raises InputError.
    """
    if not rate > 0 or not seconds_per_token > 0 or not seconds_per_request >= 0:
        raise InputError("rate and seconds_per_token must be above 0, seconds_per_request 0 or more")
    found = []
    for limit in limits:
        clipped = _clipped(output_tokens, limit)
        service = seconds_per_token * clipped.astype(np.float64) + seconds_per_request
        load = rate * float(service.mean())
        second = float(np.square(service).mean())
        wait = rate * second / (2 * (1 - load)) if load < 1 else math.inf
        found.append(_row(output_tokens, clipped, limit, wait, load))
    return found


def on_deployment(
    deployment: Deployment, work: Workload, *, limits: Sequence[int | None], seed: int = 0
) -> list[TokenLimit]:
    """Mean time to first token (s) of `work` on `deployment` under each limit, simulated. Raises InputError."""
    found = []
    for limit in limits:
        clipped = _clipped(work.output_tokens, limit)
        report = simulate(deployment, work.replaced(output_tokens=clipped.astype(np.int32)), seed=seed)
        found.append(_row(work.output_tokens, clipped, limit, report.ttft.mean))
    return found


def _clipped(output_tokens: Ints, limit: int | None) -> Ints:
    if limit is not None and limit < 1:
        raise InputError(f"limit = {limit} is below 1 token: give 1 or more, or None")
    return output_tokens if limit is None else np.minimum(output_tokens, limit)


def _row(wanted: Ints, clipped: Ints, limit: int | None, wait: float, load: float = math.nan) -> TokenLimit:
    total = float(wanted.sum(dtype=np.float64))
    return TokenLimit(
        limit, float((clipped < wanted).mean()), float(clipped.sum(dtype=np.float64)) / total, wait, load
    )
