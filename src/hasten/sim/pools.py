"""Prefill and decode in pools of their own, in virtual time: prompts here, answers there, KV over links between.

A prompt's request ends with its first token, but its blocks stay. The same request, one token older, then waits at a
decode replica; when that admits it (when it has room: the decode side pulls), the transfer starts, and when the KV
has arrived the prompt's blocks are free and the answer goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from hasten.core.cluster import Cluster
from hasten.core.policy import RoutePolicy
from hasten.core.request import Request
from hasten.errors import InputError
from hasten.report.handover import Handover
from hasten.sim.loop import EngineLoop
from hasten.sim.recorder import OK, Recorder
from hasten.sim.replica import Replica
from hasten.sim.simulation import Simulation, streams
from hasten.sim.source import Source
from hasten.sim.steps import StepLog
from hasten.sim.transfer import Transfers


class Prompts(Source):
    """The requests of another source, each to end with its first token and to keep its KV. Remembers their caps."""

    def __init__(self, source: Source) -> None:
        super().__init__(source.total, source.listens)
        self.caps: dict[int, int] = {}
        self._source = source
        self.next_time = source.next_time

    def pop(self) -> tuple[Request, int]:
        """The request that arrives at `next_time`."""
        request, output_tokens = self._source.pop()
        self.next_time = self._source.next_time
        self.caps[request.id] = request.max_tokens
        request.max_tokens = 1
        request.exports = True
        return request, output_tokens

    def ended(self, request: Request, now: float) -> None:
        """`request` has its last token, or was turned away."""
        self._source.ended(request, now)
        self.next_time = self._source.next_time


class PullingReplica(Replica):
    """A decode replica. `pull(request, now)` is called for each request it has admitted, whose KV may now come."""

    pull: Callable[[Request, float], None]

    def turn(self) -> list[Request]:
        """A turn of the loop; then the KV of whoever was admitted is sent for."""
        now = self.next_time
        finished = super().turn()
        pulls = self.scheduler.pulls
        if pulls:
            self.scheduler.pulls = []
            for request in pulls:
                self.pull(request, now)
        return finished


def continued(prompt: Request, cap: int) -> Request:
    """The request whose prompt is computed and whose first token is out, as a decode replica sees it."""
    request = Request(
        prompt.id,
        prompt.arrival,
        prompt.prompt_tokens,
        cap,
        block_ids=prompt.block_ids,
        block_tokens=prompt.block_tokens,
        session=prompt.session,
        priority=prompt.priority,
        slo=prompt.slo,
    )
    request.block_ends = prompt.block_ends
    request.names_answer = prompt.names_answer
    request.tool = prompt.tool
    request.predicted_output = prompt.predicted_output
    request.sampled = 1
    request.target = prompt.prompt_tokens + 1
    request.incoming = prompt.prompt_tokens
    request.scheduled = prompt.scheduled
    request.first_token = request.last_token = prompt.first_token
    request.cached = prompt.cached
    request.preemptions = prompt.preemptions
    return request


class PooledSimulation(Simulation):
    """Replicas for prompts first, then replicas for answers. `decode_route` chooses among the latter."""

    def __init__(
        self,
        source: Source,
        pools: tuple[Sequence[EngineLoop], Sequence[PullingReplica]],
        recorder: Recorder,
        truth: dict[int, int],
        transfers: Transfers,
        *,
        decode_route: RoutePolicy | None = None,
        seed: int = 0,
        **policies: Any,
    ) -> None:
        prefill, decode = pools
        self.prompts = Prompts(source)
        super().__init__(self.prompts, prefill, recorder, truth, seed=seed, **policies)
        self.apart = False
        self.replicas: list[EngineLoop] = [*prefill, *decode]
        self.transfers = transfers
        self._first = len(prefill)  # index of the first decode replica
        self._decode = Cluster(
            [replica.ranks for replica in decode], decode_route or RoutePolicy(), random=streams(seed + 1)
        )
        self._sources: dict[int, tuple[Request, Handover]] = {}  # by id: the prompt's request, and its way
        self._log: StepLog | None = None
        for at, replica in enumerate(decode):
            replica.pull = partial(self._pull, at)

    def keep(self, log: StepLog, speeds: Sequence[float]) -> None:
        """Write every step to `log`, and every way from pool to pool. `speeds` are those of the replicas."""
        self._log = log
        for index, (replica, speed) in enumerate(zip(self.replicas, speeds, strict=True)):
            replica.keep(log, role="prefill" if index < self._first else "decode", speed=speed)

    def _finish(self, finished: list[Request], index: int, now: float) -> None:
        if index >= self._first:
            for request in finished:
                self._complete(request, index, now)
            return
        for request in finished:
            cap = self.prompts.caps.pop(request.id)
            if min(cap, self.truth[request.id]) <= 1:
                request.max_tokens = cap
                self._release(request, index, now)
                super()._finish([request], index, now)
            else:
                self.cluster.ended(request, index, 0)
                self._hand_over(request, cap, index, now)

    def _hand_over(self, prompt: Request, cap: int, index: int, now: float) -> None:
        """The prompt is computed: its answer waits for room at a decode replica."""
        request = continued(prompt, cap)
        if self._decode.reads_progress:
            for replica in self.replicas[self._first :]:
                replica.catch_up(now)
            self._refresh(range(self._first, len(self.replicas)))
        placed = self._decode.place(request, now)
        if placed < 0:
            raise InputError(
                f"decode_route {type(self._decode.route).__name__} keeps or refuses request {request.id}: its prompt "
                "is computed, so it has to choose a replica"
            )
        chosen = self._first + placed
        self._sources[request.id] = prompt, Handover(index, chosen, now)
        self.replicas[chosen].receive(request, now)
        self._refresh((chosen,))

    def _pull(self, receiver: int, request: Request, now: float) -> None:
        """A decode replica has room for `request`: its KV starts to travel."""
        prompt, way = self._sources[request.id]
        way.pulled = now
        block_size = self.replicas[self._first + receiver].ranks[0].limits.block_size
        tokens = request.computed - request.shared * block_size
        way.begins, way.arrives = self.transfers.start(way.sender, receiver, tokens, now)
        self.after(way.arrives, partial(self._arrived, request, prompt, way))

    def _arrived(self, request: Request, prompt: Request, way: Handover, now: float) -> None:
        self.replicas[way.receiver].receive(request, now)
        self._release(prompt, way.sender, now)
        self._refresh((way.receiver,))

    def _release(self, prompt: Request, sender: int, now: float) -> None:
        """The prompt's blocks are needed no more."""
        self.replicas[sender].receive(prompt, now)
        self._refresh((sender,))

    def _complete(self, request: Request, index: int, now: float) -> None:
        prompt, way = self._sources.pop(request.id)
        way.queued = request.drained
        if self._log is not None:
            self._log.handovers[request.id] = way
        request.drained = prompt.drained
        request.finish = now
        output = min(self.truth.pop(request.id), request.max_tokens)
        self.recorder.request(request, output, index, OK)
        self._decode.ended(request, index - self._first, output)
        self.cluster.learn(request, output)
        self.source.ended(request, now)
        self._ended += 1

    def _turn_away(self, replica: EngineLoop, now: float) -> None:
        if replica.index < self._first:
            super()._turn_away(replica, now)
            return
        for request in replica.turned_away:
            prompt, way = self._sources.pop(request.id)
            self._release(prompt, way.sender, now)
            self._decode.ended(request, replica.index - self._first, 0)
            self._reject(request, replica.index, now)
        replica.turned_away.clear()

    def _refresh(self, changed: Sequence[int]) -> None:
        for index in changed:
            self._times[index] = self.replicas[index].next_time
