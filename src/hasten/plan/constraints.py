"""What a plan must hold: percentile constraints or a goodput share, and the verdict on one run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hasten.core.request import SLO
from hasten.errors import InputError
from hasten.report.metrics import check_percentiles, is_good
from hasten.report.records import Records

_NAMES = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "E2E"}
GOODPUT = "goodput share"
BACKLOG = "backlog"

BACKLOG_SECONDS, BACKLOG_SHARE = 1.0, 0.02
"""A run keeps up when its last arrivals wait no longer than 1 s and 2 % of the time over which requests arrive."""


@dataclass(frozen=True, slots=True)
class Check:
    """One constraint and what a run made of it: seconds, or a share of requests for the goodput share."""

    name: str
    value: float
    limit: float

    @property
    def holds(self) -> bool:
        """Whether the constraint is met; a percentile of nothing is."""
        return math.isnan(self.value) or self.strain <= 1.0

    @property
    def strain(self) -> float:
        """How much of the limit is used up: 1 at the limit, above 1 when it is missed."""
        if self.name == GOODPUT:
            missed, allowed = 1.0 - self.value, 1.0 - self.limit
            if missed <= allowed + 1e-12:
                return missed / allowed if allowed > 0 else 1.0
            return missed / allowed if allowed > 0 else math.inf
        return self.value / self.limit

    @property
    def text(self) -> str:
        """The constraint with value and limit, as a reader wants it."""
        sign = "<=" if self.holds else ">"
        if self.name == GOODPUT:
            sign = ">=" if self.holds else "<"
            return f"{self.name} {100 * self.value:.2f} % {sign} {100 * self.limit:g} %"
        return f"{self.name} {_ms(self.value)} {sign} {_ms(self.limit)}"


def _ms(seconds: float) -> str:
    if math.isinf(seconds):
        return "without end"
    return f"{seconds:.4g} s" if seconds >= 10 else f"{seconds * 1e3:.4g} ms"


@dataclass(frozen=True)
class Constraints:
    """Limits of `slo` (s), held either by a percentile of each metric or by a share of the requests.

    With `attainment` None every limited metric must have its `percentile` within its limit, each on its own.
    With `attainment` = 0.99, 99 % of the requests must meet all limits at once. Without a limit on TTFT or E2E a
    server that falls behind for ever would look fine: then the backlog at the end is limited as well.

    Raises InputError for limits that are missing or not above 0, and for shares out of range.
    """

    slo: SLO
    percentile: float = 99.0
    attainment: float | None = None

    def __post_init__(self) -> None:
        limits = {name: getattr(self.slo, name) for name in _NAMES}
        for name, limit in limits.items():
            if limit is not None and not 0.0 < limit < math.inf:
                raise InputError(f"SLO {name} is {limit!r} s: give seconds above 0")
        if all(limit is None for limit in limits.values()):
            raise InputError("SLO has no limit: give ttft, tpot or e2e in seconds")
        if not 0.0 < self.percentile <= 100.0:
            raise InputError(f"percentile is {self.percentile!r}: give a number above 0 and up to 100")
        if self.attainment is not None and not 0.0 < self.attainment <= 1.0:
            raise InputError(
                f"attainment is {self.attainment!r}: give a share of requests above 0 and up to 1, such as 0.99"
            )

    @property
    def allowed_misses(self) -> float:
        """Share of the requests that may miss a limit (the same one, or any for a goodput share)."""
        return 1.0 - (self.percentile / 100 if self.attainment is None else self.attainment)

    @property
    def needs_backlog(self) -> bool:
        """Whether no limit would notice that the server falls behind."""
        return self.slo.ttft is None and self.slo.e2e is None

    @property
    def text(self) -> str:
        """The constraints in words."""
        limits = {_NAMES[n]: getattr(self.slo, n) for n in _NAMES if getattr(self.slo, n) is not None}
        if self.attainment is None:
            return ", ".join(f"p{self.percentile:g} {n} <= {v * 1e3:g} ms" for n, v in limits.items())
        all_of = " and ".join(f"{n} <= {v * 1e3:g} ms" for n, v in limits.items())
        return f"goodput share: {100 * self.attainment:g} % of requests with {all_of}"

    def check(self, records: Records) -> tuple[Check, ...]:
        """The verdict on a run, one entry per constraint."""
        if self.attainment is None:
            checks = [
                Check(f"{_NAMES[each.metric]} p{self.percentile:g}", each.value, each.limit)
                for each in check_percentiles(records, self.slo, self.percentile)
            ]
        else:
            good = float(is_good(records, self.slo).mean()) if len(records) else math.nan
            checks = [Check(GOODPUT, good, self.attainment)]
        if self.needs_backlog:
            checks.append(backlog(records))
        return tuple(checks)

    def misses(self, records: Records) -> int:
        """Requests that miss the limit most miss; for a goodput share, requests that miss any."""
        if self.attainment is not None:
            return int(np.count_nonzero(~is_good(records, self.slo)))
        return max(self._misses_each(records).values())

    def budget(self, total: int) -> int:
        """Misses that `total` requests can have and still hold: with more, no later request can make up for it."""
        return math.ceil(self.allowed_misses * (total - 1)) + 1

    def _misses_each(self, records: Records) -> dict[str, int]:
        limits = {name: getattr(self.slo, name) for name in _NAMES}
        return {
            _NAMES[name]: int(np.count_nonzero(~is_good(records, SLO(**{name: limit}))))
            for name, limit in limits.items()
            if limit is not None
        }

    def tightest(self, records: Records) -> str:
        """The limit that most requests miss, such as "TTFT": what a goodput share suffers from."""
        misses = self._misses_each(records)
        return max(misses, key=lambda name: misses[name])


def backlog(records: Records) -> Check:
    """Median wait (s) of the last fifth of the arrivals for their first step, against what is left at the end."""
    span = float(np.ptp(records.arrival)) if len(records) else 0.0
    last = records.arrival >= records.arrival.max() - span / 5 if len(records) else np.zeros(0, dtype=bool)
    waits = (records.scheduled - records.arrival)[last & records.is_ok]
    value = float(np.median(waits)) if waits.size else math.nan
    return Check(BACKLOG, value, BACKLOG_SECONDS + BACKLOG_SHARE * span)
