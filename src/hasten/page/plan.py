"""A plan as the data of a page: every deployment that was tried, what they trade, and how the best bears load."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hasten.page.run import Heading
from hasten.plan.result import Plan, Row
from hasten.workload import Workload


def plan_data(
    heading: Heading, found: Plan, work: Workload, *, curve: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """Everything a page shows of a plan; `curve` is that of `hasten.page.load.load_curve` for the best deployment."""
    whole = found.to_dict()
    front = {id(row) for row in found.pareto}
    rows = [
        row.to_dict()
        | {"pareto": id(row) in front, "best": found.best is not None and row.label == found.best.label}
        | dataclasses.asdict(trade(row, work))
        for row in found.rows
    ]
    return {
        "kind": "plan",
        "heading": heading.to_dict(),
        "plan": whole | {"rows": rows},
        "figures": {name: whole[name] for name in ("origin", "error", "notes")},
        "curve": list(curve),
    }


@dataclass(frozen=True, kw_only=True)
class Trade:
    """What a deployment gives and costs, in output tokens: loaded to the highest rate that was found to hold, so that
    all three figures are of one operating point, and at the rate that was planned for. NaN where not known.
    """

    user_tokens_per_s: float  # of the median request, after its first token
    device_tokens_per_s: float
    usd_per_million_output_tokens: float
    planned_user_tokens_per_s: float
    planned_usd_per_million_output_tokens: float

    @property
    def is_known(self) -> bool:
        """Whether the figures at full load are."""
        return not any(
            math.isnan(each)
            for each in (
                self.user_tokens_per_s,
                self.device_tokens_per_s,
                self.usd_per_million_output_tokens,
            )
        )


def trade(row: Row, work: Workload) -> Trade:
    """The figures of a row for the answers of `work`."""
    tokens = float(work.output_tokens.mean())
    full = row.full
    rate = math.nan if full is None else full.rate
    return Trade(
        user_tokens_per_s=math.nan if full is None else _pace(full.tpot_median),
        device_tokens_per_s=rate * tokens / row.devices,
        usd_per_million_output_tokens=row.cost / 3600.0 / (rate * tokens) * 1e6,
        planned_user_tokens_per_s=_pace(row.outcome.tpot_median),
        planned_usd_per_million_output_tokens=row.cost / 3600.0 / (row.rate * tokens) * 1e6,
    )


def _pace(tpot: float) -> float:
    return 1.0 / tpot if tpot > 0.0 else math.nan
