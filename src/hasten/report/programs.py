"""Programs and conversations as wholes: what their owner waits for, with the tools' and users' time kept apart.

The calls of a program are the requests of one session. Within it, time is either covered by a call (some call is
under way, from arrival to last token) or away (only tools run, or a user thinks). Sources: program-level token
latency and response time, Autellix (arXiv:2502.13965, section 2); job completion time, Continuum (arXiv:2511.02230).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hasten.report.records import Floats, Ints, Records


@dataclass(frozen=True, slots=True, eq=False)
class Programs:
    """One row per program whose calls were all served, in the order of session numbers; times in seconds.

    session         its number
    calls           requests
    output_tokens   of all its calls
    completion      first arrival to last finish, tools and users included
    away            part of `completion` in which no call was under way
    unfinished      how many programs lost a call, and are not among the rows
    """

    session: Ints
    calls: Ints
    output_tokens: Ints
    completion: Floats
    away: Floats
    unfinished: int = 0

    def __len__(self) -> int:
        return int(self.session.size)

    @property
    def in_calls(self) -> Floats:
        """Seconds in which a call was under way: what serving can shorten."""
        return self.completion - self.away

    @property
    def token_latency(self) -> Floats:
        """Seconds in calls per output token of the program."""
        return self.in_calls / np.maximum(self.output_tokens, 1)


def programs(records: Records) -> Programs:
    """The programs of a run; none when requests carry no session numbers."""
    rows = np.flatnonzero(records.session >= 0)
    rows = rows[np.lexsort((records.arrival[rows], records.session[rows]))]
    session = records.session[rows]
    first = np.flatnonzero(np.concatenate(([True], session[1:] != session[:-1]))) if rows.size else rows
    if not first.size:
        empty_count, empty_time = np.zeros(0, dtype=np.int64), np.zeros(0)
        return Programs(empty_count, empty_count, empty_count, empty_time, empty_time)
    served = np.logical_and.reduceat(records.is_ok[rows], first)
    arrival, finish = records.arrival[rows], records.finish[rows]
    finish = np.where(np.isnan(finish), arrival, finish)
    begin, end = arrival[first], np.maximum.reduceat(finish, first)
    counts = np.diff(np.concatenate((first, [rows.size])))
    # Rows of a program stand by arrival: the union of their spans grows by what a row reaches past all before it.
    group = np.repeat(np.arange(first.size), counts)
    reach = _running_max(finish, group, begin)
    covered = np.add.reduceat(np.maximum(0.0, finish - np.maximum(arrival, reach)), first)
    output = np.add.reduceat(records.output_tokens[rows].astype(np.int64), first)
    return Programs(
        session=session[first][served],
        calls=counts[served],
        output_tokens=output[served],
        completion=(end - begin)[served],
        away=np.maximum(0.0, end - begin - covered)[served],
        unfinished=int(np.count_nonzero(~served)),
    )


def _running_max(finish: Floats, group: Ints, begin: Floats) -> Floats:
    """For every row the latest finish of the rows before it in its group, the group's beginning for the first."""
    order = np.lexsort((finish, group))
    rank = np.empty(finish.size, dtype=np.int64)
    rank[order] = np.arange(
        finish.size
    )  # rises with group, and with finish within it: one maximum serves all groups
    best = np.maximum.accumulate(rank)
    before = np.concatenate(([0], best[:-1]))
    is_first = np.concatenate(([True], group[1:] != group[:-1]))
    reach: Floats = np.where(is_first, begin[group], finish[order[before]])
    return reach
