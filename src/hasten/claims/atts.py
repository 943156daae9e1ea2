"""Small model drafts, large model judges and goes on where it must, and no sample waits for its siblings.

In every round each of m samples is drafted a piece further by the small model; the large one scores the piece. A sample
whose score is poor beside scores seen before (a conformal p-value, no ranking among siblings) is continued by the large
model. So there is no barrier: a sample starts its next round when it is ready. With a barrier each round takes as long
as its longest sample.

Use when: one question gets many samples of many rounds, and pieces differ in length.
Avoid when: most pieces are cut at a token limit: then a barrier costs little; or one sample suffices.
Differs: steps cost what they do with all samples in the batch, also when some are ahead; accuracy isn't simulated.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hasten.claims.harness.claim import Claim, Curve, Falsifier, Findings, Paper, Progress, Region, gain
from hasten.claims.harness.estimate import Estimate
from hasten.deployment import Deployment
from hasten.workload import stream
from hasten.workload.columns import Floats

DRAFT, TARGET, DEVICE = "qwen2.5-7b", "qwen2.5-32b", "h100-sxm"
SAMPLES, ROUNDS, QUESTIONS = 16, 64, 30
# tokens of a piece, spread of their logarithm, the limit of the paper's setting
MEAN, SIGMA, CUT = 300.0, 0.9, 500.0
SHARE, CONTEXT = 0.25, 8192  # share of pieces that the target continues; tokens in KV per sample
SIZES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Steps:
    """Seconds per token of the draft and of the target, and to score a piece."""

    draft: float
    target: float
    score: float

    @classmethod
    def of(cls, samples: int) -> Steps:
        """Of so many samples side by side, one device for each model."""
        draft, target = (Deployment.of(model, DEVICE).latency for model in (DRAFT, TARGET))
        decodes = [(1, CONTEXT)] * samples
        return cls(
            draft.step_time(decodes).seconds,
            target.step_time(decodes).seconds,
            target.step_time([(round(MEAN), CONTEXT)]).seconds,
        )


@dataclass(frozen=True)
class Shape:
    """Spread of the logarithm of lengths, the limit at which pieces are cut (tokens), and the share continued."""

    sigma: float = SIGMA
    cut: float = math.inf
    share: float = SHARE


USUAL = Shape()


@dataclass(frozen=True)
class Pieces:
    """Tokens drafted and continued (0 where the draft is kept), shaped questions x samples x rounds."""

    drafted: Floats
    continued: Floats


def p_value(score: float, seen: Sequence[float]) -> float:
    """Conformal p-value of a score beside `seen` ones, sorted: (number of seen at least as high + 1) / (n + 1)."""
    return (len(seen) - bisect_left(seen, score) + 1) / (len(seen) + 1)


def is_poor(score: float, seen: Sequence[float], share: float) -> bool:
    """Whether the target should go on: a `share` of pieces is poor when scores are like those seen."""
    return p_value(score, seen) > 1.0 - share


def draw(seed: int, samples: int = SAMPLES, shape: Shape = USUAL) -> Pieces:
    """Pieces of lognormal length; which of them are poor does not depend on it."""
    size, sigma = (QUESTIONS, samples, ROUNDS), shape.sigma
    lengths = [
        np.minimum(shape.cut, np.exp(stream(seed, role).normal(np.log(MEAN) - sigma**2 / 2, sigma, size)))
        for role in ("drafted", "continued")
    ]
    poor = stream(seed, "poor").random(size) < shape.share
    return Pieces(lengths[0], lengths[1] * poor)


def asynchronous(pieces: Pieces, steps: Steps) -> float:
    """Mean seconds of a question whose samples never wait for each other: the longest sample's."""
    each = pieces.drafted * steps.draft + steps.score + pieces.continued * steps.target
    return float(each.sum(axis=2).max(axis=1).mean())


def with_barrier(pieces: Pieces, steps: Steps) -> float:
    """The same when a round is scored as a whole, and the next begins when all have been continued."""
    drafted, continued = pieces.drafted.max(axis=1), pieces.continued.max(axis=1)
    return float((drafted * steps.draft + steps.score + continued * steps.target).sum(axis=1).mean())


def target_alone(pieces: Pieces, steps: Steps) -> float:
    """The same answers written by the target: the longest sample's tokens."""
    return float(((pieces.drafted + pieces.continued).sum(axis=2).max(axis=1) * steps.target).mean())


def rejected(seed: int, share: float) -> float:
    """Share of 20,000 scores found poor beside 2,000 of the same kind."""
    rng = stream(seed, "scores")
    seen = np.sort(rng.normal(size=2000)).tolist()
    return float(np.mean([is_poor(score, seen, share) for score in rng.normal(size=20_000).tolist()]))


def measure(seeds: Sequence[int], progress: Progress) -> Findings:
    """Barrier or none over lengths and samples, and what each part contributes."""
    steps = Steps.of(SAMPLES)

    def over(samples: int = SAMPLES, shape: Shape = USUAL) -> Estimate:
        return _over(with_barrier, steps, [draw(seed, samples, shape) for seed in seeds])

    def alone(shape: Shape = USUAL) -> Estimate:
        return _over(target_alone, steps, [draw(seed, SAMPLES, shape) for seed in seeds])

    falsifiers = _falsifiers(seeds, steps)
    progress(1, 2)
    lines = {
        name: [(float(m), over(m, shape).value) for m in SIZES]
        for name, shape in (
            ("sigma 0.9", USUAL),
            ("sigma 0.5", Shape(sigma=0.5)),
            ("cut at 500 tokens", Shape(cut=CUT)),
        )
    }
    return Findings(
        figures=[
            gain("times faster than with a barrier", over(), paper=4.14),
            gain("pieces cut at 500 tokens: times faster than with a barrier", over(shape=Shape(cut=CUT))),
            gain("times faster than the target alone", alone(), paper=5.7),
        ],
        falsifiers=falsifiers,
        regions=[
            Region(
                where="every piece continued: times faster than the target alone",
                ours=alone(Shape(share=1.0)),
            ),
            Region(
                where="no piece continued: times faster than with a barrier",
                ours=over(shape=Shape(share=0.0)),
            ),
        ],
        curves=[
            Curve(
                title="No barrier over a barrier", x="samples", y="times faster", lines=lines, is_log_x=True
            )
        ],
        origin="barrier model on drawn lengths; step times analytical",
        notes=(
            f"the target takes {steps.target / steps.draft:.1f} times as long per token as the draft, which bounds the "
            "gain over the target alone; without a barrier the share of pieces that it continues decides the rest",
            "published are 5.7 to 14.5 times over benchmarks and up to 56.7 for models farther apart; 4.14 is the "
            "gain in throughput",
        ),
    )


def _over(other: Callable[[Pieces, Steps], float], steps: Steps, drawn: Sequence[Pieces]) -> Estimate:
    return Estimate.over(other(pieces, steps) / asynchronous(pieces, steps) for pieces in drawn)


def _falsifiers(seeds: Sequence[int], steps: Steps) -> list[Falsifier]:
    same = [
        replace(draw(seed, SAMPLES, Shape(sigma=0.0)), continued=np.full((QUESTIONS, SAMPLES, ROUNDS), MEAN))
        for seed in seeds
    ]
    slow = replace(steps, draft=steps.target)
    return [
        Falsifier(
            setting="pieces of equal length, all continued: times faster than with a barrier",
            ours=_over(with_barrier, steps, same),
            low=1.0 - 1e-9,
            high=1.05,
        ),
        Falsifier(
            setting="one sample: times faster than with a barrier",
            ours=_over(with_barrier, steps, [draw(seed, 1) for seed in seeds]),
            low=1 - 1e-9,
            high=1 + 1e-9,
        ),
        Falsifier(
            setting="share found poor when a quarter should be",
            ours=Estimate.over(rejected(seed, SHARE) for seed in seeds),
            low=SHARE - 0.02,
            high=SHARE + 0.02,
            unit="share",
        ),
        Falsifier(
            setting="a draft as slow as the target: times faster than the target alone",
            ours=_over(target_alone, slow, [draw(seed) for seed in seeds]),
            high=1.0,
        ),
    ]


CLAIM = Claim(
    paper=Paper(
        cite="ATTS: Asynchronous Test-Time Scaling via Conformal Prediction, 2025, arXiv:2509.15148 (ICLR 2026)",
        year=2025,
        evidence="notes",
        headline="up to 56.7 times faster test-time scaling and 4.14 times the throughput at equal accuracy",
    ),
    methods=("agents/atts",),
    setting="16 samples of 64 rounds; pieces of mean 300 tokens, lognormal with sigma 0.9; qwen2.5-7b drafts and "
    "qwen2.5-32b continues a quarter of them, one h100-sxm each",
    baseline="the same rounds with a barrier before every scoring, and the target alone; equal kernels",
    measure=measure,
)
