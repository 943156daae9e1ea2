"""A run as Chrome trace events, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

A process per rank with a slice per step or jump and counters of running and waiting requests and KV blocks; every
request is an asynchronous slice with its phases. Times are microseconds, as the format wants them.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hasten.explain.labels import REFUSALS
from hasten.explain.timeline import RankLog, RunLog
from hasten.report.files import write_whole
from hasten.report.records import Records

MICRO = 1e6


def trace_events(records: Records, log: RunLog) -> Iterator[dict[str, Any]]:
    """All events of a run."""
    for pid, rank in enumerate(log.ranks):
        name = f"replica {rank.replica}"
        yield {"ph": "M", "pid": pid, "tid": 0, "name": "process_name", "args": {"name": name}}
        yield {"ph": "M", "pid": pid, "tid": 0, "name": "thread_name", "args": {"name": "steps"}}
        yield from _steps(pid, rank)
    home = {chunk[1]: pid for pid, rank in enumerate(log.ranks) for chunk in rank.chunks}
    yield from _requests(records, home)


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


def _requests(records: Records, home: dict[int, int]) -> Iterator[dict[str, Any]]:
    columns = (records.id, records.arrival, records.scheduled, records.first_token, records.finish)
    for row in zip(*(column[records.is_ok].tolist() for column in columns), strict=True):
        request, *times = row
        common = {"cat": "request", "id": request, "pid": home.get(request, 0), "tid": 0}
        yield {**common, "ph": "b", "name": f"request {request}", "ts": times[0] * MICRO}
        for name, begin, end in zip(("queue", "prefill", "decode"), times, times[1:], strict=False):
            yield {**common, "ph": "b", "name": name, "ts": begin * MICRO}
            yield {**common, "ph": "e", "name": name, "ts": end * MICRO}
        yield {**common, "ph": "e", "name": f"request {request}", "ts": times[-1] * MICRO}


def write_trace_events(path: Path, records: Records, log: RunLog) -> None:
    """Write a .json file, or .json.gz, in full or not at all."""
    with write_whole(path) as temporary:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(temporary, "wt", encoding="utf-8") as file:
            file.write('{"displayTimeUnit": "ms", "traceEvents": [\n')
            for number, event in enumerate(trace_events(records, log)):
                file.write((",\n" if number else "") + json.dumps(event))
            file.write("\n]}\n")
