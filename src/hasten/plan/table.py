"""A plan as text: the table, then what it means in plain words."""

from __future__ import annotations

import math
import textwrap

from hasten.plan.candidates import Rejected
from hasten.plan.constraints import GOODPUT
from hasten.plan.result import Plan, Row

WIDTH = 110
ROWS = 12
REJECTED = 6
HOURS_PER_MONTH = 730


def render(plan: Plan) -> str:
    """The plan as text, the cheapest first. The same plan gives the same text."""
    lines = [f"Must hold: {plan.constraints.text}", ""]
    if plan.rows:
        lines += [*_table(plan), ""]
    if plan.best is None:
        lines += _nothing_holds(plan)
    elif plan.mode == "capacity":
        lines += _capacity_answer(plan, plan.best)
    else:
        lines += _answer(plan, plan.best)
    lines += _left_out(plan.rejected)
    lines += [f"Note: {note}" for note in plan.notes]
    lines.append(
        f"Trust: step times are {plan.origin}, error {plan.error}{_missing(plan)}. "
        "Prices are list prices with a date: `hasten devices`."
    )
    return "\n".join(piece for line in lines for piece in _wrapped(line))


def _missing(plan: Plan) -> str:
    return "" if "calibrated" in plan.origin else ", not calibrated on your engine"


def _wrapped(line: str) -> list[str]:
    is_prose = line[:1].isalpha()
    return textwrap.wrap(line, WIDTH, subsequent_indent="  ") if is_prose and len(line) > WIDTH else [line]


# -- the table ------------------------------------------------------------------------------------------


def _table(plan: Plan) -> list[str]:
    front = {id(row) for row in plan.pareto}
    shown, dropped = _chosen(plan, front)
    q = f"p{plan.constraints.percentile:g}"
    is_capacity = plan.mode == "capacity"
    header = ["", "$/h", "deployment", f"ttft {q}", f"tpot {q}", "attainment"]
    header += ["req/s", "$/1M req"] if is_capacity else ["margin"]
    header += ["busy", "bound by", ""]
    cells = [header]
    for row in shown:
        run = row.outcome
        line = ["*" if id(row) in front else "", f"{row.cost:.2f}", row.label, _ms(run.ttft), _ms(run.tpot)]
        line.append(f"{100 * run.attainment:.1f} %")
        if is_capacity:
            line += [f"{row.capacity:.3g}", f"{row.cost / row.capacity / 3600 * 1e6:.2f}"]
        else:
            line.append(f"{100 * row.margin:.0f} %" if row.holds else "-")
        line += [f"{100 * run.utilisation:.0f} %", row.binds, _mark(plan, row)]
        cells.append(line)
    lines = _aligned(cells, left={0, 2, len(header) - 2, len(header) - 1})
    lines.append("* no other is better in cost, TTFT and TPOT at once; ~ estimated on a sample, not verified")
    if dropped:
        lines.append(f"{dropped} dearer deployments are not shown (--json has all)")
    return lines


def _chosen(plan: Plan, front: set[int]) -> tuple[list[Row], int]:
    """The cheapest rows, with the best and the Pareto front always among them; and how many are left."""
    must = [row for row in plan.rows if row is plan.best or id(row) in front]
    others = [row for row in plan.rows if row is not plan.best and id(row) not in front]
    kept = {id(row) for row in must + others[: max(0, ROWS - len(must))]}
    return [row for row in plan.rows if id(row) in kept], len(plan.rows) - len(kept)


def _mark(plan: Plan, row: Row) -> str:
    if row is plan.best:
        return "<- cheapest per request" if plan.mode == "capacity" else "<- cheapest that holds"
    if not row.holds:
        return "misses"
    return "" if row.is_verified else "~"


def _aligned(cells: list[list[str]], left: set[int]) -> list[str]:
    widths = [max(len(line[at]) for line in cells) for at in range(len(cells[0]))]
    return [
        "  ".join(
            cell.ljust(width) if at in left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def _ms(seconds: float) -> str:
    if math.isnan(seconds):
        return "-"
    if math.isinf(seconds):
        return "never"
    if seconds >= 10.0:
        return f"{seconds:,.0f} s"
    return f"{seconds * 1e3:.0f} ms" if seconds >= 0.1 else f"{seconds * 1e3:.1f} ms"


# -- the words ------------------------------------------------------------------------------------------


def _answer(plan: Plan, best: Row) -> list[str]:
    made = best.deployment
    monthly = best.cost * HOURS_PER_MONTH
    lines = [
        f"Rent {_devices(best)} for ${best.cost:.2f}/h (${monthly:,.0f} a month) and run {_replicas(best)}: "
        f"played on it, the whole workload at {plan.rate:.4g} req/s keeps every limit, and on nothing cheaper that was "
        "tried does it.",
        f"It carries up to about {best.capacity:.3g} req/s; then {best.binds} goes first. "
        f"One more replica buys about {best.capacity / made.replicas:.2g} req/s for "
        f"${best.cost / made.replicas:.2f}/h.",
    ]
    lines += _confidence(plan)
    for world in plan.sensitivity:
        failed = [check.text for check in world.outcome.checks if not check.holds]
        if world.holds:
            verdict = "still holds"
        else:
            verdict = f"misses ({'; '.join(failed)})"
            if world.replicas > made.replicas:
                verdict += f"; about {world.replicas} replicas would hold"
            elif not world.replicas:
                verdict += "; add --confidence 90% to plan for errors"
        lines.append(f"What if {world.name}: {verdict}.")
    return lines


def _confidence(plan: Plan) -> list[str]:
    """What planning for slow steps costs."""
    if plan.likely is None:
        return []
    cost = plan.confidence_cost
    more = "costs nothing more" if cost <= 0.0 else f"costs +${cost:.2f}/h"
    return [
        f"Steps are taken to be so slow that true ones are slower with {1.0 - plan.confidence:.0%} probability. "
        f"This confidence of {plan.confidence:.0%} {more}: at 50 % the cheapest is {plan.likely.label} for "
        f"${plan.likely.cost:.2f}/h."
    ]


def _devices(row: Row) -> str:
    return f"{row.devices} {row.deployment.device.name}"


def _replicas(row: Row) -> str:
    number, each = row.deployment.replicas, row.deployment.parallelism.devices
    copies = f"{number} replicas" if number > 1 else "one replica"
    return f"{copies} of {each} device{'s' if each > 1 else ''} {'each' if number > 1 else ''}".rstrip()


def _capacity_answer(plan: Plan, best: Row) -> list[str]:
    span = best.interval
    between = (
        ""
        if span is None
        else f" (95 % interval over resamples of the trace: {span.low:.3g} to {span.high:.3g})"
    )
    return [
        f"The least cost per request: {_devices(best)} as {_replicas(best)}. The whole workload can be sped up to "
        f"{best.capacity:.3g} req/s{between}; beyond that {best.binds} goes first.",
    ]


def _nothing_holds(plan: Plan) -> list[str]:
    miss = plan.nearest_miss
    if miss is None:
        return ["NOTHING FITS: no deployment that was tried has room for the model and its longest request."]
    lines = [f"NOTHING HOLDS. Nearest miss: {miss.text}; bound by {miss.binds}."]
    if miss.needs_replicas:
        lines.append(
            f"The devices allowed are too few: about {miss.needs_replicas} such replicas would hold. "
            "Raise --max-devices."
        )
    elif miss.outcome is None:
        lines.append(
            "That is an empty server: more replicas can't help. Loosen the limit, split over more devices (--tp), or "
            "take a faster device or smaller weights."
        )
    elif miss.check.name.startswith(GOODPUT) or "KV" in miss.binds:
        lines.append(
            "Try more devices per replica (--tp), an 8-bit KV cache (--kv-dtypes fp8), or looser limits."
        )
    else:
        lines.append(
            "It fails even with little traffic: try more devices per replica (--tp) or looser limits."
        )
    return lines


def _left_out(rejected: tuple[Rejected, ...]) -> list[str]:
    lines = [f"Left out {each.label}: {each.reason}" for each in rejected[:REJECTED]]
    if len(rejected) > REJECTED:
        lines.append(f"Left out {len(rejected) - REJECTED} more (--json has all)")
    return lines
