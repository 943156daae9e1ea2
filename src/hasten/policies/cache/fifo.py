"""First in, first out."""

from dataclasses import dataclass

from hasten.core.policy import CachePolicy
from hasten.core.request import BLANK, Segment


@dataclass
class Fifo(CachePolicy):
    """Evict the cached blocks that were computed longest ago, however often they were reused since.

    Paper: none; the textbook baseline of LRU.
    Differs: blocks without content are queued by their release, as in LRU, so that only reuse makes the difference.
    Needs: nothing.
    Use when: a baseline for rules that look at reuse is needed.
    Avoid when: content is reused: lru keeps what is in use.
    """

    def score(self, segment: Segment, now: float) -> float:
        """When the content was computed (s)."""
        return now if segment.kind == BLANK else segment.created
