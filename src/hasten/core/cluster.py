"""Replicas behind one door: admission, length prediction and routing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hasten.core.policy import HOLD, REFUSED, AdmitPolicy, LengthPredictor, RoutePolicy
from hasten.core.prefix import coarsen
from hasten.core.request import Request
from hasten.core.scheduler import Scheduler
from hasten.core.view import ClusterView, Estimates, LengthView, ReplicaView, Stream
from hasten.errors import InputError

__all__ = ["HOLD", "REFUSED", "Cluster"]


class Cluster:
    """Admit, predict a length, route. Sans-I/O: the driver says the time and carries the request."""

    def __init__(
        self,
        replicas: Sequence[Sequence[Scheduler]],
        route: RoutePolicy,
        *,
        random: Callable[[str], Stream],
        admit: AdmitPolicy | None = None,
        length: LengthPredictor | None = None,
        truth: Callable[[Request], int] | None = None,
        estimates: Estimates | None = None,
    ) -> None:
        self.route = route
        self.admit = admit if admit is not None and type(admit).decide is not AdmitPolicy.decide else None
        self.length = length
        self.views = [ReplicaView(index, ranks) for index, ranks in enumerate(replicas)]
        self.view = ClusterView(self.views, random("route"), estimates)
        self._block_size = min(rank.limits.block_size for ranks in replicas for rank in ranks)
        self._length_view: LengthView = _Lengths(self.view, random("length"), truth)
        self.reads_progress = (len(replicas) > 1 and route.reads_progress) or self.admit is not None
        learns = length is not None and type(length).on_finish is not LengthPredictor.on_finish
        watches = learns or self.admit is not None or (len(replicas) > 1 and route.reads_load)
        self.independent = not watches  # what one replica does changes nothing for the others

    def place(self, request: Request, now: float) -> int:
        """The index of the replica that serves `request`, or REFUSED, or HOLD: then ask `dispatch` later."""
        view = self.view
        view.now = now
        if request.block_tokens and request.block_tokens < self._block_size:
            coarsen(request, self._block_size)
        if self.length is not None:
            request.predicted_output = self.length.predict(request, self._length_view)
        if self.admit is not None and not self.admit.decide(request, view):
            return REFUSED
        return self.dispatch(request, now)

    def dispatch(self, request: Request, now: float) -> int:
        """Ask the router alone about a request that was let in: an index, REFUSED, or HOLD."""
        view = self.view
        view.now = now
        views = self.views
        index = self.route.choose(request, view) if len(views) > 1 else 0
        if 0 <= index < len(views):
            chosen = views[index]
            chosen.outstanding += 1
            chosen.outstanding_tokens += request.prompt_tokens
        elif index not in (HOLD, REFUSED):
            raise InputError(
                f"route policy {type(self.route).__name__} chose replica {index} for request {request.id}: "
                f"there are {len(views)}, counted from 0"
            )
        return index

    def ended(self, request: Request, index: int, output_tokens: int) -> None:
        """`request` left replica `index`: finished, cancelled or turned away, after `output_tokens` tokens."""
        chosen = self.views[index]
        chosen.outstanding -= 1
        chosen.outstanding_tokens -= request.prompt_tokens
        if self.length is not None:
            self.learn(request, output_tokens)

    def learn(self, request: Request, output_tokens: int) -> None:
        """The true length of the answer to `request` became known; 0: it was cut off."""
        if self.length is not None and output_tokens > 0:
            self.length.on_finish(request, output_tokens)


class _Lengths:
    """The view of length predictors: the one place where the truth can be asked for."""

    def __init__(self, view: ClusterView, random: Stream, truth: Callable[[Request], int] | None) -> None:
        self._view = view
        self.random = random
        self._truth = truth

    @property
    def now(self) -> float:
        return self._view.now

    def truth(self, request: Request) -> int:
        if self._truth is None:
            raise RuntimeError("only a simulation knows the true output length: use another length predictor")
        return self._truth(request)
