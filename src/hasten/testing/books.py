"""The scheduler's books, counted again from its requests and blocks."""

from __future__ import annotations

from hasten.core.request import (
    BLANK,
    CLOSING,
    DECODING,
    HELD,
    LOADING,
    PREFILLING,
    WAITING,
    Request,
    Segment,
)
from hasten.core.scheduler import Scheduler
from hasten.testing.broken import LawBroken


def check_books(scheduler: Scheduler) -> None:
    """Recount KV blocks, the decode group and the queues of `scheduler`, between two of a driver's calls.

    Law: free + held = total, where shared blocks are counted once; every sum that the scheduler keeps equals its
    terms. Raises LawBroken (`books`) with both figures.
    """
    running = list(scheduler.running.values())
    holders = running + list(scheduler.exported.values())
    _check_blocks(scheduler, holders)
    _check_cache(scheduler, holders)
    _check_group(scheduler, running)
    _check_queues(scheduler, running)


def _equal(scheduler: Scheduler, what: str, kept: float, counted: float) -> None:
    if kept != counted:
        raise LawBroken(
            "books", f"{what}: the scheduler says {kept:,}, recounted {counted:,} (at {scheduler.now:.6g} s)"
        )


def _check_blocks(scheduler: Scheduler, running: list[Request]) -> None:
    size = scheduler.limits.block_size
    pool = scheduler.pool
    shared: dict[int, Segment] = {}
    private = 0
    for request in running:
        own = -(-scheduler.context_of(request) // size) - request.shared
        if own < 0:
            raise LawBroken(
                "books",
                f"request {request.id} shares {request.shared} KV blocks and has tokens for {own + request.shared}",
            )
        private += own
        for segment in request.segments:
            shared[id(segment)] = segment
    held = private + sum(segment.blocks for segment in shared.values())
    if pool.free + held != pool.num_blocks or pool.free < 0:
        raise LawBroken(
            "books",
            f"KV blocks: {pool.free:,} free + {held:,} held = {pool.free + held:,} of {pool.num_blocks:,} "
            f"(at {scheduler.now:.6g} s, {len(running)} running)",
        )


def _check_cache(scheduler: Scheduler, running: list[Request]) -> None:
    users: dict[int, int] = {}
    for request in running:
        for segment in (each for each in request.segments if each.kind != BLANK):
            users[id(segment)] = users.get(id(segment), 0) + 1
    cached = 0
    for key, segment in scheduler.pool.index.items():
        _equal(scheduler, f"users of cached prefix {key}", segment.users, users.pop(id(segment), 0))
        if segment.blocks < 1:
            raise LawBroken(
                "books", f"cached prefix {key} has {segment.blocks} blocks (at {scheduler.now:.6g} s)"
            )
        cached += 0 if segment.users else segment.blocks
    _equal(scheduler, "shared segments in use that the cache doesn't know", 0, len(users))
    if cached > scheduler.pool.free:
        raise LawBroken(
            "books", f"{cached:,} evictable cached blocks, but only {scheduler.pool.free:,} are free"
        )


def _check_group(scheduler: Scheduler, running: list[Request]) -> None:
    group = [request for request in running if request.status == DECODING]
    context = sum(scheduler.context_of(request) for request in group)
    _equal(scheduler, "sequences that decode", scheduler.group.size, len(group))
    _equal(scheduler, "their tokens in KV", scheduler.group.context, context)
    for request in group:
        if scheduler.sampled_tokens(request) > request.max_tokens:
            raise LawBroken(
                "books",
                f"request {request.id} samples token {scheduler.sampled_tokens(request)} of {request.max_tokens}",
            )


def _check_queues(scheduler: Scheduler, running: list[Request]) -> None:
    waiting = list(scheduler.waiting)
    _equal(scheduler, "waiting requests", len(scheduler.waiting), len({request.id for request in waiting}))
    for request in waiting:
        if request.status != WAITING or request.id in scheduler.running:
            raise LawBroken(
                "books", f"request {request.id} waits and runs at once (at {scheduler.now:.6g} s)"
            )
    for request in running:
        if request.status not in (PREFILLING, DECODING, CLOSING, HELD, LOADING):
            raise LawBroken("books", f"request {request.id} holds a slot with status {request.status}")
    prefilling = sum(request.status == PREFILLING for request in running)
    _equal(scheduler, "prompts under way", len(scheduler.prefilling), prefilling)
    _equal(
        scheduler, "held requests", len(scheduler.held), sum(request.status == HELD for request in running)
    )
    reserved = sum(request.reserved for request in running)
    _equal(scheduler, "reserved blocks", scheduler.reserved_blocks, reserved)
