"""What the user wants small: a percentile of a latency, or the share of requests that miss a limit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hasten.core.request import SLO
from hasten.explain.programs import PROGRAM, completions
from hasten.report import bootstrap
from hasten.report.bootstrap import Interval
from hasten.report.metrics import is_good
from hasten.report.records import Records

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

RESAMPLES = 200
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

    def change_interval(self, baseline: Floats, changed: Floats, *, seed: int = 0) -> Interval:
        """95 % prediction interval of the relative change from one column to the other, for as much traffic again.

        The same blocks of requests are drawn from both. New traffic varies as much as this one did: deviations from
        the change found are wider by the square root of 2.
        """
        known = ~(np.isnan(baseline) | np.isnan(changed))
        before, after = baseline[known], changed[known]
        if before.size < 2:
            return Interval(math.nan, math.nan)
        rng = np.random.default_rng(seed)
        drawn = np.array([bootstrap.draw_blocks(before.size, rng) for _ in range(RESAMPLES)])
        with np.errstate(invalid="ignore", divide="ignore"):
            changes = self._of(after[drawn]) / self._of(before[drawn]) - 1.0
        drawn_interval = bootstrap.from_samples([float(each) for each in changes if np.isfinite(each)], 0.95)
        found = self.value(after) / self.value(before) - 1.0 if self.value(before) else math.nan
        if not math.isfinite(found):
            return drawn_interval
        low, high = (
            found + math.sqrt(2.0) * (end - found) for end in (drawn_interval.low, drawn_interval.high)
        )
        return Interval(max(low, -1.0), high)
