"""A plan: the cheapest deployment that holds, what else was tried, and how sure the answer is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.plan.bisection import Capacity
from hasten.plan.candidates import Rejected
from hasten.plan.constraints import Check, Constraints
from hasten.plan.probe import Outcome, Setting

if TYPE_CHECKING:
    from hasten.explain.explanation import Explanation


@dataclass(frozen=True, kw_only=True)
class Row:
    """One deployment that was tried. Latencies in seconds at the percentile of the plan's constraints.

    `capacity` is what all replicas together hold on the sample, in requests/s, `margin` what that leaves above the
    asked rate (0.2: 20 % more). `is_verified` says that `outcome` is of the whole workload behind the real router;
    else it is of one replica's share, a sample. `binds` is the constraint that fails first when traffic grows.
    `full` is the run at the highest rate that was found to hold, its `rate` that of all replicas; None when none does.
    """

    deployment: Deployment
    outcome: Outcome
    is_verified: bool = False
    capacity: float = math.nan
    rate: float = math.nan  # requests/s asked for
    binds: str = ""
    shape: int = -1  # number of its shape in the search
    interval: Capacity | None = None  # in capacity mode, of the best row
    full: Outcome | None = None
    setting: Setting | None = field(default=None, repr=False, compare=False)  # what it was planned for

    def explain(
        self,
        *,
        only_causes: bool = False,
        whole: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Explanation:
        """Where the milliseconds go at the rate planned for (in capacity mode: at the highest that holds), what binds
        there, and what one change would buy; arguments are those of `hasten.explain.explanation.explain`.

        The whole workload is played once per change. Raises InputError for a row that no plan has made.
        """
        from hasten.plan.explained import explain_planned

        if self.setting is None:
            raise InputError(f"{self.label} comes from no plan: use hasten.explain.explanation.explain")
        rate = math.nan if self.full is None or not math.isnan(self.rate) else self.full.rate
        return explain_planned(
            self.setting, self.deployment, rate, only_causes=only_causes, whole=whole, progress=progress
        )

    @property
    def holds(self) -> bool:
        """Whether every constraint was met."""
        return self.outcome.holds

    @property
    def cost(self) -> float:
        """Dollars per hour of all devices."""
        return self.deployment.price_per_hour or 0.0

    @property
    def devices(self) -> int:
        """Devices of all replicas."""
        return self.deployment.devices

    @property
    def margin(self) -> float:
        """Traffic growth, as a share, that the capacity leaves room for; at least 0 when the rate itself holds."""
        spare = self.capacity / self.rate - 1.0
        return max(0.0, spare) if self.holds else spare

    @property
    def label(self) -> str:
        """Short name, such as ``2 x [h100-sxm tp4]``, with the KV type where it was chosen."""
        kv = self.deployment.kv_dtype
        return self.deployment.label + ("" if kv == "auto" else f", {kv} KV")

    def to_dict(self) -> dict[str, Any]:
        """Every figure under a key with its unit; undefined ones are None."""
        outcome = self.outcome
        sizes = self.deployment.parallelism
        figures: dict[str, Any] = {
            "label": self.label,
            "device": self.deployment.device.name,
            "tp": sizes.tp,
            "pp": sizes.pp,
            "ep": sizes.ep,
            "replicas": self.deployment.replicas,
            "kv_dtype": self.deployment.kv_dtype,
            "max_model_len_tokens": self.deployment.limits.max_model_len,
            "devices": self.devices,
            "price_usd_per_hour": self.cost,
            "holds": self.holds,
            "verified": self.is_verified,
            "capacity_req_per_s": self.capacity,
            "margin": self.margin,
            "binds": self.binds,
            **outcome_figures(outcome),
        }
        if self.interval is not None:
            figures["capacity_low_req_per_s"] = self.interval.low
            figures["capacity_high_req_per_s"] = self.interval.high
        return {key: _plain(value) for key, value in figures.items()}


@dataclass(frozen=True, kw_only=True)
class WhatIf:
    """The best deployment in another world: its traffic or its step times differ from what was planned for."""

    name: str  # such as "traffic +25 %"
    outcome: Outcome
    replicas: int = 0  # that would hold there, by the capacity of one; 0: not known

    @property
    def holds(self) -> bool:
        """Whether the best deployment as it is would still hold."""
        return self.outcome.holds

    def to_dict(self) -> dict[str, Any]:
        """The world, the verdict and the figures, keys with units."""
        figures = {"what_if": self.name, "holds": self.holds, "replicas_needed": self.replicas or None}
        return {key: _plain(value) for key, value in (figures | outcome_figures(self.outcome)).items()}


@dataclass(frozen=True, kw_only=True)
class NearestMiss:
    """The candidate that comes closest when nothing holds: which constraint fails, by how much, what binds."""

    label: str
    check: Check
    binds: str = ""
    outcome: Outcome | None = None  # None: known from bounds, without a simulation
    needs_replicas: int = 0  # that would hold if more devices were allowed; 0: no number would, or not known

    @property
    def text(self) -> str:
        """One sentence for a reader."""
        over = self.check.strain - 1.0
        amount = (
            ""
            if math.isinf(over)
            else f", {over:.0%} over"
            if over < 9
            else f", {over + 1:.0f} times the limit"
        )
        if self.check.name == "goodput share":
            amount = f", {100 * (self.check.limit - self.check.value):.2g} points short"
        return f"{self.label}: {self.check.text}{amount}"

    def to_dict(self) -> dict[str, Any]:
        """The candidate and the failing constraint; values in ms, or a share for the goodput share."""
        return {
            "label": self.label,
            **check_figures(self.check),
            "binds": self.binds,
            "replicas_needed": self.needs_replicas or None,
        }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `hasten.plan.plan` found. Falsy when nothing holds: then `nearest_miss` says how close it came."""

    model: str
    workload: str
    constraints: Constraints
    rate: float  # requests/s planned for; NaN when the capacity was asked for
    rows: tuple[Row, ...] = ()  # by cost
    best: Row | None = None
    nearest_miss: NearestMiss | None = None
    rejected: tuple[Rejected, ...] = ()
    sensitivity: tuple[WhatIf, ...] = ()
    mode: str = "rate"
    engine: str = ""
    origin: str = "analytical"
    error: str = "unknown"
    notes: tuple[str, ...] = ()
    simulations: int = 0
    confidence: float = 0.5  # with which true steps are no longer than those planned with
    likely: Row | None = None  # the best at a confidence of 0.5, where the plan was made at a higher one

    @property
    def confidence_cost(self) -> float:
        """Dollars per hour that the best costs more than the best at a confidence of 0.5; NaN when not known."""
        return math.nan if self.best is None or self.likely is None else self.best.cost - self.likely.cost

    def __bool__(self) -> bool:
        return self.best is not None

    @property
    def pareto(self) -> tuple[Row, ...]:
        """Rows that hold and that no other such row beats in cost, TTFT and TPOT at once."""
        return pareto_front([row for row in self.rows if row.holds])

    def to_dict(self) -> dict[str, Any]:
        """The whole plan, keys with units; the same plan gives the same dictionary."""
        constraints = self.constraints
        limits = {
            f"slo_{name}_ms": None if (limit := getattr(constraints.slo, name)) is None else limit * 1e3
            for name in ("ttft", "tpot", "e2e")
        }
        front = {id(row) for row in self.pareto}
        return {
            "model": self.model,
            "workload": self.workload,
            "engine": self.engine,
            "mode": self.mode,
            "rate_req_per_s": _plain(self.rate),
            "constraint": "percentile" if constraints.attainment is None else "goodput share",
            "percentile": constraints.percentile,
            "attainment": constraints.attainment,
            **limits,
            "holds": self.best is not None,
            "best": None if self.best is None else self.best.to_dict(),
            "rows": [{**row.to_dict(), "pareto": id(row) in front} for row in self.rows],
            "nearest_miss": None if self.nearest_miss is None else self.nearest_miss.to_dict(),
            "sensitivity": [each.to_dict() for each in self.sensitivity],
            "rejected": [{"label": each.label, "reason": each.reason} for each in self.rejected],
            "origin": self.origin,
            "error": self.error,
            "confidence": self.confidence,
            "confidence_cost_usd_per_hour": _plain(self.confidence_cost),
            "likely_best": None if self.likely is None else self.likely.to_dict(),
            "notes": list(self.notes),
            "simulations": self.simulations,
        }


def pareto_front(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Rows not beaten in cost, TTFT and TPOT by another that is at least as good in all and better in one."""

    def figures(row: Row) -> tuple[float, float, float]:
        tpot = 0.0 if math.isnan(row.outcome.tpot) else row.outcome.tpot
        return row.cost, row.outcome.ttft, tpot

    at = [figures(row) for row in rows]
    front: list[tuple[float, float, float]] = []
    for one in sorted({each for each in at if not any(map(math.isnan, each))}):
        # In this order a row can only be beaten by an earlier one, and then by one on the front.
        if not any(other[1] <= one[1] and other[2] <= one[2] for other in front):
            front.append(one)
    best = set(front)
    return tuple(row for row, one in zip(rows, at, strict=True) if one in best or any(map(math.isnan, one)))


def outcome_figures(outcome: Outcome) -> dict[str, Any]:
    """Figures of one run, times in ms."""
    return {
        "ttft_ms": outcome.ttft * 1e3,
        "tpot_ms": outcome.tpot * 1e3,
        "e2e_ms": outcome.e2e * 1e3,
        "median_ttft_ms": outcome.ttft_median * 1e3,
        "median_tpot_ms": outcome.tpot_median * 1e3,
        "attainment": outcome.attainment,
        "utilisation": outcome.utilisation,
        "kv_peak_share": outcome.kv_peak,
        "preemptions": outcome.preemptions,
        "checks": [check_figures(check) for check in outcome.checks],
    }


def check_figures(check: Check) -> dict[str, Any]:
    """One constraint with value, limit and verdict."""
    is_share = check.name == "goodput share"
    unit, factor = ("", 1.0) if is_share else ("_ms", 1e3)
    return {
        "constraint": check.name,
        f"value{unit}": _plain(check.value * factor),
        f"limit{unit}": check.limit * factor,
        "holds": check.holds,
    }


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
