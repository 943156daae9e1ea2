"""Programs that have had least service go first, and stay where their context is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

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
    gain,
)
from hasten.claims.harness.estimate import Estimate
from hasten.claims.harness.play import origin_of, ratio_over_seeds
from hasten.deployment import Deployment
from hasten.report.report import Report
from hasten.sim.run import simulate
from hasten.workload import Poisson, Workload, stream
from hasten.workload.agents import Kind, Spread, kinds, programs_of
from hasten.workload.programs import workload_of

MODEL, DEVICE, SLOTS = "llama-3.1-8b", "a100-sxm-80g", 32
CAP = 0.03  # s per token of a program that its owner accepts on average: twice what an idle replica takes
WINDOW = 240.0  # s of arrivals: many times what a program takes
RATES = {"chat": (0.7, 0.9, 1.1, 1.4), "mix": (0.5, 0.7, 0.95)}  # programs/s


def deployment(replicas: int = 1) -> Deployment:
    """A replica with so few slots that a queue forms before KV runs out."""
    return Deployment.of(MODEL, DEVICE, replicas=replicas, max_num_seqs=SLOTS)


def chats(calls: Spread | None = None) -> Kind:
    """Conversations whose next turn comes at once; with `calls`, of so many turns."""
    kind = kinds()["chat"]
    return replace(kind, user=None, calls=calls or kind.calls)


def always(count: float) -> Spread:
    """A spread without one."""
    return Spread(levels=(0.0, 100.0), values=(count, count))


def equal() -> Kind:
    """Conversations of seven turns of 256 and 277 tokens."""
    kind = chats(always(7))
    texts = replace(kind.texts, first=always(256), more=always(256), output=always(277))
    return replace(kind, texts=texts)


def work(seed: int, rate: float, mix: Sequence[Kind], window: float = WINDOW) -> Workload:
    """Programs of every kind in turn that arrive over `window` s at `rate` programs per second."""
    at = Poisson(rate).times(stream(seed, "arrivals"), max(len(mix), round(rate * window))).tolist()
    programs = [
        program
        for number, kind in enumerate(mix)
        for program in programs_of(kind, at[number :: len(mix)], seed=seed + 101 * number)
    ]
    return workload_of(programs)


MIXES = {"chat": (chats(),), "mix": (chats(), kinds()["bfcl"], kinds()["lats"])}


def latency(seed: int, rate: float, mix: Sequence[Kind], schedule: str) -> float:
    """Mean program token latency (s) on one replica."""
    return mean_of(simulate(deployment(), work(seed, rate, mix), schedule=schedule, seed=seed))


def mean_of(report: Report) -> float:
    """Mean over programs of seconds in calls per token."""
    return float(np.mean(report.programs.token_latency))


def carried(line: Sequence[float], rates: Sequence[float]) -> float:
    """The rate at which mean latencies `line` (s) at `rates` reach the cap, between two rates on logarithms."""
    for low, high, before, after in zip(rates, rates[1:], line, line[1:], strict=False):
        if before <= CAP < after:
            share = math.log(CAP / before) / math.log(after / before)
            return float(low * (high / low) ** share)
    return rates[0] if line[0] > CAP else rates[-1]


def routed(seed: int, route: str) -> float:
    """Mean program token latency (s) of conversations on four replicas, at a load that one of them just carries."""
    drawn = work(seed, 4 * RATES["chat"][0], MIXES["chat"], WINDOW / 3)
    return mean_of(simulate(deployment(4), drawn, schedule="autellix", route=route, seed=seed))


def measure(seeds: Sequence[int], progress: Progress) -> Findings:
    """Latency against load of two mixes, then where nothing is to be gained."""
    lines: dict[tuple[str, str], list[list[float]]] = {}
    for mix, rates in RATES.items():
        for schedule in ("fcfs", "autellix"):
            lines[mix, schedule] = [
                [latency(seed, rate, MIXES[mix], schedule) for rate in rates] for seed in seeds
            ]
            progress(len(lines), 6)
    plain = simulate(deployment(), work(seeds[0], 0.1, MIXES["chat"]), schedule="fcfs")

    def less(rate: float, kind: Kind) -> Estimate:
        return ratio_over_seeds(
            seeds,
            lambda seed: latency(seed, rate, [kind], "fcfs"),
            lambda seed: latency(seed, rate, [kind], "autellix"),
        )

    low = 0.45 * min(carried(line, RATES["chat"]) for line in lines["chat", "fcfs"])
    falsifiers = [
        Falsifier(
            setting="conversations of equal size, overload: mean latency, times less",
            ours=less(1.1, equal()),
            high=1.05,
        ),
        Falsifier(
            setting="conversations, less than half of what first come, first served carries: mean latency, times less",
            ours=less(low, chats()),
            low=0.95,
            high=1.2,
        ),
    ]
    progress(5, 6)
    regions = [
        Region(
            where="20 turns in every conversation, overload: mean latency, times less",
            ours=less(0.4, chats(always(20))),
        ),
        Region(
            where="conversations of equal size, overload: mean latency, times less", ours=falsifiers[0].ours
        ),
        Region(
            where="the longest tenth of conversations, 1.1 a second: mean latency, times less",
            ours=_longest(seeds),
        ),
    ]
    return Findings(
        figures=_figures(lines, seeds),
        falsifiers=falsifiers,
        regions=regions,
        curves=[_curve(mix, lines) for mix in RATES],
        origin=origin_of(deployment(), plain),
        notes=(
            "published are the largest factors over an engine with chunked prefill and prefix caching: 2 for "
            "conversations, 4 for the mix; up to 15 over one without them is mostly the prefix cache's",
            "the baseline has the same prefix cache, budget and slots; calls that run are never interrupted",
        ),
    )


def _longest(seeds: Sequence[int]) -> Estimate:
    """Mean latency of the tenth of programs with the most calls, FCFS over ours."""

    def of(seed: int, schedule: str) -> float:
        programs = simulate(
            deployment(), work(seed, 1.1, MIXES["chat"]), schedule=schedule, seed=seed
        ).programs
        return float(programs.token_latency[programs.calls >= np.percentile(programs.calls, 90)].mean())

    return ratio_over_seeds(seeds, lambda seed: of(seed, "fcfs"), lambda seed: of(seed, "autellix"))


def _figures(lines: dict[tuple[str, str], list[list[float]]], seeds: Sequence[int]) -> list[Figure]:
    published = {"chat": 2.0, "mix": 4.0}
    names = {"chat": "conversations", "mix": "conversations, function calls and tree search"}
    figures = []
    for mix, rates in RATES.items():
        pairs = list(zip(lines[mix, "autellix"], lines[mix, "fcfs"], strict=True))
        more = Estimate.over(carried(ours, rates) / carried(plain, rates) for ours, plain in pairs)
        figures.append(
            gain(
                f"{names[mix]}: programs/s at a mean of 30 ms per token, times more",
                more,
                paper=published[mix],
            )
        )
        less = Estimate.over(plain[-2] / ours[-2] for ours, plain in pairs)
        figures.append(gain(f"{names[mix]}, {rates[-2]:g} a second: mean latency, times less", less))
    spread = ratio_over_seeds(
        seeds, lambda seed: routed(seed, "least_outstanding"), lambda seed: routed(seed, "autellix")
    )
    figures.append(
        gain(
            "four replicas, conversations: mean latency, times less than with the least loaded replica",
            spread,
            paper=1.5,
        )
    )
    return figures


def _curve(mix: str, lines: dict[tuple[str, str], list[list[float]]]) -> Curve:
    return Curve(
        title=f"Mean program token latency, {mix}",
        x="programs/s",
        y="ms per token",
        lines={
            schedule: [
                (rate, 1e3 * float(np.mean(column)))
                for rate, column in zip(RATES[mix], zip(*lines[mix, schedule], strict=True), strict=True)
            ]
            for schedule in ("fcfs", "autellix")
        },
    )


CLAIM = Claim(
    paper=Paper(
        cite="Autellix: An Efficient Serving Engine for LLM Agents as General Programs, 2025, arXiv:2502.13965 "
        "(NSDI 2026 as Agentix)",
        year=2025,
        evidence="text",
        headline="4 to 15 times the throughput of vLLM at equal program latency; 2 to 4 times that of vLLM with "
        "chunked prefill and prefix caching",
    ),
    methods=("schedule/autellix", "route/autellix"),
    setting="llama-3.1-8b on a100-sxm-80g, 32 slots; conversations whose next turn comes at once (mean 6.7 turns), "
    "alone and mixed with function calling and tree search in equal numbers of programs",
    baseline="first come, first served with chunked prefill and prefix caching",
    measure=measure,
    num_seeds=3,
)
