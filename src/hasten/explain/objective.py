"""What the user wants small: a percentile of a latency, or the share of requests that miss a limit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hasten.core.request import SLO
from hasten.explain.programs import PROGRAM, completions
from hasten.report.metrics import is_good
from hasten.report.records import Records

Floats = npt.NDArray[np.float64]

DEFAULT_METRIC = "ttft"


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The `percentile` of `metric` (ttft, tpot, e2e or program, in s); with `slo`, the share of requests that miss it.

    `limit` is what the user allows, None without a limit.
    """

    metric: str = DEFAULT_METRIC
    percentile: float = 99.0
    limit: float | None = None
    slo: SLO | None = None

    @property
    def text(self) -> str:
        """The objective in a few words."""
        if self.slo is not None:
            return "share of misses"
        name = "program time" if self.metric == PROGRAM else self.metric.upper()
        return f"p{self.percentile:g} {name}"

    @property
    def unit(self) -> str:
        """Unit of its values: s, or share."""
        return "s" if self.slo is None else "share"

    def column(self, records: Records) -> Floats:
        """One value per request in the order of ids: infinite where it was not served, NaN where undefined.

        Of programs one per session.
        """
        if self.metric == PROGRAM:
            return completions(records)
        ordered = records.select(np.argsort(records.id))
        if self.slo is not None:
            return 1.0 - is_good(ordered, self.slo).astype(np.float64)
        if self.metric == "ttft":
            values = ordered.first_token - ordered.arrival
        elif self.metric == "e2e":
            values = ordered.finish - ordered.arrival
        else:
            later = ordered.output_tokens - 1
            spent = ordered.finish - ordered.first_token
            values = np.divide(spent, later, out=np.full(len(ordered), np.nan), where=later > 0)
        found: Floats = np.where(ordered.is_ok, values, np.inf)
        return found

    def value(self, column: Floats) -> float:
        """The objective of a column; NaN when nothing is defined."""
        known = column[~np.isnan(column)]
        if not known.size:
            return math.nan
        return float(self._of(known[None, :])[0])

    def _of(self, samples: Floats) -> Floats:
        if self.slo is not None:
            means: Floats = samples.mean(axis=1)
            return means
        lost = np.isinf(samples)
        if not lost.any():
            cuts: Floats = np.percentile(samples, self.percentile, axis=1)
            return cuts
        place = math.ceil((samples.shape[1] - 1) * self.percentile / 100)
        return np.partition(samples, place, axis=1)[:, place]  # a neighbour of infinity has no average


def relative(before: float, after: float) -> float:
    """(after - before) / before: negative is better; NaN where that has no meaning.

    -1 where what had no end has one, infinite where what had one has none or nothing becomes something.
    """
    if math.isnan(before) or math.isnan(after):
        return math.nan
    if before == after:
        return 0.0
    if math.isinf(before):
        return -1.0
    return (after - before) / before if before else math.inf


def tightest(
    records: Records, slo: SLO, percentile: float = 99.0, *, attainment: float | None = None
) -> Objective:
    """The limit of `slo` (s) that these records come closest to, as an objective; with `attainment` the share of
    requests that miss any."""
    limits = {name: limit for name in ("ttft", "tpot", "e2e") if (limit := getattr(slo, name)) is not None}
    each = [Objective(metric=name, percentile=percentile, limit=limit) for name, limit in limits.items()]
    if not each:
        return Objective(percentile=percentile)

    def strain(one: Objective) -> float:
        value = one.value(one.column(records)) / (one.limit or math.inf)
        return -1.0 if math.isnan(value) else value

    worst = max(each, key=strain)
    if attainment is not None:
        return Objective(metric=worst.metric, limit=1.0 - attainment, slo=slo)
    return worst
