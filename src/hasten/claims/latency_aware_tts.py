"""The best use of a deadline for one question: samples side by side, and tokens drafted ahead.

Decoding one answer waits for weights, so that further samples and drafted tokens are almost free until a step's
arithmetic takes as long: b samples of which s tokens each are drafted fill b (s + 1) tokens of that room.

Use when: few questions are answered at a time, under a deadline, and more samples make answers better.
Avoid when: many requests share the device: its idle arithmetic is used already, and each sample costs in full.
Differs: accuracy by number of samples is the caller's curve; the steps are ours, and an answer has a given length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from hasten.claims.harness.claim import Claim, Curve, Falsifier, Findings, Paper, Progress, Region, gain
from hasten.claims.harness.estimate import Estimate
from hasten.deployment import Deployment
from hasten.plan.branches import Choice, Drafting, answer_seconds, best_under

DEVICE, PROMPT, OUTPUT = "h100-sxm", 256, 1500  # tokens
BRANCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
DEPTHS = (0, 1, 2, 3, 4, 6, 8)
ACCEPTANCE = 0.7  # share of drafted tokens
EASY, HARD = 0.6, 0.9  # shape of the spread of chances that one sample solves a question: a Beta distribution


def large() -> Deployment:
    """32B parameters."""
    return Deployment.of("qwen2.5-32b", DEVICE)


def small() -> Deployment:
    """3B parameters."""
    return Deployment.of("qwen2.5-3b", DEVICE)


def drafting(acceptance: float = ACCEPTANCE) -> Drafting:
    """0.5B parameters that draft for both."""
    return Drafting(deployment=Deployment.of("qwen2.5-0.5b", DEVICE), acceptance=acceptance)


def solved(branches: int) -> float:
    """Share of questions that at least one of so many samples solves: 1 - E[(1 - p)^b], p of a Beta distribution."""
    ratio = math.lgamma(HARD + branches) - math.lgamma(HARD)
    ratio += math.lgamma(EASY + HARD) - math.lgamma(EASY + HARD + branches)
    return 1.0 - math.exp(ratio)


def seconds(target: Deployment, branches: int, depth: int = 0) -> float:
    """Seconds for one question."""
    return answer_seconds(target, branches, prompt=PROMPT, output=OUTPUT, depth=depth, drafting=drafting())


def best(
    target: Deployment, deadline: float, *, branches: Sequence[int] = BRANCHES, acceptance: float = ACCEPTANCE
) -> Choice:
    """The best choice in time. There is one for every deadline used here."""
    found = best_under(
        target,
        deadline,
        solved,
        prompt=PROMPT,
        output=OUTPUT,
        branches=branches,
        depths=DEPTHS,
        drafting=drafting(acceptance),
    )
    if found is None:
        raise ValueError(f"nothing ends within {deadline} s")
    return found


def depth_of(branches: int) -> int:
    """The depth at which so many branches of the small model end first."""
    target = small()
    return min(DEPTHS, key=lambda depth: seconds(target, branches, depth))


def measure(seeds: Sequence[int], progress: Progress) -> Findings:
    """Both models under their deadlines, then where the room is used up."""
    one, minute = best(large(), 60.0, branches=(1,)), best(large(), 60.0)
    lone, ten = best(small(), 10.0, branches=(1,)), best(small(), 10.0)
    progress(1, 3)
    steps = {
        name: [
            (float(b), 1e3 * model.latency.step_time([(1, PROMPT + OUTPUT // 2)] * b).seconds)
            for b in BRANCHES
        ]
        for name, model in (("32B", large()), ("3B", small()))
    }
    both = min(seconds(large(), 8, depth) for depth in DEPTHS)
    progress(2, 3)
    return Findings(
        figures=[
            gain(
                "32B, 60 s: questions solved by one of the samples, over one sample",
                _exact(minute.value / one.value),
            ),
            gain(
                "3B, 10 s: questions solved by one of the samples, over one sample",
                _exact(ten.value / lone.value),
            ),
            gain(
                "32B, 8 samples: seconds, times less with the best depth than without",
                _exact(seconds(large(), 8) / both),
            ),
            gain(
                "32B: 16 samples side by side, times faster than one after the other",
                _exact(16 * seconds(large(), 1) / seconds(large(), 16)),
            ),
        ],
        falsifiers=_falsifiers(minute),
        regions=[
            Region(
                where="3B, 256 samples: drafting as deep as one sample likes it, over none, times less seconds",
                ours=_exact(seconds(small(), 256) / seconds(small(), 256, depth_of(1))),
            ),
            Region(
                where="3B: seconds of one sample over those of 256",
                ours=_exact(seconds(small(), 1) / seconds(small(), 256)),
            ),
        ],
        curves=[Curve(title="A decode step", x="samples side by side", y="ms", lines=steps, is_log_x=True)],
        origin=f"closed forms; step times {large().latency.step_time([(1, PROMPT)]).origin}",
        notes=(
            f"best within 60 s: 32B with {minute.branches} samples and depth {minute.depth}; within 10 s: 3B with "
            f"{ten.branches} samples and depth {ten.depth}",
            "the published accuracies (82.3 % of MATH-500 within a minute for 32B, 72.4 % within 10 s for 3B) need the "
            "models' answers and are not re-run; chances of samples are drawn from a Beta distribution instead",
        ),
    )


def _falsifiers(minute: Choice) -> list[Falsifier]:
    return [
        Falsifier(
            setting="32B, 60 s: samples of the best choice",
            ours=_exact(minute.branches),
            low=2.0,
            unit="samples",
        ),
        Falsifier(
            setting="nothing drafted is accepted: depth of the best choice",
            ours=_exact(best(large(), 60.0, acceptance=0.0).depth),
            high=0.0,
            unit="tokens",
        ),
        Falsifier(
            setting="3B: best depth for 256 samples less that for one, since the slack is shared",
            ours=_exact(depth_of(256) - depth_of(1)),
            high=-1.0,
            unit="tokens",
        ),
    ]


def _exact(value: float) -> Estimate:
    return Estimate.exact(float(value))


CLAIM = Claim(
    paper=Paper(
        cite="Faster and Better LLMs via Latency-Aware Test-Time Scaling, EMNLP 2025, arXiv:2505.19634",
        year=2025,
        evidence="abstract",
        headline="samples side by side and speculative decoding together bring 32B to 82.3 % of MATH-500 within a "
        "minute and 3B to 72.4 % within 10 s; what is best for compute is not best for latency",
    ),
    methods=("plan/latency_aware_tts",),
    setting="one question at a time on one h100-sxm: prompts of 256 tokens, answers of 1,500; qwen2.5-32b within 60 s, "
    "qwen2.5-3b within 10 s; qwen2.5-0.5b drafts, 70 % of its tokens are accepted",
    baseline="one sample with the best speculative decoding, same kernels",
    measure=measure,
    num_seeds=1,
)
