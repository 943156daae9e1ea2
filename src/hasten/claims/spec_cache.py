"""Web pages fetched before the agent asks: a small model guesses the next actions while the large one still reasons.

What the draft guesses is executed at once and its observation cached; the large model decides as ever and looks there
first. A right guess saves the part of the fetch that lies beside the reasoning: min(E, max(0, T - D)) for a fetch of E
seconds, reasoning of T and guessing of D. A wrong one costs a fetch that nobody needed.

Use when: actions only read, the environment is slow, and the next action can be guessed.
Avoid when: actions change something, sites limit requests, or reasoning is shorter than guessing.
Differs: guesses are right by chance at the published rates; the calls of the draft do not slow the target down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hasten.claims.harness.claim import Claim, Curve, Falsifier, Findings, Paper, Progress, Region, gain
from hasten.claims.harness.estimate import Estimate
from hasten.workload import stream
from hasten.workload.columns import Floats

STEPS = 20_000
FETCH, REASON, GUESS = 6.0, 12.0, 2.0  # s, medians of lognormal times of sigma 0.8, 0.8 and 0.3
HITS = {"WebWalkerQA": 0.833, "Frames": 0.540}  # published hit rates, and those of random guesses
RANDOM = {"WebWalkerQA": 0.089, "Frames": 0.010}


@dataclass(frozen=True)
class Times:
    """Seconds of every step: of the fetch, of the target's reasoning and of the draft's."""

    fetch: Floats
    reason: Floats
    guess: Floats


def draw(seed: int, *, guess: float = GUESS, reason: float = REASON) -> Times:
    """Lognormal times around the medians."""

    def times(role: str, median: float, sigma: float) -> Floats:
        drawn: Floats = median * stream(seed, role).lognormal(0.0, sigma, STEPS)
        return drawn

    return Times(times("fetch", FETCH, 0.8), times("reason", reason, 0.8), times("guess", guess, 0.3))


def saved(times: Times) -> Floats:
    """Seconds that a right guess saves in each step, by the closed form."""
    return np.minimum(times.fetch, np.maximum(0.0, times.reason - times.guess))


def waited(times: Times, is_hit: Sequence[bool]) -> Floats:
    """Seconds that the agent waits for its page in each step, event by event."""
    waits = np.empty(times.fetch.size)
    for step, (fetch, reason, guess) in enumerate(zip(times.fetch, times.reason, times.guess, strict=True)):
        begins = guess if is_hit[step] and guess < reason else reason
        waits[step] = max(0.0, begins + fetch - reason)
    return waits


def less(seed: int, hits: float, *, whole: bool = False, **medians: float) -> float:
    """Time at the environment without the cache over that with it; `whole`: of the whole steps."""
    times = draw(seed, **medians)
    is_hit = (stream(seed, "hits").random(STEPS) < hits).tolist()
    waits = waited(times, is_hit)
    reasoned = times.reason.sum() if whole else 0.0
    return float((reasoned + times.fetch.sum()) / (reasoned + waits.sum()))


def distance(seed: int) -> float:
    """Largest difference of the closed form from the event by event one (s)."""
    times = draw(seed)
    everywhere = [True] * STEPS
    return float(np.abs(times.fetch - saved(times) - waited(times, everywhere)).max())


def measure(seeds: Sequence[int], progress: Progress) -> Findings:
    """Both published hit rates, random guesses, and what is left when nothing overlaps."""

    def over(hits: float, *, whole: bool = False, **medians: float) -> Estimate:
        return Estimate.over(less(seed, hits, whole=whole, **medians) for seed in seeds)

    figures = [
        gain("hits of WebWalkerQA: time at the web, times less", over(HITS["WebWalkerQA"]), paper=3.2),
        gain("hits of Frames: time at the web, times less", over(HITS["Frames"])),
        gain(
            "hits of WebWalkerQA: time of the whole task, times less", over(HITS["WebWalkerQA"], whole=True)
        ),
    ]
    progress(1, 2)
    falsifiers = [
        Falsifier(
            setting="closed form from event by event, largest distance",
            ours=Estimate.over(distance(seed) for seed in seeds),
            high=1e-9,
            unit="s",
        ),
        Falsifier(setting="no hits: times less", ours=over(0.0), low=1.0 - 1e-12, high=1.0 + 1e-12),
        Falsifier(
            setting="random guesses, WebWalkerQA: times less", ours=over(RANDOM["WebWalkerQA"]), high=1.1
        ),
        Falsifier(
            setting="guessing takes a thousand times as long as reasoning: times less",
            ours=over(1.0, guess=1000 * REASON),
            high=1.001,
        ),
    ]
    overlap = [
        (reason, less(seeds[0], HITS["WebWalkerQA"], reason=reason)) for reason in (2.0, 4.0, 8.0, 16.0, 32.0)
    ]
    return Findings(
        figures=figures,
        falsifiers=falsifiers,
        regions=[
            Region(
                where="reasoning of 2 s, as long as a guess: times less",
                ours=over(HITS["WebWalkerQA"], reason=2.0),
            ),
            Region(
                where="fetches for the page that is read, times fewer (a guess a step)",
                ours=Estimate.exact(1.0 / (2.0 - HITS["WebWalkerQA"])),
            ),
        ],
        curves=[
            Curve(
                title="Time at the web, hit rate 0.833",
                x="median seconds of reasoning",
                y="times less",
                lines={"with the cache": overlap},
                is_log_x=True,
            )
        ],
        origin="event simulation of drawn times; no step times",
        notes=("the median fetch of 6 s is published; times of reasoning and guessing are assumptions",),
    )


CLAIM = Claim(
    paper=Paper(
        cite="What Limits Agentic Systems Efficiency? (SpecCache), 2025, arXiv:2510.16276",
        year=2025,
        evidence="notes",
        headline="up to 3.2 times less time spent at the web, with up to 58 times the hits of random guesses",
    ),
    methods=("agents/spec_cache",),
    setting="20,000 steps: fetches of median 6 s, reasoning of 12 s, guesses of 2 s; one guess a step, right at the "
    "published rates",
    baseline="the same agent that fetches when it has decided",
    measure=measure,
)
