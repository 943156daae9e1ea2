"""The decisions a published method may change: one small base class per role, each with a working default.

A policy proposes; the scheduler checks budget and KV capacity and disposes. It holds its own state and sees the
world through a read-only view, whose `now` is the only time it knows. A new policy is one file in
`hasten/policies/<role>/` (or anywhere: pass an instance, or a path to the file).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Final

from hasten.core.request import Request, Segment
from hasten.core.view import ClusterView, LengthView, SchedulerView

FOREVER: Final = 1152921504606846976  # 2**60 steps
"""A horizon in steps for rules that depend on neither time nor progress."""


@dataclass
class SchedulingPolicy:
    """Who goes next, how many tokens, who is evicted. Default: first come, first served.

    The flags tell the scheduler what it may take for granted; the defaults are safe for any subclass. The last two
    may depend on parameters: a class attribute or a property overrides them.
    """

    mixes_steps: ClassVar[bool] = True  # prefill chunks and decodes may share a step
    rank_changes: ClassVar[bool] = True  # a waiting request's rank can change while it waits

    @property
    def holds_batch(self) -> bool:
        """Whether finished requests stay until the whole batch has finished."""
        return False

    @property
    def may_starve(self) -> bool:
        """Whether a request may wait for ever, by design."""
        return False

    def rank(self, request: Request, view: SchedulerView) -> float:
        """Order of the waiting queue: the smallest goes first, ties by arrival."""
        return request.arrival

    def admits(self, view: SchedulerView) -> bool:
        """Whether new requests may enter in this step. Preempted ones come back without asking."""
        return True

    def chunk(self, request: Request, wanted: int, view: SchedulerView) -> int:
        """Prompt tokens to compute in this step, at most `wanted`; 0 keeps the request waiting."""
        return wanted

    def victim(self, view: SchedulerView) -> Request | None:
        """Which running request loses its KV when blocks run out. None: the engine's own rule."""
        return None

    def horizon(self, view: SchedulerView) -> int:
        """For how many steps the refusal of the waiting requests is sure to last, if nothing arrives or finishes.

        1 is always correct. A rule that depends on neither time nor progress may return FOREVER.
        """
        return 1

    def wakes_at(self, view: SchedulerView) -> float:
        """The time (seconds) at which `admits` or `chunk` may change its mind by itself. Infinity: never."""
        return math.inf

    def on_arrival(self, request: Request, view: SchedulerView) -> None:
        """A request joined the waiting queue."""

    def on_finish(self, request: Request, view: SchedulerView) -> None:
        """A request finished here."""


@dataclass
class CachePolicy:
    """Which cached KV blocks stay. Default: least recently released goes first."""

    def score(self, segment: Segment, now: float) -> float:
        """Rank among the evictable when nobody holds `segment` any more: the smallest is evicted first."""
        return now

    def on_reuse(self, segment: Segment, now: float) -> None:
        """A request reuses `segment`."""

    def on_release(self, request: Request, now: float) -> None:
        """`request` lets go of its blocks, because it finished (its status says so) or lost them; scores follow."""


REFUSED, HOLD = -1, -2
"""What a router may answer instead of a replica: turn the request away, or keep it and be asked again."""


@dataclass
class RoutePolicy:
    """Which replica serves a request. Default: in turn."""

    reads_progress: ClassVar[bool] = True  # looks at KV use, caches or decode progress, not at counts alone
    reads_load: ClassVar[bool] = True  # looks at what replicas have to do at all, not at who comes alone

    @property
    def retry(self) -> float:
        """Seconds (above 0) after which a request that was put on HOLD is asked about again."""
        return 0.002

    def choose(self, request: Request, view: ClusterView) -> int:
        """Index into `view.replicas`; or REFUSED or HOLD. With one replica nobody asks."""
        return request.id % len(view.replicas)


ACCEPT, REJECT = True, False


@dataclass
class AdmitPolicy:
    """Whether a request may enter at all. Default: always."""

    def decide(self, request: Request, view: ClusterView) -> bool:
        """ACCEPT or REJECT."""
        return ACCEPT


@dataclass
class LengthPredictor:
    """How many tokens the answer will have."""

    def predict(self, request: Request, view: LengthView) -> float:
        """Expected output tokens."""
        return float(request.max_tokens)

    def on_finish(self, request: Request, output_tokens: int) -> None:
        """The true length became known."""
