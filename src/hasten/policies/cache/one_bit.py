"""One bit per block: safe to evict, or not."""

import math
from dataclasses import dataclass

from hasten.core.policy import CachePolicy
from hasten.core.request import SHARED, Segment
from hasten.errors import InputError


@dataclass
class OneBit(CachePolicy):
    """Evict first what one bit says is safe to lose; the bit here: content that nobody has reused yet.

    What was reused counts as released `keep` seconds later than it was, so that a wrong bit costs a limited time.

    Paper: "Paging with Succinct Predictions", ICML 2023, arXiv:2210.02775.
    Differs: the bit is a rule instead of a trained predictor; among equal bits the least recently released goes first,
        instead of a random one.
    Needs: nothing.
    Use when: much of what is cached is used once, such as long documents beside shared system prompts.
    Avoid when: everything is reused equally often, or content changes quickly: then lru is as good.
    """

    keep: float = 600.0  # s that reused content outlives content that was used once

    def __post_init__(self) -> None:
        if not 0.0 <= self.keep < math.inf:
            raise InputError(f"keep is {self.keep}: it must be a number of seconds from 0 on")

    def score(self, segment: Segment, now: float) -> float:
        """The release (s), later by `keep` where the bit says keep."""
        return now + self.keep if segment.kind == SHARED and segment.reuses > 0 else now
