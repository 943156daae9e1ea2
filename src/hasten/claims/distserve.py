"""Prefill and decode on devices of their own: goodput per device against co-located serving, equal kernels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

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
from hasten.claims.harness.play import highest_rate
from hasten.deployment import Deployment
from hasten.disaggregation import Disaggregated
from hasten.hardware import Link, load_link
from hasten.latency.compiled import LinearCost
from hasten.latency.fitted import FittedCost, PhaseFit
from hasten.plan.placement import Split, pipeline_ttft, place
from hasten.profiles import load_profile
from hasten.report.report import Report
from hasten.sim.run import simulate
from hasten.workload import Lognormal, Poisson, Workload, synthesise

# OPT-13B on A100-80G by tensor parallelism, and room for KV (tokens) by devices: the paper's public simulator.
FITS = {
    1: PhaseFit(
        prefill=(18.10e-3, 0.1019e-3, 7.12e-9),
        decode=(19.93e-3, 6.27e-7, 0.0385e-3),
        decode_large=(7.17e-3, 5.80e-7, 0.158e-3),
    ),
    2: PhaseFit(
        prefill=(14.74e-3, 0.0686e-3, 2.45e-9),
        decode=(13.29e-3, 3.41e-7, 0.0630e-3),
        decode_large=(10.64e-3, 3.12e-7, 0.0856e-3),
    ),
    4: PhaseFit(
        prefill=(12.06e-3, 0.0381e-3, 5.2e-10),
        decode=(10.26e-3, 1.88e-7, 0.0327e-3),
        decode_large=(10.48e-3, 1.71e-7, 0.0457e-3),
    ),
}
KV_TOKENS = {1: 66_144, 2: 163_008, 4: 356_736}
CONTEXT, MOST_OUTPUT, SIGMA, REQUESTS, SHARE = 2048, 512, 0.7, 1200, 90
STEP_TOKENS = 2048  # of prompts in one step, on both sides
SATURATION = 512  # as many are said to fill a step
ENGINE = replace(
    load_profile("vllm"), front_end_seconds=0.0, front_end_seconds_per_prompt_token=0.0, loop_depth=1
)
Row = tuple[int, int, float, float]  # mean prompt and output (tokens), limits on TTFT and TPOT (s)
# Co-located with equal kernels, 1 prefill + 1 decode, 1 + 2: requests/s per device of the re-run we compare with.
ROWS: dict[Row, tuple[float, float, float]] = {
    (400, 200, 0.25, 0.1): (5.76, 4.82, 4.16),
    (400, 200, 0.25, 0.05): (4.08, 3.92, 4.16),
    (400, 200, 0.25, 0.035): (2.67, 2.44, 3.57),
    (1500, 91, 2.0, 0.1): (3.30, 3.42, 2.28),
    (1500, 91, 2.0, 0.05): (2.05, 3.42, 2.28),
}
TIGHT, LONG = (400, 200, 0.25, 0.035), (1500, 91, 2.0, 0.05)
CO_LOCATED = ("prefill_first", "sarathi:tokens=512", "fcfs")
RATIOS = ((2, 1), (1, 1), (1, 2))
NOTES = (
    "the re-run that rows are compared with states neither the spread of lengths nor what an instance of one "
    "stage is charged besides its fit; sigma 0.7 and nothing were chosen with the rows in view, so these are "
    "no blind prediction: sigma from 0.5 to 1.0 moves rows by up to 15 %",
    "it does not state either how many prompt tokens share a step: 2,048 here, as on the co-located side, also "
    "chosen with the rows in view; with 512, said to saturate the model, the two rows of 1 + 2 that prompts "
    "limit fall 13 % short, and by these fits a step of 512 reaches about four fifths of the prompt tokens/s of "
    "2,000",
    "its column with the slower published fit of the baseline is not re-run: the fit is not printed in full",
    "charging host overhead (2 ms) and the pipeline's term (1 ms) too lowers the tightest row by 21 to 25 %, "
    "on every side",
    "quoted gains compare with whole prompts first and slower kernels; here both sides have equal kernels",
)


def pool(replicas: int = 1, split: Split | None = None, *, chunked: bool = False) -> Deployment:
    """Instances as wide as the published fits; the model has OPT-13B's layers, heads and width."""
    wide = split or Split()
    return Deployment.of(
        "llama-2-13b",
        "a100-sxm-80g",
        tp=wide.devices,
        replicas=replicas,
        engine=ENGINE,
        kv_cache_tokens=KV_TOKENS[wide.devices],
        max_model_len=CONTEXT,
        max_num_batched_tokens=STEP_TOKENS,
        chunked_prefill=chunked,
        prefix_caching=False,
    )


def requests(row: Row, rate: float, seed: int) -> Workload:
    """Lognormal lengths within the model's context, at `rate` requests/s."""
    return synthesise(
        Poisson(rate),
        prompt=Lognormal(mean=row[0], sigma=SIGMA, high=CONTEXT - MOST_OUTPUT),
        output=Lognormal(mean=row[1], sigma=SIGMA, high=MOST_OUTPUT),
        num_requests=REQUESTS,
        seed=seed,
    )


def within(report: Report, row: Row) -> bool:
    """Whether 90 % keep the limit on TTFT, and 90 % that on TPOT."""
    return report.ttft.percentile(SHARE) <= row[2] and report.tpot.percentile(SHARE) <= row[3]


def per_device(row: Row, devices: int, play: Callable[[float], Report]) -> float:
    """Goodput (requests/s per device) of what `play(rate)` runs."""
    return highest_rate(lambda rate: within(play(rate * devices), row), low=1.5, high=8.0, tolerance=0.04)


@cache
def co_located(row: Row, policy: str, seed: int, tp: int = 1) -> float:
    """Goodput per device of one instance that does both."""
    deployed = pool(1, Split(tp), chunked=policy != "prefill_first")
    cost = FittedCost(FITS[tp])
    return per_device(
        row,
        tp,
        lambda rate: simulate(deployed, requests(row, rate, seed), schedule=policy, cost=cost, seed=seed),
    )


@cache
def apart(
    row: Row, ratio: tuple[int, int], seed: int, bandwidth: float = math.inf, step_tokens: int = STEP_TOKENS
) -> float:
    """Goodput per device of pools of `ratio`, over NVLink or a link of `bandwidth` (B/s)."""
    link = load_link("nvlink3")
    if bandwidth < math.inf:
        link = Link(name="slow", bandwidth=bandwidth, latency=link.latency, efficiency=1.0)
    deployed = Disaggregated.of(pool(ratio[0]), pool(ratio[1]), link)
    schedule, cost = f"distserve:saturation={step_tokens}", FittedCost(FITS[1])

    def play(rate: float) -> Report:
        work = requests(row, rate, seed)
        return simulate(
            deployed, work, schedule=schedule, route="least_outstanding", cost=(cost, cost), seed=seed
        )

    return per_device(row, sum(ratio), play)


def best_apart(row: Row, seed: int, bandwidth: float = math.inf) -> float:
    """The same with the best of the ratios."""
    return max(apart(row, ratio, seed, bandwidth) for ratio in RATIOS)


def best_co_located(row: Row, seed: int) -> float:
    """The best schedule, chunked prefill among them."""
    return max(co_located(row, policy, seed) for policy in CO_LOCATED)


def prefill_goodput(row: Row, split: Split, seed: int) -> float:
    """Requests/s of one instance for prompts alone."""
    fit = FITS[split.tp]

    def holds(rate: float) -> bool:
        work = requests(row, rate, seed)
        waits = pipeline_ttft(
            work.arrival.tolist(),
            work.prompt_tokens.tolist(),
            lambda batch: fit.stage_seconds(batch, split.pp),
            stages=split.pp,
            saturation=STEP_TOKENS,
        )
        return float(np.percentile(waits, SHARE)) <= row[2]

    return highest_rate(holds, low=1.2, high=60.0)


def decode_goodput(row: Row, split: Split, seed: int) -> float:
    """Requests/s of one instance for answers alone: their prompts take no time."""
    deployed = Disaggregated.of(pool(4), pool(split=split), "nvlink3")
    costs = LinearCost(1e-9), FittedCost(FITS[split.tp], split.pp)
    return highest_rate(
        lambda rate: within(
            simulate(deployed, requests(row, rate, seed), schedule="distserve", cost=costs, seed=seed), row
        ),
        low=3.0,
        high=50.0,
        tolerance=0.04,
    )


def placed(row: Row, seed: int, rate: float = 100.0) -> float:
    """Goodput per device of the placement found for `rate` requests/s, each phase with its own split."""
    options = [Split(1), Split(2), Split(4), Split(1, 2), Split(2, 2)]
    return place(
        rate,
        {split: prefill_goodput(row, split, seed) for split in options},
        {split: decode_goodput(row, split, seed) for split in options},
    ).rate_per_device


def measure(seeds: Sequence[int], progress: Progress) -> Findings:
    """Rows of goodput, gains over the best co-located setting, and where they must vanish."""

    def over(value: Callable[[int], float]) -> Estimate:
        return Estimate.over(value(seed) for seed in seeds)

    figures: list[Figure] = []
    for number, (row, known) in enumerate(ROWS.items()):
        figures.extend(_row(row, known, seeds))
        progress(number + 1, 9)
    tight = over(lambda seed: best_apart(TIGHT, seed) / best_co_located(TIGHT, seed))
    long = over(lambda seed: best_apart(LONG, seed) / best_co_located(LONG, seed))
    progress(6, 9)
    split = over(lambda seed: _wide(TIGHT, seed))
    progress(7, 9)
    loose = (*TIGHT[:3], 10.0)
    free = Estimate.over(best_apart(loose, seed) / best_co_located(loose, seed) for seed in seeds[:2])
    row, three = next(iter(ROWS)), (1, 2)
    filled = over(lambda seed: apart(row, three, seed, step_tokens=SATURATION) / apart(row, three, seed))
    falsifiers = [
        Falsifier(
            setting="no limit on TPOT (10 s): best pools over best co-located",
            ours=free,
            high=1.05,
        ),
        Falsifier(
            setting="a link of 1 GB/s, tightest row: the same (0: nothing from 1.5 requests/s on)",
            ours=Estimate.over(
                best_apart(TIGHT, seed, 1e9) / best_co_located(TIGHT, seed) for seed in seeds[:2]
            ),
            high=1.0,
        ),
    ]
    progress(8, 9)
    return Findings(
        figures=[
            *figures,
            gain("400/200, TPOT 0.035 s: best pools over best co-located", tight, paper=4.48),
            gain("1500/91, TPOT 0.05 s: the same", long, paper=4.48),
            gain("400/200, TPOT 0.035 s: the same, each side with its own best split", split, paper=4.48),
        ],
        falsifiers=falsifiers,
        regions=[
            Region(where="no limit on TPOT: best pools over best co-located", ours=free),
            Region(
                where="400/200, TPOT 0.1 s, 1 prefill + 2 decode: prompts batched up to 512 tokens over up to 2,048",
                ours=filled,
            ),
        ],
        curves=[_curve(seeds[0])],
        origin="simulated; step times published (fits of OPT-13B on A100-80G), error not stated",
        notes=NOTES,
    )


def _row(row: Row, known: tuple[float, float, float], seeds: Sequence[int]) -> list[Figure]:
    def over(value: Callable[[int], float]) -> Estimate:
        return Estimate.over(value(seed) for seed in seeds)

    name = f"{row[0]}/{row[1]}, TTFT {row[2]:g} s, TPOT {row[3]:g} s"
    found = {
        "co-located, prompts first": over(lambda seed: co_located(row, "prefill_first", seed)),
        "1 prefill + 1 decode": over(lambda seed: apart(row, (1, 1), seed)),
        "1 prefill + 2 decode": over(lambda seed: apart(row, (1, 2), seed)),
    }
    return [
        equal(f"{name}: {label}", ours, paper, unit="req/s per device", tolerance=0.1)
        for (label, ours), paper in zip(found.items(), known, strict=True)
    ]


def _wide(row: Row, seed: int) -> float:
    best = max(co_located(row, policy, seed, tp) for tp in FITS for policy in CO_LOCATED[:2])
    return placed(row, seed) / max(best, best_co_located(row, seed))


def _curve(seed: int) -> Curve:
    rows = [row for row in ROWS if row[0] == TIGHT[0]]
    return Curve(
        title="Goodput, 400/200",
        x="limit on TPOT, ms",
        y="req/s per device",
        lines={
            "co-located, prompts first": [
                (row[3] * 1e3, co_located(row, "prefill_first", seed)) for row in rows
            ],
            "1 prefill + 1 decode": [(row[3] * 1e3, apart(row, (1, 1), seed)) for row in rows],
            "1 prefill + 2 decode": [(row[3] * 1e3, apart(row, (1, 2), seed)) for row in rows],
        },
    )


CLAIM = Claim(
    paper=Paper(
        cite="DistServe: Disaggregating Prefill and Decoding for Goodput-optimized Large Language Model Serving, "
        "OSDI 2024, arXiv:2401.09670",
        year=2024,
        evidence="code",
        headline="up to 4.48 times the requests within limits of co-located serving, for 90 % of them",
    ),
    methods=("schedule/distserve", "plan/placement"),
    setting="OPT-13B on a100-sxm-80g by published fits; 1,200 Poisson requests, lognormal lengths; 90 % within the "
    "limit on TTFT and 90 % within that on TPOT",
    baseline="co-located, the best of prompts first and chunks of 512 and of 2,048 tokens, equal kernels",
    measure=measure,
    num_seeds=3,
)
