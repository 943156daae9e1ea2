"""What became of every request, as columns: one schema for a simulation, an engine and an external server's log."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from hasten.errors import InputError
from hasten.report.gaps import Gaps

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]


class Status(enum.IntEnum):
    """How a request ended: served in full, turned away, or still under way when the run ended."""

    OK = 0
    REJECTED = 1
    UNFINISHED = 2


TIMES = ("arrival", "queued", "scheduled", "first_token", "finish")
COUNTS = ("prompt_tokens", "output_tokens", "cached_tokens", "preemptions", "replica")

# Column -> (type, value where it was not recorded). NaN stands for "did not happen".
COLUMNS: Mapping[str, tuple[type[Any], float | int]] = {
    "id": (np.int64, -1),
    **dict.fromkeys(TIMES, (np.float64, np.nan)),
    **dict.fromkeys(COUNTS, (np.int32, 0)),
    "status": (np.int8, Status.OK),
    "session": (np.int64, -1),
    "parent": (np.int64, -1),
}


class Records:
    """One row per request. Times in seconds on the run's clock; NaN (or a negative number) = did not happen.

    Columns are given as sequences, `array` or numpy arrays, all equally long; arrays of the column's own type are
    not copied. Those that are not given hold -1, NaN, 0 or "served"; `id` counts from 0. `gaps` are the pooled
    gaps between output tokens of all requests, None when they were not recorded.

    Raises InputError for columns of different length, unknown columns, or a served request without its times.
    """

    id: Ints  # number of the request: two runs of one workload are paired by it
    arrival: Floats  # it reached the server
    queued: Floats  # the engine loop drained it from its input
    scheduled: Floats  # the first step that computed for it began
    first_token: Floats  # its first output token left the engine
    finish: Floats  # its last output token left the engine
    prompt_tokens: Ints
    output_tokens: Ints  # tokens produced
    cached_tokens: Ints  # prompt tokens that came from the prefix cache
    preemptions: Ints  # how often it lost its KV
    replica: Ints  # index of the replica that served it
    status: Ints  # a Status
    session: Ints  # -1 = none
    parent: Ints  # id of the request it follows, -1 = none
    gaps: Gaps | None

    def __init__(
        self,
        *,
        arrival: npt.ArrayLike,
        first_token: npt.ArrayLike,
        finish: npt.ArrayLike,
        prompt_tokens: npt.ArrayLike,
        output_tokens: npt.ArrayLike,
        gaps: Gaps | None = None,
        **columns: npt.ArrayLike,
    ) -> None:
        given = columns | {
            "arrival": arrival,
            "first_token": first_token,
            "finish": finish,
            "prompt_tokens": prompt_tokens,
            "output_tokens": output_tokens,
        }
        unknown = sorted(given.keys() - COLUMNS.keys())
        if unknown:
            raise InputError(f"unknown request column {unknown[0]!r}: the columns are {', '.join(COLUMNS)}")
        size = np.asarray(arrival).size
        for name, (dtype, missing) in COLUMNS.items():
            if name in given:
                values = np.asarray(given[name], dtype=dtype)
            elif name == "id":
                values = np.arange(size, dtype=dtype)
            else:
                values = np.full(size, missing, dtype=dtype)
            if values.shape != (size,):
                raise InputError(f"request column {name} has shape {values.shape}, arrival has {size} rows")
            if name in TIMES and name != "arrival" and bool((values < 0).any()):
                values = np.where(values < 0, np.nan, values)
            setattr(self, name, values)
        self.gaps = gaps
        self._check_times()

    def _check_times(self) -> None:
        if not np.isfinite(self.arrival).all():
            row = int(np.flatnonzero(~np.isfinite(self.arrival))[0])
            raise InputError(f"request {self.id[row]} has arrival {self.arrival[row]:g}: give seconds")
        alive = (self.arrival <= self.first_token) & (self.first_token <= self.finish)
        bad = np.flatnonzero(self.is_ok & ~(alive & np.isfinite(self.finish)))
        if bad.size:
            row = int(bad[0])
            raise InputError(
                f"request {self.id[row]} counts as served, but arrival {self.arrival[row]:g} s <= first token "
                f"{self.first_token[row]:g} s <= finish {self.finish[row]:g} s does not hold: set its status"
            )

    def __len__(self) -> int:
        return int(self.arrival.size)

    def __repr__(self) -> str:
        return f"Records({len(self)} requests, {int(self.is_ok.sum())} served)"

    @property
    def is_ok(self) -> Mask:
        """Whether each request was served in full."""
        mask: Mask = self.status == Status.OK
        return mask

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """All columns by name, in the order of COLUMNS."""
        return {name: getattr(self, name) for name in COLUMNS}

    def select(self, rows: npt.NDArray[Any], *, gaps: Gaps | None = None) -> Self:
        """The rows of a mask or list of indices. Gaps are pooled over requests, so they have to be given anew."""
        return type(self)(gaps=gaps, **{name: values[rows] for name, values in self.columns().items()})

    def between(self, begin: float, end: float) -> Self:
        """Requests that arrived in [begin, end) seconds, with the gaps of the steps that started then.

        Gaps without start times can't be cut and are left out.
        """
        gaps = (
            self.gaps.between(begin, end) if self.gaps is not None and self.gaps.start is not None else None
        )
        return self.select((self.arrival >= begin) & (self.arrival < end), gaps=gaps)

    @property
    def duration(self) -> float:
        """Seconds from the first arrival to the last thing that happened; NaN without requests."""
        if not len(self):
            return float("nan")
        last = np.nanmax(np.concatenate([self.finish[self.is_ok], self.arrival]))
        return float(last - self.arrival.min())
