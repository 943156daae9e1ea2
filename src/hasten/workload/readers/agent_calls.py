"""Calls of recorded agent sessions (CSV): session, step, start_s, end_s, prompt_tokens, output_tokens; sidechain.

One row per call to the model, times in seconds from the start of its session (the layout in which the AgentCgroup
logs, arXiv:2602.09345, are measured). A call waits for the one before it in its chain; what lies between the end of
one and the start of the next is the tools' time. Sessions were recorded one at a time: they are given Poisson
arrivals at `programs_per_s`. A prompt begins with the text of the call before it as far as lengths allow.
"""

from collections.abc import Iterator

import numpy as np

from hasten.errors import InputError
from hasten.workload.arrivals import Poisson
from hasten.workload.heads import csv_columns
from hasten.workload.programs import BLOCK_TOKENS
from hasten.workload.rows import BadRow, Row, seconds, tokens, whole
from hasten.workload.source import Source
from hasten.workload.streams import stream
from hasten.workload.workload import Workload

NAME = "agent_calls"

_COLUMNS = ("session", "step", "start_s", "end_s", "prompt_tokens", "output_tokens")


def detect(head: str, path: str) -> bool:
    """True for a CSV header with the six columns."""
    return csv_columns(head).issuperset(_COLUMNS)


def read(source: Source) -> Iterator[Row]:
    """Yield one row per call, a session's calls by their start."""
    calls: dict[str, list[tuple[float, float, Row]]] = {}
    for line, cells in source.csv_rows(_COLUMNS, ("sidechain",)):
        with source.row(line):
            session, step, start, end, prompt, output, sidechain = cells
            begin, stop = seconds("start_s", start), seconds("end_s", end)
            if stop < begin:
                raise BadRow(f"is before start_s = {begin:g}", field="end_s", value=stop)
            name = (session, sidechain or "0", whole("step", step))
            row = Row(line, 0.0, tokens("prompt_tokens", prompt), tokens("output_tokens", output))
            chain = row._replace(session=session, turn_id=name)
            calls.setdefault(str(session), []).append((begin, stop, chain))
    for rows in calls.values():
        yield from _linked(rows)


def _linked(rows: list[tuple[float, float, Row]]) -> Iterator[Row]:
    """The calls of one session: each follows the last call of its chain, a side chain's first the last that ended."""
    rows.sort(key=lambda each: (each[0], each[1]))
    last: dict[object, tuple[float, Row]] = {}
    for begin, end, row in rows:
        chain = row.turn_id[1] if isinstance(row.turn_id, tuple) else None
        before = last.get(chain) or max(last.values(), key=lambda each: each[0], default=None)
        if before is None:
            yield row
        else:
            yield row._replace(parent_id=before[1].turn_id, think_s=max(0.0, begin - before[0]))
        last[chain] = (end, row)


def adjust(
    workload: Workload, *, programs_per_s: float = 0.1, block_tokens: int = BLOCK_TOKENS, seed: int = 0
) -> Workload:
    """Poisson arrivals of the sessions, and block ids for the text that calls of a session share."""
    if workload.session is None or block_tokens < 1:
        raise InputError(f"block_tokens = {block_tokens}: give the tokens that one named block holds")
    starts = Poisson(programs_per_s).times(stream(seed, "arrivals"), int(workload.session.max()) + 1)
    order = np.argsort(workload.session, kind="stable")
    if (order != np.arange(len(order))).any():
        raise InputError("calls of one session stand apart after reading: give the file whole")
    ids, offsets = _blocks(workload, block_tokens)
    return workload.replaced(
        arrival=starts[workload.session],
        block_ids=ids,
        block_offsets=offsets,
        block_tokens=block_tokens,
        names_answers=True,
        note=f"Poisson arrivals of {programs_per_s:g} sessions/s, seed {seed}; shared text inferred from lengths",
    )


def _blocks(workload: Workload, size: int) -> tuple[list[int], list[int]]:
    texts: list[list[int]] = []
    lengths = (workload.prompt_tokens.astype(np.int64) + workload.output_tokens).tolist()
    parents = [-1] * len(lengths) if workload.parent is None else workload.parent.tolist()
    fresh = 0
    for row, prompt in enumerate(workload.prompt_tokens.tolist()):
        shared: list[int] = []
        if parents[row] >= 0:  # the answer is part of the next prompt unless that is too short to hold it
            before = lengths[parents[row]]
            common = before if before <= prompt else min(int(workload.prompt_tokens[parents[row]]), prompt)
            shared = texts[parents[row]][: common // size]
        more = lengths[row] // size - len(shared)
        texts.append([*shared, *range(fresh, fresh + more)])
        fresh += more
    offsets = np.concatenate(([0], np.cumsum([len(text) for text in texts]))).tolist()
    return [block for text in texts for block in text], offsets
