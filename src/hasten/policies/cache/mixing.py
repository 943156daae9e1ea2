"""Several rules of eviction at once, each tried on paper; the one that would have lost least decides."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from hasten.core.policy import CachePolicy
from hasten.core.request import SHARED, Segment
from hasten.errors import InputError

_RULES = 3
_MOST_KEYS = 200_000  # names whose uses are remembered


class Ghost:
    """What a cache would hold under one rule: names and their blocks, evicted from the smallest score on."""

    def __init__(self) -> None:
        self.held: dict[int, tuple[int, int]] = {}  # name -> blocks, number of its entry
        self._queue: list[tuple[float, int, int]] = []  # score, number, name
        self._blocks = 0
        self._entries = 0

    def touch(self, key: int, blocks: int, score: float, size: int) -> int:
        """A use of `blocks` blocks named `key` in a cache of `size` blocks; returns how many of them were missing."""
        found = self.held.get(key, (0, 0))[0]
        self._entries += 1
        self._blocks += blocks - found
        self.held[key] = blocks, self._entries
        heappush(self._queue, (score, self._entries, key))
        while self._blocks > size:
            _, entry, victim = heappop(self._queue)
            has, current = self.held.get(victim, (0, 0))
            if current == entry:
                del self.held[victim]
                self._blocks -= has
        if len(self._queue) > 64 + 2 * len(self.held):
            self._queue = [item for item in self._queue if self.held.get(item[2], (0, 0))[1] == item[1]]
            heapify(self._queue)
        return max(0, blocks - found)


class FixedShare:
    """Weights of rules by what they lost: w <- (1 - share) w exp(-rate loss) + share / rules, in sum 1."""

    def __init__(self, rules: int, rate: float, share: float) -> None:
        self.weights = [1.0 / rules] * rules
        self.rate = rate
        self.share = share

    def lose(self, losses: list[float]) -> None:
        """Every rule lost so much on one use."""
        least = min(losses)
        if max(losses) == least:
            return  # nobody did better
        found = [
            w * math.exp(-self.rate * (loss - least)) for w, loss in zip(self.weights, losses, strict=True)
        ]
        total = sum(found)
        even = self.share / len(found)
        self.weights = [(1.0 - self.share) * w / total + even for w in found]

    @property
    def leader(self) -> int:
        """The rule with the largest weight, the first of equals."""
        return self.weights.index(max(self.weights))


@dataclass
class Mixing(CachePolicy):
    """Try three rules of eviction on ghosts of the cache, and follow the one with the fewest misses of late.

    The rules: least recently used; what was reused stays `keep` seconds longer (one bit); what was used often stays
    longer, `keep` seconds per doubling. A ghost holds names only, as many blocks as the cache was seen to hold.

    Paper: "Mixing Predictions for Online Metric Algorithms", ICML 2023, arXiv:2304.01781.
    Differs: follows the leader instead of rounding a fractional mix; what was ranked under an earlier leader keeps its
        rank until it is used again; learns the size of the cache from what it holds.
    Needs: nothing.
    Use when: no single rule is known to be right, or the traffic changes its nature.
    Avoid when: one rule is known to be best: mixing loses a little to it, and keeps books on three ghosts.
    """

    keep: float = 600.0  # s that one reuse, or a doubling of uses, is worth
    rate: float = 0.05  # how fast a rule loses weight, per KV block missed in excess of the best rule
    share: float = 0.001  # of all weight that is dealt out evenly at every use
    _mix: FixedShare = field(init=False, repr=False, compare=False)
    _ghosts: list[Ghost] = field(init=False, repr=False, compare=False)
    _uses: dict[int, int] = field(default_factory=dict, init=False, repr=False, compare=False)
    _live: list[Segment] = field(default_factory=list, init=False, repr=False, compare=False)
    _size: int = field(default=0, init=False, repr=False, compare=False)  # KV blocks
    _next_count: int = field(default=16, init=False, repr=False, compare=False)  # segments

    def __post_init__(self) -> None:
        if not 0.0 <= self.keep < math.inf:
            raise InputError(f"keep is {self.keep}: it must be a number of seconds from 0 on")
        for name in ("rate", "share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(f"{name} is {getattr(self, name)}: it must be from 0 to 1")
        self._mix = FixedShare(_RULES, self.rate, self.share)
        self._ghosts = [Ghost() for _ in range(_RULES)]

    def score(self, segment: Segment, now: float) -> float:
        """By the rule that leads (s); a use of `segment` ended now, from which all rules learn."""
        if segment.kind != SHARED:
            return now
        uses = self._uses.get(segment.key, 0) + 1
        if len(self._uses) >= _MOST_KEYS:
            self._uses.clear()
        self._uses[segment.key] = uses
        scores = (now, now + (self.keep if uses > 1 else 0.0), now + self.keep * math.log2(uses))
        self._count(segment)
        missed = [
            float(ghost.touch(segment.key, segment.blocks, score, self._size))
            for ghost, score in zip(self._ghosts, scores, strict=True)
        ]
        self._mix.lose(missed)
        return scores[self.rule]

    @property
    def rule(self) -> int:
        """The rule that decides: 0 recency, 1 one bit, 2 frequency."""
        return self._mix.leader

    def _count(self, segment: Segment) -> None:
        """Learn how much the cache holds: the evicted have no blocks left. Recounted whenever their list doubles."""
        self._live.append(segment)
        if len(self._live) >= self._next_count:
            self._live = list({id(each): each for each in self._live if each.blocks}.values())
            self._size = max(self._size, sum(each.blocks for each in self._live))
            self._next_count = 2 * len(self._live) + 16
        self._size = max(self._size, segment.blocks)
