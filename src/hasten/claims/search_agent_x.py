"""Search agents: who has most behind him goes first, and searches don't keep the engine waiting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hasten.claims.harness.claim import Claim, Curve, Falsifier, Findings, Paper, Progress, Region, gain
from hasten.claims.harness.estimate import Estimate
from hasten.claims.harness.play import origin_of, ratio_over_seeds
from hasten.deployment import Deployment
from hasten.report.report import Report
from hasten.sim.run import simulate
from hasten.workload import Poisson, Workload, stream
from hasten.workload.agents import Kind, Spread, kinds, programs_of
from hasten.workload.programs import workload_of

MODEL, SHORT, AMPLE = "qwen2.5-7b", "a10", "h100-sxm"  # devices whose KV holds few of the questions, or all
NAME = "search_agent_x"
QUESTIONS, RATE = 200, 2.0  # questions, questions/s
SEARCH, STOPPED = 1.0, 0.6  # s, median search; share of its time when it may end early
TOGETHER = 1000.0  # questions/s: all at once
RATES = (0.5, 1.0, 2.0, 4.0)


def agent(search: float = SEARCH) -> Kind:
    """Reasoning with two to eight searches of five passages; a search takes about `search` s."""
    kind = kinds()["search"]
    seconds = Spread(mu=float(np.log(search)), sigma=0.5, high=60.0) if search else None
    tools = tuple((name, share, seconds or Spread(mu=-20.0)) for name, share, _ in kind.tools)  # or 2 ns
    return replace(kind, tools=tools)


def work(seed: int, *, rate: float = RATE, search: float = SEARCH) -> Workload:
    """Questions of one seed."""
    at = Poisson(rate).times(stream(seed, "arrivals"), QUESTIONS).tolist()
    return workload_of(programs_of(agent(search), at, seed=seed))


def play(
    seed: int, schedule: str, device: str = SHORT, *, rate: float = RATE, search: float = SEARCH
) -> Report:
    """One run on one replica."""
    return simulate(
        Deployment.of(MODEL, device), work(seed, rate=rate, search=search), schedule=schedule, seed=seed
    )


def answered(report: Report) -> float:
    """Questions/s, from the first arrival to the last token."""
    return len(report.programs) / float(np.nanmax(report.records.finish) - report.records.arrival.min())


def latency(report: Report) -> float:
    """Mean seconds from question to answer."""
    return float(report.programs.completion.mean())


def measure(seeds: Sequence[int], progress: Progress) -> Findings:
    """Both parts of the method where KV is short; then where it suffices and searching takes no time."""
    plain = {seed: play(seed, "fcfs") for seed in seeds}
    ours = {seed: play(seed, NAME) for seed in seeds}
    early = {seed: play(seed, NAME, search=SEARCH * STOPPED) for seed in seeds}
    progress(1, 3)
    burst = {name: [play(seed, name, rate=TOGETHER) for seed in seeds] for name in ("fcfs", NAME)}
    pairs = list(zip(burst["fcfs"], burst[NAME], strict=True))
    progress(2, 3)
    lines = {
        name: [(rate, latency(play(seeds[0], name, rate=rate))) for rate in RATES] for name in ("fcfs", NAME)
    }
    return Findings(
        figures=[
            gain(
                "2 questions a second: throughput, times more",
                Estimate.over(answered(ours[seed]) / answered(plain[seed]) for seed in seeds),
                paper=1.3,
            ),
            gain(
                "2 questions a second: mean latency, times less",
                Estimate.over(latency(plain[seed]) / latency(ours[seed]) for seed in seeds),
                paper=1.67,
            ),
            gain(
                "all at once: throughput, times more",
                Estimate.over(answered(two) / answered(one) for one, two in pairs),
                paper=1.3,
            ),
            gain(
                "searches that end at 0.6 of their time as well: mean latency, times less than without",
                Estimate.over(latency(ours[seed]) / latency(early[seed]) for seed in seeds),
            ),
        ],
        falsifiers=_falsifiers(seeds),
        regions=[
            Region(
                where="all at once: mean latency, times less",
                ours=Estimate.over(latency(one) / latency(two) for one, two in pairs),
            ),
            Region(
                where="all at once: share of prompts found cached, times more",
                ours=Estimate.over(two.prefix_hit_share / one.prefix_hit_share for one, two in pairs),
            ),
        ],
        curves=[Curve(title="Mean latency of a question", x="questions/s", y="s", lines=lines)],
        origin=origin_of(Deployment.of(MODEL, SHORT), plain[seeds[0]]),
        notes=(
            "published are 1.3 to 3.4 times the throughput and 0.2 to 0.6 of the latency with both parts and a graph "
            "index; the index, its recall and the rounds that a coarse one adds are not simulated",
            "a search adds 750 tokens to contexts of 1,000 to 4,000, so that few prompts are cached to 80 %",
            "the share of a search's time that stopping early saves (0.4) is an assumption",
        ),
    )


def _falsifiers(seeds: Sequence[int]) -> list[Falsifier]:
    ample = ratio_over_seeds(
        seeds,
        lambda seed: latency(play(seed, "fcfs", AMPLE, rate=RATE / 2, search=0.0)),
        lambda seed: latency(play(seed, NAME, AMPLE, rate=RATE / 2, search=0.0)),
    )
    return [
        Falsifier(
            setting="KV that suffices and searches that take no time: mean latency, times less",
            ours=ample,
            low=0.98,
            high=1.02,
        ),
        Falsifier(
            setting="one question after the other: mean latency, times less",
            ours=ratio_over_seeds(
                seeds,
                lambda seed: latency(play(seed, "fcfs", rate=0.02)),
                lambda seed: latency(play(seed, NAME, rate=0.02)),
            ),
            low=0.999,
            high=1.001,
        ),
    ]


CLAIM = Claim(
    paper=Paper(
        cite="Demystifying and Enhancing the Efficiency of Large Language Model Based Search Agents (SearchAgent-X), "
        "2025, arXiv:2505.12065",
        year=2025,
        evidence="code",
        headline="1.3 to 3.4 times the throughput and 0.2 to 0.6 of the latency of vLLM with a graph index",
    ),
    methods=("schedule/search_agent_x",),
    setting="qwen2.5-7b on one a10; 200 questions of two to eight searches, 750 tokens and about 1 s each, twice as "
    "many a second as it can answer",
    baseline="first come, first served with chunked prefill and prefix caching",
    measure=measure,
)
