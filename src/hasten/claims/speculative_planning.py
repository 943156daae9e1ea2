"""A cheap agent plans ahead, the real one checks every step in parallel, and how far ahead is learned while it runs.

In a window of k steps the draft needs A seconds a step, and the target checks each from the moment its beginning is
known, T seconds each. At the first mismatch the target's own step stands and what was begun after it is lost. So a
window with j matches lasts j A + T and gives j + 1 steps, k at most. Deep windows are fast and wasteful; k is predicted
from what the agent sees, by a linear regression that weighs errors upward by `tau` (expectile loss), plus `offset`.

Use when: an agent's steps can often be guessed by a cheaper one, and neither money nor time is free.
Avoid when: guesses are rarely right; or waste costs nothing (then a deep fixed window is as fast); or all steps are
    equally hard to guess (then the best fixed window is as good).
Differs: a linear model of one visible number instead of a fine-tuned encoder; it learns from windows as they end; a
    mismatch cancels the calls begun after it, but their cost is counted in full.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from hasten.claims.harness.claim import (
    Claim,
    Curve,
    Falsifier,
    Findings,
    Paper,
    Progress,
    Region,
    equal,
    gain,
)
from hasten.claims.harness.estimate import Estimate
from hasten.workload import stream

DRAFT, TARGET = 1.0, 4.0  # s per step
DRAFT_COST, TARGET_COST = 0.1, 1.0  # of a step, in units of the target's
STEPS, FIXED, DEEPEST = 4000, (2, 4, 6), 8
# chances of a match in two phases of a plan; what blurs the number that tells them
EASY, HARD, NOISE = 0.9, 0.5, 0.1
PHASE = 12  # mean steps of a phase


@dataclass
class Learned:
    """Steps to look ahead, from one visible number: max(1, round(prediction + offset)), DEEPEST at most."""

    tau: float = 0.5
    offset: float = 1.0
    rate: float = 0.02
    _weights: list[float] = field(default_factory=lambda: [2.0, 0.0])

    def predict(self, seen: float) -> float:
        """Expected matches in a row."""
        return self._weights[0] + self._weights[1] * seen

    def depth(self, seen: float) -> int:
        """How far to look ahead."""
        return min(DEEPEST, max(1, round(self.predict(seen) + self.offset)))

    def learn(self, seen: float, matches: int, *, is_cut: bool) -> None:
        """A window had so many matches; `is_cut`: there might have been more."""
        error = matches - self.predict(seen)
        if is_cut:
            error = max(error, 0.0) + 1.0  # at least one more, for all that is known
        step = self.rate * (self.tau if error > 0 else 1.0 - self.tau) * 2.0 * error
        self._weights[0] += step
        self._weights[1] += step * seen


@dataclass(frozen=True)
class Plan:
    """For every step whether draft and target would agree, and the number that the agent sees."""

    agrees: list[bool]
    seen: list[float]


@dataclass(frozen=True)
class Played:
    """Seconds of a plan, its cost in calls of the target, and the part of the cost that was lost."""

    seconds: float
    cost: float
    lost: float


def draw(seed: int, *, easy: float = EASY, hard: float = HARD) -> Plan:
    """Phases in which steps are easy or hard to guess, geometric lengths."""
    rng = stream(seed, "plan")
    switches = rng.random(STEPS) < 1.0 / PHASE
    is_easy = np.cumsum(switches) % 2 == 0
    agrees = rng.random(STEPS) < np.where(is_easy, easy, hard)
    seen = np.where(is_easy, 1.0, -1.0) + rng.normal(0.0, NOISE, STEPS)
    return Plan(agrees.tolist(), seen.tolist())


def play(plan: Plan, depth: int | Learned) -> Played:
    """Window after window, with a fixed depth or one that is learned."""
    at, seconds, cost, lost = 0, 0.0, 0.0, 0.0
    while at < STEPS:
        seen = plan.seen[at]
        wanted = depth if isinstance(depth, int) else depth.depth(seen)
        k = min(wanted, STEPS - at)
        matches = next((j for j in range(k) if not plan.agrees[at + j]), k)
        done = min(k, matches + 1)
        seconds += (done - 1) * DRAFT + TARGET
        window = k * TARGET_COST + (k if k > 1 else 0) * DRAFT_COST  # one step needs no guess
        cost += window
        lost += window - done * TARGET_COST
        if isinstance(depth, Learned):
            depth.learn(seen, matches, is_cut=matches == k)
        at += done
    return Played(seconds, cost, lost)


def measure(seeds: Sequence[int], progress: Progress) -> Findings:
    """The learned depth against the deepest fixed one, then plans without anything to learn."""
    plans = {seed: draw(seed) for seed in seeds}
    ours = {seed: play(plan, Learned()) for seed, plan in plans.items()}
    fast = {seed: play(plan, Learned(offset=3.0)) for seed, plan in plans.items()}
    fixed = {k: {seed: play(plan, k) for seed, plan in plans.items()} for k in (1, *FIXED)}
    fastest = min(FIXED, key=lambda k: sum(each.seconds for each in fixed[k].values()))
    progress(1, 2)

    def over(value: Callable[[Played], float], k: int = fastest) -> Estimate:
        return Estimate.over(value(fixed[k][seed]) / value(ours[seed]) for seed in seeds)

    never = {seed: draw(seed, easy=0.0, hard=0.0) for seed in seeds}
    return Findings(
        figures=[
            equal(
                f"seconds over those of the fastest fixed depth ({fastest})",
                Estimate.over(ours[seed].seconds / fixed[fastest][seed].seconds for seed in seeds),
                1.0,
                unit="x",
                tolerance=0.05,
            ),
            gain(f"cost, times less than with depth {fastest}", over(lambda each: each.cost), paper=1.43),
            gain(
                f"cost that is lost, times less than with depth {fastest}",
                over(lambda each: each.lost),
                paper=2.5,
            ),
            equal(
                f"knob at offset 3: seconds over those of depth {fastest}",
                Estimate.over(fast[seed].seconds / fixed[fastest][seed].seconds for seed in seeds),
                1.0,
                unit="x",
                tolerance=0.05,
            ),
            gain(
                f"knob at offset 3: cost, times less than with depth {fastest}",
                Estimate.over(fixed[fastest][seed].cost / fast[seed].cost for seed in seeds),
                paper=1.43,
            ),
            gain("seconds, times less than step by step", over(lambda each: each.seconds, 1)),
        ],
        falsifiers=_falsifiers(seeds, never),
        regions=[
            Region(
                where="against step by step: cost, times less",
                ours=over(lambda each: each.cost, 1),
            ),
            Region(
                where="nothing is ever guessed: cost, times less than step by step",
                ours=Estimate.over(
                    STEPS * TARGET_COST / play(plan, Learned()).cost for plan in never.values()
                ),
            ),
        ],
        curves=[_curve(plans[seeds[0]])],
        origin="event simulation of drawn agreements; no step times",
        notes=("agreements are drawn, two phases of chance 0.9 and 0.5: shares of cost depend on them",),
    )


def _falsifiers(seeds: Sequence[int], never: dict[int, Plan]) -> list[Falsifier]:
    alike = {seed: draw(seed, easy=0.7, hard=0.7) for seed in seeds}
    return [
        Falsifier(
            setting="nothing is ever guessed: seconds, times less than step by step",
            ours=Estimate.over(STEPS * TARGET / play(plan, Learned()).seconds for plan in never.values()),
            low=1.0 - 1e-9,
            high=1.0 + 1e-9,
        ),
        Falsifier(
            setting="all steps equally hard to guess: cost and seconds multiplied, best fixed depth over learned",
            ours=Estimate.over(_product(plan) for plan in alike.values()),
            high=1.02,
        ),
        Falsifier(
            setting="mean seconds a step at depth 4 and chance 0.7, over the closed form",
            ours=Estimate.over(
                play(plan, 4).seconds / STEPS / window_seconds(4, 0.7) for plan in alike.values()
            ),
            low=0.98,
            high=1.02,
        ),
    ]


def window_seconds(depth: int, chance: float) -> float:
    """Seconds a step by the closed form: those of a window over the steps it gives, both in the mean."""
    steps = sum(chance**i for i in range(depth))  # 1 + a + ... + a^(k-1)
    return ((steps - 1.0) * DRAFT + TARGET) / steps


def _product(plan: Plan) -> float:
    best = min(each.seconds * each.cost for each in (play(plan, k) for k in range(1, DEEPEST + 1)))
    learned = play(plan, Learned())
    return best / (learned.seconds * learned.cost)


def _curve(plan: Plan) -> Curve:
    def line(played: Sequence[Played]) -> list[tuple[float, float]]:
        return sorted((each.cost / STEPS, each.seconds / STEPS) for each in played)

    return Curve(
        title="Seconds against cost of a step",
        x="cost of a step, calls of the target",
        y="s",
        lines={
            "fixed depth": line([play(plan, k) for k in range(1, DEEPEST + 1)]),
            "learned": line(
                [play(plan, Learned(offset=offset)) for offset in (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)]
            ),
        },
    )


CLAIM = Claim(
    paper=Paper(
        cite="Dynamic Speculative Agent Planning, 2025, arXiv:2509.01920 (ICLR 2026)",
        year=2025,
        evidence="notes",
        headline="as fast as the fastest lossless method at 30 % less cost and up to 60 % less unnecessary cost",
    ),
    methods=("agents/speculative_planning",),
    setting="plans of 4,000 steps in phases of 12 that are easy (0.9) or hard (0.5) to guess; the draft takes a "
    "quarter of the target's time and a tenth of its cost",
    baseline="a fixed depth of 2, 4 or 6, the fastest of them; and step by step",
    measure=measure,
)
