"""What a step of the core means for whoever runs it, or compares it."""

from __future__ import annotations

from typing import NamedTuple

from hasten.core.batch import Batch
from hasten.core.request import CLOSING, DECODING, Request
from hasten.core.scheduler import Scheduler


def decoding(scheduler: Scheduler, batch: Batch) -> list[Request]:
    """The sequences that decode in `batch`, just scheduled, in the order of their admission; padding left out."""
    if not batch.num_decodes:
        return []
    clock = batch.clock
    return [
        request
        for request in scheduler.running.values()
        if request.joined < clock
        and (request.status == DECODING or (request.status == CLOSING and request.left == clock))
    ]


class Decision(NamedTuple):
    """What the core decided for one step, by request ids: chunks as (request, tokens, context)."""

    chunks: tuple[tuple[int, int, int], ...]
    decodes: tuple[int, ...]
    decode_context: int
    padding: int
    preempted: tuple[int, ...]
    closing: tuple[int, ...]


def decision(batch: Batch, decodes: list[Request]) -> Decision:
    """The decision behind `batch`."""
    return Decision(
        tuple((chunk.request.id, chunk.tokens, chunk.context) for chunk in batch.prefills),
        tuple(request.id for request in decodes),
        batch.decode_context,
        batch.padding,
        tuple(request.id for request in batch.preempted or ()),
        tuple(request.id for request in batch.closing or ()),
    )
