"""Sides of a comparison as the data of a page: their distributions over each other, and their figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hasten.page.run import Heading
from hasten.report import metrics
from hasten.report.report import Report

QUANTILES = (*np.linspace(0.0, 99.0, 200), *np.linspace(99.05, 100.0, 20))
"""Percentiles at which a distribution is drawn: denser in the tail."""

_METRICS = {"ttft": metrics.ttft, "tpot": metrics.tpot, "e2e": metrics.e2e}


def compare_data(
    heading: Heading, reports: Mapping[str, Sequence[Report]], figures: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Everything a page shows of a comparison; `reports` by side, one per seed, and the `figures` of each side."""
    first = next(iter(reports.values()))[0]
    limits = first.slo
    names = ("ttft", "tpot", "e2e")
    return {
        "kind": "compare",
        "heading": heading.to_dict(),
        "limits_ms": {
            name: None if limits is None or (limit := getattr(limits, name)) is None else limit * 1e3
            for name in names
        },
        "percentiles": list(QUANTILES),
        "sides": [
            {"side": side, "figures": figure, **{f"{name}_ms": _curve(each, name) for name in names}}
            for (side, each), figure in zip(reports.items(), figures, strict=True)
        ],
        "figures": {"origin": first.origin, "error": first.error, "notes": _notes(reports)},
    }


def _curve(reports: Sequence[Report], metric: str) -> list[float]:
    """Percentiles of all runs of a side together, in milliseconds; empty when nothing was served."""
    values = np.concatenate([_METRICS[metric](report.records) for report in reports])
    return [] if not values.size else (np.percentile(values, QUANTILES) * 1e3).tolist()


def _notes(reports: Mapping[str, Sequence[Report]]) -> list[str]:
    """What sides after the first say otherwise about their origin."""
    said = {side: f"{each[0].origin}, error {each[0].error}" for side, each in reports.items()}
    first = next(iter(said.values()))
    return [f"{side}: {text}" for side, text in said.items() if text != first]
