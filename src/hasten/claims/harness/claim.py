"""What a claim is: a paper's headline, how it is measured here, what was found, and what would refute it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from hasten.claims.harness.estimate import Estimate

EVIDENCE: Final = {
    "code": "the authors' code was read",
    "text": "the full text was read",
    "notes": "notes of others on the paper were read",
    "abstract": "after the abstract: details are ours",
    "recalled": "from general knowledge, unverified",
}
"""How well the method is known here, best first."""

OTHER_ROLES: Final = {
    "agents": "programs of calls and tools",
    "kv": "how KV is stored and read",
    "latency": "what a step costs",
    "plan": "what to deploy and which knobs to set",
    "report": "what to measure",
    "scale": "how many replicas, of which kind",
}
"""What methods decide that are no policy files: functions of other parts."""

Progress = Callable[[int, int], None]
"""Called as progress(done, total) while a claim is measured."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of the paper beside ours.

    `neutral` is the value without any gain (1 for a factor): ours then only has to reach the paper's figure, within
    `tolerance` (a share of it). Without `neutral` ours has to equal the paper's, within `tolerance` on either side.
    `paper` None: the paper says only that there is a gain. `is_higher_better` says on which side of neutral it lies.
    """

    name: str
    ours: Estimate
    unit: str = "x"
    paper: float | None = None
    tolerance: float = 0.1
    neutral: float | None = None
    is_higher_better: bool = True

    def __post_init__(self) -> None:
        if self.paper is None and self.neutral is None:
            raise ValueError(
                f"{self.name}: a figure needs the paper's value or a neutral one to be judged by"
            )


def gain(
    name: str, ours: Estimate, *, paper: float | None = None, tolerance: float = 0.1, unit: str = "x"
) -> Figure:
    """A factor over the baseline: more is better, 1 is no gain."""
    return Figure(name=name, ours=ours, unit=unit, paper=paper, tolerance=tolerance, neutral=1.0)


def equal(name: str, ours: Estimate, paper: float, *, unit: str, tolerance: float) -> Figure:
    """A value that has to come out as published, within `tolerance` as a share."""
    return Figure(name=name, ours=ours, unit=unit, paper=paper, tolerance=tolerance)


@dataclass(frozen=True, kw_only=True)
class Falsifier:
    """A setting where the gain must vanish (or a law that must hold): the mean of ours has to lie in [low, high].

    If it does not, something other than the method makes the gain, and the claim is refuted whatever its figures say.
    """

    setting: str
    ours: Estimate
    low: float = -math.inf
    high: float = math.inf
    unit: str = "x"

    def __post_init__(self) -> None:
        if not -math.inf < self.low <= self.high and not self.high < math.inf:
            raise ValueError(f"{self.setting}: bounds [{self.low}, {self.high}] refuse nothing")

    @property
    def holds(self) -> bool:
        """Whether the value lies within its bounds."""
        return self.low <= self.ours.value <= self.high


@dataclass(frozen=True, kw_only=True)
class Region:
    """A setting looked at for a loss: `ours` is a factor over the baseline, worse than 1 where the method loses."""

    where: str
    ours: Estimate
    is_higher_better: bool = True

    @property
    def is_loss(self) -> bool:
        """Whether the whole interval is on the wrong side of 1."""
        return self.ours.is_below(1.0) if self.is_higher_better else self.ours.is_above(1.0)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Lines of one plot: label -> points (x, y). `is_log_x` draws x by its logarithm."""

    title: str
    x: str
    y: str
    lines: dict[str, list[tuple[float, float]]]
    is_log_x: bool = False


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a claim's function found. At least one figure, one falsifier and one region, or ValueError.

    `origin` says where the numbers come from and how far they may be off.
    """

    figures: Sequence[Figure]
    falsifiers: Sequence[Falsifier]
    regions: Sequence[Region]
    origin: str
    curves: Sequence[Curve] = ()
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("figures", "falsifiers", "regions"):
            if not getattr(self, name):
                raise ValueError(f"a claim needs at least one of its {name}")


@dataclass(frozen=True, kw_only=True)
class Paper:
    """Where a claim comes from.

    `cite` is title, venue and year, identifier; `evidence` a key of EVIDENCE; `headline` what the paper says, in our
    words, with its figure.
    """

    cite: str
    year: int
    evidence: str
    headline: str

    def __post_init__(self) -> None:
        if self.evidence not in EVIDENCE:
            raise ValueError(f"evidence {self.evidence!r} is unknown: use one of {', '.join(EVIDENCE)}")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The static part, and the function that measures it: measure(seeds, progress) -> Findings.

    `methods` names what implements it, as role/name: policies, or functions of OTHER_ROLES (`plan/...`). `setting` is
    the workload and deployment on which it is measured here. `baseline` says what the gain is over: one with chunked
    prefill, prefix caching and equal kernels, unless the paper's own subject is one of these.
    """

    paper: Paper
    methods: tuple[str, ...]
    setting: str
    baseline: str
    measure: Callable[[Sequence[int], Progress], Findings] = field(repr=False)
    num_seeds: int = 5
    first_seed: int = 0

    def __post_init__(self) -> None:
        if not self.methods or any("/" not in method for method in self.methods):
            raise ValueError(f"methods {self.methods} must name role/name")

    @property
    def seeds(self) -> range:
        """The seeds that are run."""
        return range(self.first_seed, self.first_seed + self.num_seeds)
