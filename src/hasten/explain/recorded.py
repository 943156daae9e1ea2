"""A recorded run of our own engine explained: the same labels, from the steps it took by the wall clock.

The recording is replayed through the core, which decides the same again and so says why it let the queue wait. What
a step would have taken without some of its chunks is estimated by a straight line fitted to the recorded steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hasten.core.batch import Batch
from hasten.core.request import Request
from hasten.core.scheduler import Scheduler
from hasten.engine.policies import Policies
from hasten.engine.recording import Recording
from hasten.engine.replay import replay
from hasten.errors import InputError
from hasten.explain.attribution import Attribution, Costs, attribute
from hasten.explain.timeline import RankLog
from hasten.latency import LinearCost
from hasten.report.records import Records
from hasten.sim.steps import RankSteps, StepLog

NOTES = (
    "a step ends where the next turn of the engine begins: tokens left it a little earlier",
    "the parts of a decode step (weights, KV, launches, host) can't be told apart from outside: decode is one label",
    "what chunks of one step add to each other is estimated by a line fitted to the recorded steps",
)
"""What an explanation of a recorded run can't know."""


class _Watcher:
    """Keeps the steps of a replay and the records of who was served."""

    def __init__(self) -> None:
        self.log = StepLog()
        self.rows: list[tuple[Any, ...]] = []
        self._first: dict[int, float] = {}

    def begins(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.steps = RankSteps(0, scheduler)
        self.log.ranks.append(self.steps)

    def decided(self, batch: Batch | None, now: float) -> None:
        self.steps.decided(batch, now)

    def ended(self, now: float) -> None:
        for chunk in self._scheduler.in_flight[0].prefills:
            if chunk.is_last:
                self._first.setdefault(chunk.request.id, now)
        self.steps.ended(now)

    def finished(self, request: Request, tokens: int, now: float) -> None:
        times = request.arrival, request.drained, request.scheduled, self._first[request.id], now
        counts = request.prompt_tokens, tokens, request.cached, request.preemptions
        self.rows.append((request.id, *times, *counts))


def explain_recording(recording: Recording, policies: Policies) -> tuple[Attribution, StepLog]:
    """Label the life of every request that a recorded run served in full. `policies` are those it ran under.

    Raises ReplayDiffers when the core decides otherwise than it did, InputError when nobody was served.
    """
    watcher = _Watcher()
    replay(recording, policies, watcher)
    if not watcher.rows:
        raise InputError(
            "the recording holds no request that was served in full: there is nothing to explain"
        )
    names = ("id", "arrival", "queued", "scheduled", "first_token", "finish")
    counts = ("prompt_tokens", "output_tokens", "cached_tokens", "preemptions")
    columns: dict[str, Any] = dict(zip((*names, *counts), zip(*watcher.rows, strict=True), strict=True))
    records = Records(**columns)
    found = attribute(records, watcher.log, Costs(fitted(watcher.steps)))
    return Attribution(found.records, found.to_first, found.after_first, notes=NOTES), watcher.log


def fitted(steps: RankLog) -> LinearCost:
    """Step times as a line in decodes, their context, prefill tokens and theirs, fitted to rows; nothing negative."""
    rows = [row for row in steps.rows if row[2]]
    prefill = {at: [0, 0] for at in range(len(steps.rows))}
    for row, _, tokens, context, _ in steps.chunks:
        prefill[row][0] += tokens
        prefill[row][1] += context
    shapes = [(1.0, row[3], row[4], *prefill[at]) for at, row in enumerate(steps.rows) if row[2]]
    features, seconds = np.array(shapes, dtype=np.float64), np.array([row[1] - row[0] for row in rows])
    weights = 1.0 / np.maximum(seconds, 1e-9)  # relative errors count
    used = list(range(features.shape[1]))
    while True:
        found, *_ = np.linalg.lstsq(features[:, used] * weights[:, None], seconds * weights, rcond=None)
        if (found >= 0.0).all() or len(used) == 1:
            break
        used.pop(int(np.argmin(found)))
    values = dict(zip(used, np.maximum(found, 0.0).tolist(), strict=True))
    return LinearCost(
        values.get(0, 0.0),
        per_sequence=values.get(1, 0.0),
        per_context=values.get(2, 0.0),
        per_prefill_token=values.get(3, 0.0),
        per_prefill_context=values.get(4, 0.0),
    )
