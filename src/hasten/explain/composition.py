"""What the slowest requests spend their time on, against the usual ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hasten.errors import InputError
from hasten.explain.attribution import Labelled
from hasten.explain.labels import LABELS

USUAL = (40.0, 60.0)
"""Percentiles between which a request counts as usual: around the median."""


@dataclass(frozen=True)
class Group:
    """Some requests: how many, the mean of the metric (s), and its mean seconds by label, which sum to it."""

    requests: int
    seconds: float
    labels: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Composition:
    """The requests at or above a percentile of a metric, and the usual ones."""

    metric: str
    percentile: float
    usual: Group
    tail: Group

    @property
    def rise(self) -> float:
        """Seconds by which the tail's mean exceeds that of the usual requests."""
        return self.tail.seconds - self.usual.seconds

    @property
    def excess(self) -> dict[str, float]:
        """Label -> seconds by which the tail exceeds the usual, largest first; they sum to the difference."""
        usual, tail = self.usual.labels, self.tail.labels
        found = {
            name: tail.get(name, 0.0) - usual.get(name, 0.0)
            for name in LABELS
            if name in usual or name in tail
        }
        return dict(sorted(found.items(), key=lambda each: -each[1]))


def compose(found: Labelled, metric: str, percentile: float = 99.0) -> Composition:
    """The composition of `metric` (ttft, tpot, e2e or program). Raises InputError when nobody was served."""
    values = found.latency(metric)
    known = np.flatnonzero(~np.isnan(values))
    if not known.size:
        raise InputError(f"nothing served has a {metric.upper()}: there is nothing to explain")
    low, high, cut = np.percentile(values[known], [*USUAL, percentile])
    groups = [
        Group(int(rows.size), float(values[rows].mean()), found.mean(metric, rows))
        for rows in (
            known[(values[known] >= low) & (values[known] <= high)],
            known[values[known] >= cut],
        )
    ]
    return Composition(
        metric=metric,
        percentile=percentile,
        usual=groups[0],
        tail=groups[1],
    )
