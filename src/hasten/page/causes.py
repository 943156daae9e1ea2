"""Where latency goes, as a page shows it: families of labels, their shares per request, means by percentile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hasten.explain.attribution import METRICS, Attribution, Labelled
from hasten.explain.labels import FAMILIES, FAMILY_OF, LABELS
from hasten.page import columns
from hasten.report.records import Records

BANDS = ((0, 50), (50, 75), (75, 90), (90, 95), (95, 99), (99, 100))
"""Percentiles of a metric between which requests are put together."""

EXACT_UP_TO = 20_000
"""Requests from which on shares are stored in 8 bits instead of 16."""


def labels() -> list[dict[str, str]]:
    """Every label with its text and family."""
    return [{"label": key, "text": text, "family": FAMILY_OF[key]} for key, text in LABELS.items()]


def families() -> list[dict[str, str]]:
    """Every family with its name, in the order of a bar."""
    return [{"family": key, "text": text} for key, text in FAMILIES.items()]


def composition(found: Labelled, metrics: Sequence[str] = METRICS) -> dict[str, list[dict[str, Any]]]:
    """Metric -> bands of percentiles: how many requests, their mean and its labels, in milliseconds."""
    result: dict[str, list[dict[str, Any]]] = {}
    for metric in metrics:
        values = found.latency(metric)
        known = np.flatnonzero(~np.isnan(values))
        order = known[np.argsort(values[known], kind="stable")]
        bands = []
        for low, high in BANDS:
            rows = order[round(low / 100 * order.size) : round(high / 100 * order.size)]
            if rows.size:
                means = {name: seconds * 1e3 for name, seconds in found.mean(metric, rows).items()}
                bands.append(
                    {
                        "from_percentile": low,
                        "to_percentile": high,
                        "requests": int(rows.size),
                        "mean_ms": float(values[rows].mean()) * 1e3,
                        "labels_ms": means,
                    }
                )
        result[metric] = bands
    return result


def lives(found: Attribution, records: Records) -> dict[str, list[dict[str, Any]]]:
    """Shares of each label in the time up to the first token, and after it; a row per request of `records`."""
    bits = 16 if len(records) <= EXACT_UP_TO else 8
    place = np.argsort(records.id, kind="stable")
    rows = place[np.searchsorted(records.id, found.records.id, sorter=place)]
    return {
        "to_first": _shares(found.to_first, rows, len(records), bits),
        "after_first": _shares(found.after_first, rows, len(records), bits),
    }


def _shares(
    seconds: npt.NDArray[np.float64], rows: npt.NDArray[Any], size: int, bits: int
) -> list[dict[str, Any]]:
    totals = np.maximum(seconds.sum(axis=1), 1e-12)
    stored = []
    for name, column in zip(LABELS, seconds.T, strict=True):
        if column.any():
            whole = np.zeros(size)
            whole[rows] = column / totals
            stored.append({"label": name, **columns.shares(whole, bits=bits)})
    return stored
