"""A scheduler without a clock: steps taken one by one, and requests made in a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hasten.core.batch import Batch
from hasten.core.limits import Limits
from hasten.core.policy import SchedulingPolicy
from hasten.core.request import Request
from hasten.core.scheduler import Scheduler


def scheduler(num_blocks: int = 1000, policy: SchedulingPolicy | None = None, **limits: Any) -> Scheduler:
    """First come, first served, with vLLM's rules unless `limits` say otherwise. Blocks of 16 tokens."""
    return Scheduler(Limits(num_blocks=num_blocks, **limits), policy or SchedulingPolicy())


def request(id: int, prompt: int, cap: int = 1000, **more: Any) -> Request:
    """Request number `id`, which arrived at second `id`; `blocks` are prefix ids of 16 tokens each."""
    blocks: Sequence[int] = more.pop("blocks", ())
    return Request(
        id, float(id), prompt, cap, block_ids=tuple(blocks), block_tokens=16 if blocks else 0, **more
    )


def add(core: Scheduler, *requests: Request) -> None:
    """Queue all of `requests` now."""
    for each in requests:
        assert core.add(each, core.now)


def step(core: Scheduler, stopped: Sequence[Request] = ()) -> Batch | None:
    """Schedule a step and complete it; `stopped` end with it. Returns what it ran."""
    batch = core.schedule(core.now + 1.0)
    if batch is not None:
        core.complete(core.now, stopped)
    return batch


def chunks(batch: Batch | None) -> list[tuple[int, int, int]]:
    """(request, first token, end) of every prefill chunk of a step."""
    assert batch is not None
    return [(chunk.request.id, chunk.context, chunk.context + chunk.tokens) for chunk in batch.prefills]
