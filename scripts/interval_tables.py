"""Other ways to make intervals of closed-loop points than the shipped one, each deployment by all others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from statistics import fmean

import numpy as np
from pages import table

from hasten.accuracy.closed_loop import Group
from hasten.accuracy.spread import Coverage, Seen, Z, coverage, fit_spreads
from hasten.errors import InputError
from hasten.hardware import load_device
from hasten.models import load_model

#: 95 % quantiles of Student's t by degrees of freedom.
STUDENT = (
    6.314,
    2.920,
    2.353,
    2.132,
    2.015,
    1.943,
    1.895,
    1.860,
    1.833,
    1.812,
    1.796,
    1.782,
    1.771,
    1.761,
    1.753,
)

Way = Callable[[Sequence[Seen], list[Seen]], Coverage]


def shipped(asked: Sequence[Seen], others: list[Seen]) -> Coverage:
    """One spread for all deployments."""
    return coverage(asked, fit_spreads(others))


def by_precision(asked: Sequence[Seen], others: list[Seen]) -> Coverage:
    """Spreads of deployments of the same precision alone (Mondrian); of all where those have no TTFT."""
    alike = [each for each in others if each.group[3] == asked[0].group[3]]
    try:
        return coverage(asked, fit_spreads(alike))
    except InputError:
        return coverage(asked, fit_spreads(others))


def student(asked: Sequence[Seen], others: list[Seen]) -> Coverage:
    """Root mean squares over deployments, times Student's t with one degree of freedom for each of them."""
    timed = [each for each in others if each.counts_ttft]
    decode = prefill = 0.1
    for _ in range(50):
        ratio = prefill / decode
        decode = _spread(others, [p.tpot / (1.0 - p.tpot_share + p.tpot_share * ratio) for p in others])
        prefill = _spread(timed, [p.ttft / ((1.0 - p.ttft_share) / ratio + p.ttft_share) for p in timed])
    return coverage(asked, (decode, prefill))


def _spread(points: Sequence[Seen], errors: Sequence[float]) -> float:
    squares: dict[Group, list[float]] = {}
    for each, value in zip(points, errors, strict=True):
        squares.setdefault(each.group, []).append(value * value)
    return STUDENT[len(squares) - 1] / Z * math.sqrt(fmean(map(fmean, squares.values())))


def without_expansion(asked: Sequence[Seen], others: list[Seen]) -> Coverage:
    """As shipped, with what other deployments of expanded 4-bit weights miss on average taken off."""
    kind: dict[Group, list[Seen]] = {}
    for each in others:
        if expands(each.group):
            kind.setdefault(each.group, []).append(each)
    spreads = fit_spreads([_less(each, _means(kind, each.group)) for each in others])
    if not expands(
        asked[0].group
    ):  # all TTFTs may be of expanded weights: they tell about others as they are
        return coverage(asked, (spreads[0], fit_spreads(others)[1]))
    taken = _means(kind, asked[0].group)
    return coverage([_less(each, taken) for each in asked], spreads)


def _means(kind: dict[Group, list[Seen]], group: Group) -> tuple[float, float]:
    """Mean errors (TPOT, TTFT) of the deployments of a kind other than ``group``; nothing for one of another kind."""
    if not expands(group):
        return 0.0, 0.0
    own = [points for other, points in kind.items() if other != group]
    tpot = [fmean(each.tpot for each in points) for points in own]
    ttft = [fmean(each.ttft for each in points) for points in own if points[0].counts_ttft]
    return fmean(tpot) if tpot else 0.0, fmean(ttft) if ttft else 0.0


def _less(point: Seen, taken: tuple[float, float]) -> Seen:
    return replace(point, tpot=point.tpot - taken[0], ttft=point.ttft - taken[1]) if any(taken) else point


@lru_cache(maxsize=256)
def expands(group: Group) -> bool:
    """Whether 4-bit weights are expanded before they are multiplied: the device has no such arithmetic."""
    stored = load_model(group[0]).quantisation
    bits = stored.weight_bits if stored is not None else 16
    return (bits < 8 or group[3] == "fp4") and not load_device(group[1]).native("fp4")


WAYS: dict[str, Way] = {
    "one spread for all (shipped)": shipped,
    "by precision": by_precision,
    "Student's t": student,
    "4-bit weights that are expanded, centred": without_expansion,
}


def interval_table(points: dict[str, list[Seen]]) -> str:
    """Coverage and width of every way, means over deployments, and the deployment that is covered worst."""
    lines = []
    for label, some in points.items():
        groups = sorted({each.group for each in some})
        for name, way in WAYS.items():
            found = [
                way([p for p in some if p.group == group], [p for p in some if p.group != group])
                for group in groups
            ]
            cells = [
                f"{np.mean([each.tpot for each in found]):.0%}",
                f"{min(each.tpot for each in found):.0%}",
            ]
            cells.append(f"{np.mean([each.tpot_width for each in found]):.0%}")
            timed = [each for each in found if not math.isnan(each.ttft)]
            cells += [
                f"{np.mean([each.ttft for each in timed]):.0%}",
                f"{np.median([each.ttft_width for each in timed]):.0%}",
            ]
            lines.append([label, name, *cells])
    head = ["step times", "intervals", "TPOT covered", "worst deployment", "TPOT width", "TTFT covered"]
    return table([*head, "TTFT width, median"], lines)
