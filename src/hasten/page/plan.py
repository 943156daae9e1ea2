"""A plan as the data of a page: every deployment that was tried, what they trade, and how the best bears load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hasten.page.run import Heading
from hasten.plan.result import Plan, Row
from hasten.workload import Workload


def plan_data(
    heading: Heading, found: Plan, work: Workload, *, curve: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """Everything a page shows of a plan; `curve` is that of `hasten.page.load.load_curve` for the best deployment."""
    whole = found.to_dict()
    tokens = float(work.output_tokens.mean())
    front = {id(row) for row in found.pareto}
    rows = [
        row.to_dict()
        | {"pareto": id(row) in front, "best": found.best is not None and row.label == found.best.label}
        | _trade(row, tokens)
        for row in found.rows
    ]
    return {
        "kind": "plan",
        "heading": heading.to_dict(),
        "plan": whole | {"rows": rows},
        "figures": {name: whole[name] for name in ("origin", "error", "notes")},
        "curve": list(curve),
    }


def _trade(row: Row, tokens: float) -> dict[str, float]:
    """What a user gets and what a device gives: output tokens/s, at the planned rate and at the capacity."""
    pace = row.outcome.tpot_median
    return {
        "user_tokens_per_s": 1.0 / pace if pace > 0.0 else float("nan"),
        "device_tokens_per_s": row.capacity * tokens / row.devices,
        "usd_per_million_output_tokens": row.cost / 3600.0 / (row.capacity * tokens) * 1e6
        if row.capacity > 0.0
        else float("nan"),
    }
