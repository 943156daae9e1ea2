"""The charts of a run, an explanation, a plan and a comparison, as `--plot` prints them below the numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hasten.cli.output.plot.bars import composition, legend
from hasten.cli.output.plot.distribution import Distribution, side_by_side
from hasten.cli.output.plot.forest import Span, forest
from hasten.cli.output.plot.frame import GAP, beside, plain
from hasten.cli.output.plot.load import load
from hasten.cli.output.plot.look import Look
from hasten.cli.output.plot.scatter import Axis, Point, scatter
from hasten.cli.output.plot.sides import LETTERS, Swept, along, key, overlaid
from hasten.cli.output.plot.words import short

if TYPE_CHECKING:
    from hasten.explain.attribution import Attribution, Labelled
    from hasten.explain.explanation import Explanation
    from hasten.plan import Plan
    from hasten.report.compare import Comparison
    from hasten.report.report import Report
    from hasten.workload import Workload

METRICS = ("ttft", "tpot", "e2e")
COMPARED = ("ttft_p99", "tpot_p99", "e2e_p99")
"""Figures of a comparison whose changes are drawn."""


def of_run(report: Report, found: Attribution | None, look: Look, work: Workload) -> str:
    """Distributions against their limits, and what each band of percentiles spends its time on: of requests, and of
    programs where there are such."""
    lines = distributions(report, look)
    if found is not None:
        from hasten.explain.programs import PROGRAM, programs_of

        lines += ["", *compositions(found, look, ("ttft", "e2e"))]
        programs = programs_of(found, work)
        if programs is not None:
            lines += ["", *compositions(programs, look, (PROGRAM,))]
    return "\n".join(lines)


def of_explanation(found: Explanation, look: Look) -> str:
    """The composition of the metric that is explained, and the effects with their intervals."""
    objective = found.objective
    spans = [
        Span(each.change.text, each.relative, each.interval.low, each.interval.high) for each in found.leading
    ]
    return "\n".join(
        [
            *compositions(found.labelled, look, (objective.metric,)),
            "",
            *forest(
                spans, look, title=f"What one change makes of {objective.text}, and of 90 % of new traffic"
            ),
        ]
    )


def of_plan(found: Plan, work: Workload, curve: Sequence[Mapping[str, Any]], look: Look) -> str:
    """What deployments trade, and how the best one bears load."""
    lines = trades(found, work, look)
    best = found.best
    if best is not None and curve:
        metric = "tpot" if best.binds.startswith("TPOT") else "ttft"
        limit = getattr(found.constraints.slo, metric)
        marks = {} if found.mode == "capacity" else {"planned": found.rate}
        lines += [
            "",
            *load(
                curve,
                metric,
                look,
                percentile=found.constraints.percentile,
                limit=None if limit is None else limit * 1e3,
                marks={**marks, "holds up to": best.capacity},
                title=f"{best.label}: {metric.upper()} under load, shaded where 80 % of the error lies",
            ),
        ]
    return "\n".join(lines)


def of_sides(reports: Mapping[str, Sequence[Report]], found: Comparison | None, look: Look) -> str:
    """Distributions of all sides over each other, and what the others change against the first side."""
    width = (look.width - GAP * (len(METRICS) - 1)) // len(METRICS)
    blocks = []
    for name in METRICS:
        shown = [_distribution(side, each, name) for side, each in reports.items()]
        blocks.append(overlaid(shown, look, width, title=name.upper()))
    lines = [*beside(blocks), "", *key(list(reports), look)]
    if found is not None:
        spans = [
            Span(
                f"{each.label}: {each.figure.upper().replace('_P', ' p')}",
                each.relative,
                *(
                    end / each.baseline if each.baseline else math.nan
                    for end in (each.interval.low, each.interval.high)
                ),
            )
            for each in found.differences
            if each.figure in COMPARED
        ]
        title = f"Change against {found.baseline}, and its {100 * found.confidence:g} % interval"
        lines += ["", *forest(spans, look, title=title)]
    return "\n".join(lines)


def _distribution(side: str, reports: Sequence[Report], metric: str) -> Distribution:
    """All runs of one side together. Without a second token there is no TPOT: such requests don't count there."""
    import numpy as np

    from hasten.report import metrics

    limits = reports[0].slo
    limit = None if limits is None else getattr(limits, metric)
    values = np.concatenate([metrics.PER_REQUEST[metric](each.records) * 1e3 for each in reports])
    total = values.size if metric == "tpot" else sum(len(each.records) for each in reports)
    return Distribution(side, values, total, None if limit is None else limit * 1e3)


def of_sweep(
    figures: Mapping[str, Mapping[str, Sequence[float]]],
    points: Sequence[str],
    look: Look,
    *,
    swept: str,
    limits: Mapping[str, float | None],
) -> str:
    """Figures (title -> side -> ms by point) over the points of a sweep; `limits` in milliseconds by title."""
    width = (look.width - GAP * (len(figures) - 1)) // len(figures)
    blocks = [
        along(
            [Swept(side, values) for side, values in sides.items()],
            points,
            look,
            width,
            title=f"{title} over {swept}",
            limit=limits.get(title),
        )
        for title, sides in figures.items()
    ]
    return "\n".join([*beside(blocks), "", *key(list(next(iter(figures.values()))), look)])


def distributions(report: Report, look: Look) -> list[str]:
    """TTFT, TPOT and E2E beside each other."""
    return beside(side_by_side([_distribution(name.upper(), [report], name) for name in METRICS], look))


def compositions(found: Labelled, look: Look, metrics: Sequence[str]) -> list[str]:
    """Bars of each metric, and one legend of what occurs in them."""
    from hasten.explain.programs import PROGRAM
    from hasten.page import causes

    whole = causes.composition(found, metrics)
    family_of = {each["label"]: each["family"] for each in causes.labels()}
    used = {
        family_of[label]
        for metric in metrics
        for band in whole[metric]
        for label, ms in band["labels_ms"].items()
        if ms > 0.0
    }
    families = causes.families()
    lines: list[str] = []
    for metric in metrics:
        subject = ("a program", "programs") if metric == PROGRAM else (metric.upper(), "requests")
        title = f"Where {subject[0]} goes, by percentile of the {subject[1]} (mean, and shares of it)"
        lines += [""] * bool(lines)
        lines += composition(whole[metric], families, family_of, look, title=title)
    return [*lines, *legend([each for each in families if each["family"] in used], look)]


def trades(found: Plan, work: Workload, look: Look) -> list[str]:
    """Speed for the user against yield and against cost, and a key of the deployments that have a letter."""
    from hasten.page.plan import trade

    rows = [(row, trade(row, work)) for row in found.rows]
    rows = [(row, each) for row, each in rows if each.is_known]
    if not rows:
        return ["nothing to draw: no deployment holds at any rate"]
    front = {id(row) for row in found.pareto}
    named = [row for row, _ in rows if row is found.best or id(row) in front][: len(LETTERS)]
    letters = {id(row): letter for row, letter in zip(named, LETTERS, strict=False)}
    width = (look.width - GAP) // 2

    def panel(title: str, upwards: Axis, figure: str, *, less: bool) -> list[str]:
        points = [
            Point(
                letters.get(id(row), ""),
                each.user_tokens_per_s,
                getattr(each, figure),
                row.holds,
                row is found.best,
            )
            for row, each in rows
        ]
        return scatter(
            points, look, width, title=title, across=Axis("tok/s/user"), upwards=upwards, less=less
        )

    charts = beside(
        [
            panel("tok/s/GPU over tok/s/user", Axis("tok/s/GPU"), "device_tokens_per_s", less=False),
            panel(
                "$ per 1M tokens over tok/s/user",
                Axis("$", lambda value: f"${short(value)}"),
                "usd_per_million_output_tokens",
                less=True,
            ),
        ]
    )
    key = plain("◆ chosen   ● holds   ○ misses   the line: nothing that holds beats it in both", look)
    return [*charts, key, *_key(rows, letters)]


def _key(rows: Sequence[tuple[Any, Any]], letters: Mapping[int, str]) -> list[str]:
    """One line per letter: the deployment and its four figures."""
    cells = [["", "deployment", "$/h", "$/1M tok", "tok/s/user", "tok/s/GPU"]]
    for row, each in rows:
        if id(row) in letters:
            figures = (each.usd_per_million_output_tokens, each.user_tokens_per_s, each.device_tokens_per_s)
            cells.append([letters[id(row)], row.label, f"{row.cost:.2f}", *map(short, figures)])
    widths = [max(len(line[at]) for line in cells) for at in range(len(cells[0]))]
    return [
        "  ".join(
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
