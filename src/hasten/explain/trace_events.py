"""A run as Chrome trace events, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

A process per rank with a slice per step or jump and counters of running and waiting requests and KV blocks; every
request is an asynchronous slice with its phases, one in each pool where there are two, and its KV a slice on the link
of the replica that sends it. Times are microseconds, as the format wants them.
"""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hasten.explain.labels import REFUSALS
from hasten.explain.timeline import RankLog, RunLog, name_of
from hasten.report.files import write_whole
from hasten.report.records import Records

MICRO = 1e6


def trace_events(records: Records, log: RunLog) -> Iterator[dict[str, Any]]:
    """All events of a run."""
    for pid, rank in enumerate(log.ranks):
        yield {"ph": "M", "pid": pid, "tid": 0, "name": "process_name", "args": {"name": name_of(rank)}}
        yield {"ph": "M", "pid": pid, "tid": 0, "name": "thread_name", "args": {"name": "steps"}}
        yield from _steps(pid, rank)
    home = {chunk[1]: pid for pid, rank in reversed([*enumerate(log.ranks)]) for chunk in rank.chunks}
    yield from _requests(records, log, home)
    yield from _transfers(log)


def _steps(pid: int, rank: RankLog) -> Iterator[dict[str, Any]]:
    prefill: dict[int, int] = {}
    for row, _, tokens, _, _ in rank.chunks:
        prefill[row] = prefill.get(row, 0) + tokens
    for at, (begin, end, steps, decodes, context, _, refusal, waiting, running, blocks, _) in enumerate(
        rank.rows
    ):
        common = {"pid": pid, "tid": 0, "ts": begin * MICRO}
        if steps:
            tokens = prefill.get(at, 0)
            parts = [f"prefill {tokens}"] if tokens else []
            parts += [f"decode {decodes}"] if decodes else []
            parts += [f"x {steps}"] if steps > 1 else []
            args: dict[str, Any] = {
                "steps": steps,
                "prefill_tokens": tokens,
                "decodes": decodes,
                "context_tokens": context,
            }
            if waiting:
                args |= {"head_waits_for": REFUSALS[refusal]}
            yield {
                **common,
                "ph": "X",
                "dur": (end - begin) * MICRO,
                "name": " ".join(parts),
                "cat": "step",
                "args": args,
            }
        yield {**common, "ph": "C", "name": "requests", "args": {"running": running, "waiting": waiting}}
        yield {**common, "ph": "C", "name": "KV blocks", "args": {"held": blocks}}


def _requests(records: Records, log: RunLog, home: dict[int, int]) -> Iterator[dict[str, Any]]:
    places = {rank.replica: pid for pid, rank in enumerate(log.ranks)}
    columns = (records.id, records.arrival, records.scheduled, records.first_token, records.finish)
    for row in zip(*(column[records.is_ok].tolist() for column in columns), strict=True):
        request, arrival, scheduled, first, finish = row
        way = log.handovers.get(request)
        started = [("queue", arrival), ("prefill", scheduled)]
        if way is None:
            yield from _life(request, home.get(request, 0), [*started, ("decode", first), ("", finish)])
            continue
        yield from _life(request, places[way.sender], [*started, ("", first)])
        waits = [("decode queue", way.at)]
        if way.travels:
            waits += [("waits for the link", way.pulled), ("KV transfer", way.begins)]
        goes_on = way.arrives if way.travels else way.at
        yield from _life(request, places[way.receiver], [*waits, ("decode", goes_on), ("", finish)])


def _life(request: int, pid: int, phases: list[tuple[str, float]]) -> Iterator[dict[str, Any]]:
    """A request on one replica: its phases by their beginnings (s), the last of which is the end."""
    common = {"cat": "request", "id": request, "pid": pid, "tid": 0}
    name = f"request {request}"
    yield {**common, "ph": "b", "name": name, "ts": phases[0][1] * MICRO}
    for (phase, begin), (_, end) in itertools.pairwise(phases):
        if end > begin:
            yield {**common, "ph": "b", "name": phase, "ts": begin * MICRO}
            yield {**common, "ph": "e", "name": phase, "ts": end * MICRO}
    yield {**common, "ph": "e", "name": name, "ts": phases[-1][1] * MICRO}


def _transfers(log: RunLog) -> Iterator[dict[str, Any]]:
    """KV on the link of its sender, which carries one request's at a time."""
    places = {rank.replica: pid for pid, rank in enumerate(log.ranks)}
    for pid in sorted({places[way.sender] for way in log.handovers.values()}):
        yield {"ph": "M", "pid": pid, "tid": 1, "name": "thread_name", "args": {"name": "KV link"}}
    for request, way in log.handovers.items():
        if way.travels:
            yield {
                "ph": "X",
                "pid": places[way.sender],
                "tid": 1,
                "ts": way.begins * MICRO,
                "dur": (way.arrives - way.begins) * MICRO,
                "name": f"request {request} to {log.ranks[places[way.receiver]].role} {way.receiver}",
                "cat": "transfer",
                "args": {"waited_ms": (way.begins - way.pulled) * 1e3},
            }


def write_trace_events(path: Path, records: Records, log: RunLog) -> None:
    """Write a .json file, or .json.gz, in full or not at all."""
    with write_whole(path) as temporary:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(temporary, "wt", encoding="utf-8") as file:
            file.write('{"displayTimeUnit": "ms", "traceEvents": [\n')
            for number, event in enumerate(trace_events(records, log)):
                file.write((",\n" if number else "") + json.dumps(event))
            file.write("\n]}\n")
