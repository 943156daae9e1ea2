"""How far off step times may be: one error that all steps of a deployment share, and one that every step has alone.

The error is counted in logs, since it multiplies: measured = predicted * exp(bias + s u + r v), with u standard
normal and the same for every step of a deployment (a data sheet that promises too much, kernels that differ), and v
standard normal and new for every step. Over the many steps of a run the v cancel and the u do not: so intervals of
single steps take both, those of a simulated run the shared part alone. Decodes are bound by memory and prefills by
arithmetic, so each has its own figures; their shared errors are correlated.

The spreads are not standard deviations but fitted so that the 90 % quantile is as observed (split-conformal,
see `conformal_spread`): outliers in the far tail move them little, and heavy tails do not narrow the usual interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from hasten.errors import InputError

LEVEL = 0.9
"""Share of what was observed that a fitted spread covers: intervals at this level need no assumption of normality."""


def check_confidence(confidence: float) -> float:
    """``confidence`` itself. Raises InputError unless it lies strictly between 0 and 1."""
    if not 0.0 < confidence < 1.0:
        raise InputError(f"confidence is {confidence!r}: give a share between 0 and 1, such as 0.9")
    return confidence


@dataclass(frozen=True, slots=True)
class Spread:
    """Errors of one kind of step in logs: 0.1 is about 10 %.

    ``systematic`` is the part that all steps of a deployment share, ``residual`` that of each step alone, both as
    standard deviations; ``bias`` is the middle of log(measured / predicted): positive where predictions are low.
    """

    systematic: float
    residual: float = 0.0
    bias: float = 0.0

    def __post_init__(self) -> None:
        for name in ("systematic", "residual"):
            value = getattr(self, name)
            if not 0.0 <= value < math.inf:
                raise InputError(f"{name} error of a step time is {value!r}: give a spread in logs from 0 up")
        if not math.isfinite(self.bias):
            raise InputError(f"bias of a step time is {self.bias!r}: give a finite number in logs")

    @property
    def single(self) -> float:
        """Spread of one step: both parts together."""
        return math.hypot(self.systematic, self.residual)

    def factor(self, share: float, *, single: bool = False) -> float:
        """Factor on predicted seconds that the truth stays below with probability ``share``.

        Of the mean of many steps, or with ``single`` of one. Raises InputError unless ``share`` is in (0, 1).
        """
        spread = self.single if single else self.systematic
        return math.exp(self.bias + spread * NormalDist().inv_cdf(check_confidence(share)))

    def interval(self, confidence: float = 0.9, *, single: bool = False) -> tuple[float, float]:
        """Factors on predicted seconds between which the truth lies with probability ``confidence``."""
        upper = 0.5 + 0.5 * check_confidence(confidence)
        return self.factor(1.0 - upper, single=single), self.factor(upper, single=single)


@dataclass(frozen=True, slots=True)
class StepTimeError:
    """Errors of a deployment's step times: decode-only steps, and what a prefill adds to a step.

    ``origin`` is that of the step times; ``samples`` how many deployments (or samples) stand behind the figures;
    ``correlation`` that of the two systematic errors.
    """

    decode: Spread
    prefill: Spread
    origin: str = "analytical"
    samples: int = 0
    correlation: float = 1.0

    def __post_init__(self) -> None:
        if not -1.0 <= self.correlation <= 1.0:
            raise InputError(f"correlation of errors is {self.correlation!r}: give a number from -1 to 1")

    def quantile(self, confidence: float) -> tuple[float, float]:
        """Factors on (decode, prefill) seconds of a whole run that hold with probability ``confidence``.

        Both are taken at their own quantile at once, which is exact for a correlation of 1 and otherwise on the
        safe side for anything that both slow down. Raises InputError unless ``confidence`` is in (0, 1).
        """
        return self.decode.factor(confidence), self.prefill.factor(confidence)

    def widened(self, factor: float) -> StepTimeError:
        """The same with all spreads times ``factor``: for predictions far outside what they were fitted to."""
        decode, prefill = (
            replace(each, systematic=each.systematic * factor, residual=each.residual * factor)
            for each in (self.decode, self.prefill)
        )
        return replace(self, decode=decode, prefill=prefill)


def conformal_spread(errors: Sequence[float], level: float = LEVEL) -> float:
    """Spread whose two-sided ``level`` interval covers a new error with that probability, in the errors' unit.

    Split-conformal: the k-th smallest of n absolute errors, k = ceil((n + 1) level), covers the next one, if it is
    exchangeable with these, with probability of at least ``level`` (Vovk, Gammerman and Shafer, Algorithmic Learning
    in a Random World, 2005, section 2.2; Lei et al., arXiv:1604.04173, theorem 2). With too few errors for that, the
    largest one is scaled up as the tail of Student's t is. Raises InputError without errors.
    """
    if not errors:
        raise InputError("no errors to take a spread from: give at least one")
    sizes = sorted(abs(each) for each in errors)
    normal = NormalDist().inv_cdf(0.5 + 0.5 * check_confidence(level))
    rank = math.ceil((len(sizes) + 1) * level)
    if rank <= len(sizes):
        return sizes[rank - 1] / normal
    # The largest of n normal errors is near the n / (n + 1) quantile of their size.
    share = len(sizes) / (len(sizes) + 1)
    usual = NormalDist().inv_cdf(0.5 + 0.5 * share)
    return sizes[-1] / usual * (1.0 + 1.0 / len(sizes))
