"""Which request continues which conversation, and how long the user thought."""

from typing import Any

import numpy as np

from hasten.errors import InputError
from hasten.workload.columns import Ints
from hasten.workload.workload import Workload

MIN_SHARED_BLOCKS = 2  # one shared block is a system prompt more often than a conversation


def with_sessions(workload: Workload, *, seconds_per_token: float = 0.0) -> Workload:
    """Turns that wait for their parents; see `Workload.as_sessions`."""
    if not 0 <= seconds_per_token < np.inf:
        raise InputError(f"seconds_per_token = {seconds_per_token} must be finite seconds, 0 or more")
    if workload.has_sessions:
        return workload
    if workload.parent is not None:
        parent, how = workload.parent, "links of the trace"
    elif workload.session is not None:
        parent, how = parents_from_sessions(workload.session), "sessions of the trace"
    elif workload.block_ids is not None:
        parent, how = parents_from_blocks(workload), "shared prefix blocks"
    else:
        raise InputError("nothing links the requests: as_sessions needs parents, sessions or prefix blocks")
    gap = np.where(parent >= 0, workload.arrival - workload.arrival[parent], 0.0)
    service = np.where(parent >= 0, workload.output_tokens[parent] * seconds_per_token, 0.0)
    return workload.replaced(
        parent=parent,
        session=roots(parent) if workload.session is None else workload.session,
        think_s=np.maximum(gap - service, 0.0),
        note=f"{int((parent >= 0).sum())} follow-up turns by {how}, think time = recorded gap"
        + (f" less {seconds_per_token:g} s per output token of the parent" if seconds_per_token else ""),
    )


def parents_from_sessions(session: Ints) -> Ints:
    """The row before in the same session, -1 for a first turn or no session."""
    parent = np.full(len(session), -1, dtype=np.int32)
    order = np.argsort(session, kind="stable")
    same = (session[order][1:] == session[order][:-1]) & (session[order][1:] >= 0)
    parent[order[1:][same]] = order[:-1][same]
    return parent


def parents_from_blocks(workload: Workload) -> Ints:
    """The row whose conversation each row continues, read from prefix blocks; -1 for none.

    The parent is an earlier row all of whose full blocks (2 or more) prefix this one and whose prompt is shorter:
    the one with the longest such prefix, and of those that end in the same block the most recent. As in an engine,
    which always computes a prompt's last token, the block that holds the last token never counts as full. Equal ids
    mean equal prefixes, so one look-up per block finds the rows that end there.

    A lower bound: follow-ups of prompts under two full blocks can't be recognised.
    """
    if workload.block_ids is None:
        raise InputError("the workload has no prefix blocks: read a trace with hash_ids")
    prompts = workload.prompt_tokens.tolist()
    blocks = workload.columns_as_lists().block_ids or []
    parent = [-1] * len(prompts)
    ends_with: dict[int, int] = {}  # id of the last full block -> most recent row that ends there
    for row, (ids, prompt) in enumerate(zip(blocks, prompts, strict=True)):
        for block in reversed(ids[MIN_SHARED_BLOCKS - 1 :]):
            earlier = ends_with.get(block, -1)
            if earlier >= 0 and prompts[earlier] < prompt:
                parent[row] = earlier
                break
        full = min((prompt - 1) // workload.block_tokens, len(ids))
        if full >= MIN_SHARED_BLOCKS:
            ends_with[ids[full - 1]] = row
    return np.array(parent, dtype=np.int32)


def roots(parent: Ints) -> Ints:
    """The conversation number of every row: first turns count up, turns take their parent's number."""
    numbers: list[int] = []
    next_number = 0
    for link in parent.tolist():
        if link < 0:
            numbers.append(next_number)
            next_number += 1
        else:
            numbers.append(numbers[link])
    return np.array(numbers, dtype=np.int32)


def turns(parent: Ints) -> Any:
    """1-based depth of every row in its conversation."""
    depth: list[int] = []
    for link in parent.tolist():
        depth.append(1 if link < 0 else depth[link] + 1)
    return np.array(depth, dtype=np.int32)
