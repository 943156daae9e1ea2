"""A cheap bit for all and a dear prediction for the long, against predictions for all."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hasten.claims.harness.claim import (
    Claim,
    Curve,
    Falsifier,
    Figure,
    Findings,
    Paper,
    Progress,
    Region,
    equal,
    gain,
)
from hasten.claims.harness.estimate import Estimate
from hasten.claims.harness.play import origin_of
from hasten.deployment import Deployment
from hasten.report.records import Floats
from hasten.report.report import Report
from hasten.sim.run import simulate
from hasten.workload import Lognormal, Poisson, stream, synthesise

LOAD = 0.9  # of a server with exponential jobs of mean 1
CHECK_LOAD, JOBS = 0.6, 60_000  # where the formulas are compared with a simulation


# ---- formulas (SOAP analysis of the policy; external predictions) ----------------------------------------------


def _jobs(num: int = 1500, edge: float = 0.0) -> tuple[Floats, Floats]:
    """Exponential sizes on a logarithmic grid with an edge at `edge`, and the chance of each cell."""
    edges = np.unique(np.concatenate((np.geomspace(1e-6, 60.0, num + 1), [max(edge, 1e-6)])))
    middle = np.sqrt(edges[:-1] * edges[1:])
    return middle, np.exp(-edges[:-1]) - np.exp(-edges[1:])


@dataclass(frozen=True, slots=True)
class Response:
    """Mean response times, in mean job sizes: of all, of the short, of the long; and the share of long jobs."""

    overall: float
    short: float
    long: float
    share_long: float


def skip_predict(load: float, threshold: float, *, is_perfect: bool) -> Response:
    """Mean responses with exponential sizes of mean 1; a threshold of 0 is SPRPT, predictions for all.

    Perfect predictors know sizes. The others predict y exponential with the size as its mean, and say short with
    probability 1 - exp(-threshold/x).
    """
    x, weight = _jobs(edge=threshold)
    is_long = (x >= threshold).astype(float) if is_perfect else np.exp(-threshold / x)
    short, long = weight * (1 - is_long), weight * is_long
    rho_short, second_short = load * float(short @ x), float(short @ x**2)
    share = float(long.sum())
    of_short = 0.0
    if threshold > 0.0:
        of_short = load * second_short / (2 * (1 - rho_short)) + float(short @ x) / float(short.sum())
    r = np.concatenate(([0.0], np.geomspace(1e-5, 500.0, 2500)))
    if is_perfect:
        below = np.searchsorted(x, r, side="right")
        first = np.concatenate(([0.0], np.cumsum(long * x)))[below]
        second = np.concatenate(([0.0], np.cumsum(long * x**2)))[below]
        over = r**2 * (share - np.concatenate(([0.0], np.cumsum(long)))[below])
    else:
        later = np.exp(-np.outer(r, 1 / x))  # P(y > r | x)
        first, second = (1 - later) @ (long * x), (1 - later) @ (long * x**2)
        over = (1 - 2 / math.e) * (later @ (long * x**2))  # int_0^1 (1-v)^2 e^-v dv = 1 - 2/e
    rho = rho_short + load * first
    wait = load * (second_short + second + over) / (2 * (1 - rho) ** 2)
    passed = np.concatenate(
        ([0.0], np.cumsum(np.diff(r) * 0.5 * (1 / (1 - rho[1:]) + 1 / (1 - rho[:-1]))))
    )  # int_0^r da / (1 - rho(a))
    if is_perfect:
        of_long = float(long @ (np.interp(x, r, wait) + np.interp(x, r, passed))) / share
    else:
        u, chance = _jobs(400)  # y = u x
        y = np.outer(x, u)
        overdue = np.maximum(x[:, None] - y, 0.0) / (1 - rho_short)
        residence = np.interp(y, r, passed) - np.interp(np.maximum(y - x[:, None], 0.0), r, passed) + overdue
        of_long = float(long @ ((np.interp(y, r, wait) + residence) @ chance)) / share
    return Response((1 - share) * of_short + share * of_long, of_short, of_long, share)


def one_bit(load: float, threshold: float, *, is_perfect: bool) -> Response:
    """Mean responses when the short go before the long and each class is first come, first served."""
    x, weight = _jobs(edge=threshold)
    is_long = (x >= threshold).astype(float) if is_perfect else np.exp(-threshold / x)
    short, long = weight * (1 - is_long), weight * is_long
    rho_short = load * float(short @ x)
    share, mean_long = float(long.sum()), float(long @ x) / float(long.sum())
    of_short = load * float(short @ x**2) / (2 * (1 - rho_short)) + float(short @ x) / float(short.sum())
    everything = load * float(weight @ x**2) / (2 * (1 - load) * (1 - rho_short))
    of_long = everything + mean_long / (1 - rho_short)
    return Response((1 - share) * of_short + share * of_long, of_short, of_long, share)


# ---- simulation (predictions may take the server's time) -------------------------------------------------------

CHEAP, SHORT, DEAR, LONG = range(4)  # classes in their order on the server


def simulated(
    seed: int, load: float, threshold: float, *, cheap: float = 0.0, dear: float = 0.0
) -> tuple[float, float]:
    """Mean response of all and of the short: one server, preemptive resume, exponential sizes and predictors.

    `cheap` and `dear` are the seconds that predictions take on the server. Runs stages of jobs by class, then rank.
    """
    gaps = stream(seed, "arrivals").exponential(1 / load, JOBS)
    sizes = stream(seed, "sizes").exponential(1.0, JOBS)
    guesses = stream(seed, "dear").exponential(1.0, JOBS) * sizes
    is_short = stream(seed, "cheap").random(JOBS) < 1 - np.exp(-threshold / sizes)
    arrivals = np.cumsum(gaps).tolist()
    queue: list[tuple[int, float, int, float]] = []  # class, rank, job, seconds left of this stage
    ends = np.zeros(JOBS)
    now, at = 0.0, 0
    while at < JOBS or queue:
        if not queue:
            now = max(now, arrivals[at])
        while at < JOBS and arrivals[at] <= now:
            heapq.heappush(queue, (CHEAP, float(at), at, cheap))
            at += 1
        kind, rank, job, left = heapq.heappop(queue)
        until = arrivals[at] if at < JOBS else math.inf
        if now + left > until:
            run = until - now
            heapq.heappush(queue, (kind, rank - run if kind == LONG else rank, job, left - run))
            now = until
            continue
        now += left
        if kind == CHEAP:
            chosen = (SHORT, float(job), job, sizes[job]) if is_short[job] else (DEAR, float(job), job, dear)
            heapq.heappush(queue, chosen)
        elif kind == DEAR:
            heapq.heappush(queue, (LONG, guesses[job], job, sizes[job]))
        else:
            ends[job] = now
    response = ends - arrivals
    of_short = response[is_short]
    return float(response.mean()), float(of_short.mean()) if of_short.size else math.nan


# ---- an engine -------------------------------------------------------------------------------------------------


def engine(seed: int, schedule: str, length: str | None) -> Report:
    """Chat lengths on an engine with few slots, so that a queue forms."""
    work = synthesise(
        Poisson(4.5),
        prompt=Lognormal(median=200, sigma=1.0, high=4096),
        output=Lognormal(median=150, sigma=1.0, high=2048),
        num_requests=1500,
        seed=seed,
    )
    deployment = Deployment.of("llama-3.1-8b", "a100-sxm-80g", max_num_seqs=16)
    return simulate(deployment, work, schedule=schedule, length=length, seed=seed)


# ---- the claim -------------------------------------------------------------------------------------------------


def _figures() -> list[Figure]:
    """The reference table, of an independent simulation of 400,000 jobs, beside the formulas."""
    table: list[tuple[str, float, Response]] = []
    for is_perfect, name, cells in (
        (True, "perfect", (5.75, 3.60, 3.66, 3.95)),
        (False, "exponential", (6.36, 5.11, 5.19, 5.43)),
    ):
        found = [one_bit(LOAD, 1.0, is_perfect=is_perfect)]
        found += [skip_predict(LOAD, each, is_perfect=is_perfect) for each in (0.0, 1.0, 2.0)]
        names = ("1bit, T = 1", "SPRPT", "SkipPredict, T = 1", "SkipPredict, T = 2")
        table += [(f"{each}; {name}", cell, one) for each, cell, one in zip(names, cells, found, strict=True)]
    table.append(("SkipPredict, T = 4; exponential", 6.21, skip_predict(LOAD, 4.0, is_perfect=False)))
    return [
        equal(
            f"mean response, {name}", Estimate.exact(found.overall), cell, unit="mean sizes", tolerance=0.03
        )
        for name, cell, found in table
    ]


def measure(seeds: Sequence[int], progress: Progress) -> Findings:
    """The table by formula; formulas against a simulation; both cost models; an engine."""
    skip, every = (skip_predict(LOAD, threshold, is_perfect=False) for threshold in (1.0, 0.0))
    figures = _figures()
    progress(1, 4)
    falsifiers = _falsifiers(seeds)
    progress(2, 4)
    server = Estimate.over(
        simulated(seed, CHECK_LOAD, 0.0, dear=0.3)[0]
        / simulated(seed, CHECK_LOAD, 1.0, cheap=0.01, dear=0.3)[0]
        for seed in seeds
    )
    progress(3, 4)
    plain, sjf, ours = (
        {seed: engine(seed, schedule, length) for seed in seeds}
        for schedule, length in (("fcfs", None), ("sjf", "oracle"), ("skip_predict", "skip_predict"))
    )
    better = Estimate.over(plain[seed].e2e.mean / ours[seed].e2e.mean for seed in seeds)
    against_sjf = Estimate.over(sjf[seed].e2e.mean / ours[seed].e2e.mean for seed in seeds)
    crossover = (skip.overall - every.overall) / (1 - skip.share_long)
    return Findings(
        figures=[
            *figures,
            gain(
                "response with predictions on the server (0.01 and 0.3 of a job), over predictions for all",
                server,
            ),
            gain("engine: mean latency, times less than fcfs", better),
        ],
        falsifiers=falsifiers,
        regions=[
            Region(
                where="dear predictions that cost nothing: over predictions for all",
                ours=Estimate.exact(every.overall / skip.overall),
            ),
            Region(where="engine: over shortest first with true lengths (sjf)", ours=against_sjf),
            Region(
                where="long jobs: response over first come, first served",
                ours=Estimate.exact(10.0 / skip.long),
            ),
        ],
        curves=[_cost(skip, every)],
        origin=f"closed forms; queue simulation; engine: {_engine_origin(plain[seeds[0]])}",
        notes=(
            "the paper names no factor: the reference is an independent simulation with a sampling error of 2 %",
            f"predictions outside the server: skipping wins as soon as a dear prediction costs more than "
            f"{crossover:.2f} mean sizes (cheap ones free), since {1 - skip.share_long:.0%} of the jobs need none",
        ),
    )


def _falsifiers(seeds: Sequence[int]) -> list[Falsifier]:
    checked = skip_predict(CHECK_LOAD, 1.0, is_perfect=False)
    runs = [simulated(seed, CHECK_LOAD, 1.0) for seed in seeds]
    perfect, bit = skip_predict(LOAD, 1.0, is_perfect=True), one_bit(LOAD, 1.0, is_perfect=True)
    return [
        Falsifier(
            setting="simulated mean response over the formula's, load 0.6",
            ours=Estimate.over(run[0] / checked.overall for run in runs),
            low=0.97,
            high=1.03,
        ),
        Falsifier(
            setting="the same for the short jobs (Pollaczek-Khinchine)",
            ours=Estimate.over(run[1] / checked.short for run in runs),
            low=0.97,
            high=1.03,
        ),
        Falsifier(
            setting="free and perfect predictions: mean response over 1bit",
            ours=Estimate.exact(perfect.overall / bit.overall),
            high=1.0,
        ),
    ]


def _engine_origin(report: Report) -> str:
    return origin_of(Deployment.of("llama-3.1-8b", "a100-sxm-80g"), report)


def _cost(skip: Response, every: Response) -> Curve:
    dear = [0.0, 0.1, 0.2, 0.5, 1.0, 2.0]
    return Curve(
        title="Response plus price of predictions (cheap: 0.01)",
        x="price of a dear prediction (mean job sizes)",
        y="mean response plus price",
        lines={
            "SkipPredict, T = 1": [(each, skip.overall + 0.01 + each * skip.share_long) for each in dear],
            "SPRPT": [(each, every.overall + each) for each in dear],
            "1bit": [(each, one_bit(LOAD, 1.0, is_perfect=False).overall + 0.01) for each in dear],
        },
    )


CLAIM = Claim(
    paper=Paper(
        cite="SkipPredict: When to Invest in Predictions for Scheduling, NeurIPS 2024, arXiv:2402.03564",
        year=2024,
        evidence="abstract",
        headline="dear predictions for long jobs alone win when cheap and dear ones differ much in cost",
    ),
    methods=("schedule/skip_predict", "length/skip_predict"),
    setting="M/M/1 at load 0.9 with perfect and exponential predictors; llama-3.1-8b on one a100-sxm-80g with 16 slots",
    baseline="one bit for all, predictions for all (SPRPT); in the engine fcfs with chunked prefill",
    measure=measure,
    num_seeds=3,
)
