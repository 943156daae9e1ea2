"""Errors of step times from errors of closed-loop points: spreads whose intervals cover points of other deployments.

Mean TPOT and TTFT of a closed loop without thinking time are homogeneous in step times: with every step f times as long
they are f times as large. So their elasticities to decodes and to what prefills add sum to one, and to first order

    log(measured / predicted) = (1 - e) u + e v

with u the error of decodes, v that of prefills and e the share of the figure that prefills make up: small for TPOT,
most of TTFT. The spreads are the smallest for which |error| <= z ((1 - e) s_decode + e s_prefill) holds for the wanted
share of points (split-conformal; both quantiles at once, as `StepTimeError.quantile` takes them). Every deployment
counts the same, however many points it has. What else moves a TTFT (front end, unknown settings) ends up in s_prefill.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from hasten.accuracy.closed_loop import Group, Point, Simulated, simulate_point
from hasten.accuracy.ten_points import Coefficients
from hasten.errors import InputError
from hasten.hardware import load_device
from hasten.latency.error import LEVEL
from hasten.latency.expected import kind_of
from hasten.models import load_model

Floats = npt.NDArray[np.float64]

BITS = {"fp4": 4.0, "fp8": 8.0, "bf16": 16.0}

NUDGE = 1.1
ROUNDS = 30
Z = NormalDist().inv_cdf(0.5 + 0.5 * LEVEL)


@dataclass(frozen=True)
class Seen:
    """A point's group, log(measured / predicted) of TTFT and TPOT, and the share of each that prefills make up.

    ``counts_ttft`` is False where what TTFT depends on besides isn't known (limits of the engine, load generator).
    """

    group: Group
    ttft: float
    tpot: float
    ttft_share: float
    tpot_share: float
    counts_ttft: bool = True


def seen(point: Point, base: Simulated, *, counts_ttft: bool = True) -> Seen:
    """What a simulated point says about step times, by simulating it once more with longer prefills."""
    longer = Coefficients(1.0, NUDGE).simulate(point)
    ttft, tpot = base.log_errors
    scale = math.log(NUDGE)
    return Seen(
        point.group,
        ttft,
        tpot,
        ttft_share=min(1.0, max(0.0, math.log(longer.ttft / base.ttft) / scale)),
        tpot_share=min(1.0, max(0.0, math.log(longer.tpot / base.tpot) / scale)),
        counts_ttft=counts_ttft,
    )


def see(point: Point, *, counts_ttft: bool = True) -> Seen:
    """`seen` of a point that was not simulated yet."""
    return seen(point, simulate_point(point), counts_ttft=counts_ttft)


def fit_spreads(points: Sequence[Seen], level: float = LEVEL) -> tuple[float, float]:
    """Spreads of decodes and prefills (see above). Raises InputError without points that count for both."""
    timed = [each for each in points if each.counts_ttft]
    if not points or not timed:
        raise InputError("no points to take spreads from: give some with TPOT and some with TTFT")
    decode = prefill = 0.1
    for _ in range(ROUNDS):
        decode = _quantile(
            points,
            [(abs(p.tpot) / Z - p.tpot_share * prefill) / max(1.0 - p.tpot_share, 0.1) for p in points],
            level,
        )
        prefill = _quantile(
            timed,
            [(abs(p.ttft) / Z - (1.0 - p.ttft_share) * decode) / max(p.ttft_share, 0.1) for p in timed],
            level,
        )
    return decode, prefill


def _quantile(points: Sequence[Seen], values: Iterable[float], level: float) -> float:
    """The ``level`` quantile of values, groups counted the same, with the correction for a finite sample."""
    sizes: dict[Group, int] = {}
    for each in points:
        sizes[each.group] = sizes.get(each.group, 0) + 1
    order = sorted(zip(values, (1.0 / sizes[each.group] for each in points), strict=True))
    wanted = min(1.0, level * (1.0 + 1.0 / len(points))) * len(sizes)
    total = 0.0
    for value, weight in order:
        total += weight
        if total >= wanted - 1e-9:
            return max(0.0, value)
    return max(0.0, order[-1][0])


def group_kind(group: Group) -> str:
    """What `Expected.measured` tells apart: generation of the device and bits of a weight."""
    stored = load_model(group[0]).quantisation
    bits = BITS.get(group[3], 16.0 if stored is None else stored.weight_bits)
    return kind_of(load_device(group[1]), bits)


def unseen_factor(points: Sequence[Seen], level: float = LEVEL) -> float:
    """Factor on spreads for a kind of deployment (`group_kind`) that they were not fitted to.

    The least, but 1, under which spreads fitted to all other kinds cover the wanted share of each, TPOT and TTFT. Kinds
    without which no TTFT is left to fit to are not asked.
    """
    found = 1.0
    for name in {group_kind(each.group) for each in points}:
        own, others = split(points, name)
        if not any(each.counts_ttft for each in others):
            continue
        decode, prefill = fit_spreads(others, level)
        timed = [each for each in own if each.counts_ttft]
        for asked, figure in ((own, "tpot"), (timed, "ttft")):
            needed = []
            for each in asked:
                share = getattr(each, f"{figure}_share")
                needed.append(abs(getattr(each, figure)) / Z / ((1.0 - share) * decode + share * prefill))
            if asked:
                found = max(found, _quantile(asked, needed, level))
    return found


def split(points: Sequence[Seen], name: str) -> tuple[list[Seen], list[Seen]]:
    """The points of one kind of deployment, and all others."""
    own = [each for each in points if group_kind(each.group) == name]
    return own, [each for each in points if group_kind(each.group) != name]


def factors(spreads: tuple[float, float], confidence: float = LEVEL) -> tuple[Coefficients, Coefficients]:
    """Corrections for the fast and the slow end of an interval."""
    z = NormalDist().inv_cdf(0.5 + 0.5 * confidence)
    low, high = ([math.exp(sign * z * each) for each in spreads] for sign in (-1.0, 1.0))
    return Coefficients(*low), Coefficients(*high)


@dataclass(frozen=True)
class Coverage:
    """Of points that a spread did not see: the share inside the interval, and its mean width (high / low - 1)."""

    points: int
    ttft: float
    tpot: float
    ttft_width: float
    tpot_width: float


def coverage(points: Sequence[Seen], spreads: tuple[float, float], confidence: float = LEVEL) -> Coverage:
    """How many of the points lie inside intervals of these spreads, to first order (as the spreads were fitted)."""
    z = NormalDist().inv_cdf(0.5 + 0.5 * confidence)
    decode, prefill = spreads
    found: dict[str, tuple[float, float]] = {}
    for kind, chosen in (("ttft", [p for p in points if p.counts_ttft]), ("tpot", list(points))):
        share = np.array([getattr(p, f"{kind}_share") for p in chosen])
        half = z * ((1.0 - share) * decode + share * prefill)
        error = np.abs(np.array([getattr(p, kind) for p in chosen]))
        inside = float(np.mean(error <= half)) if chosen else math.nan
        found[kind] = (inside, float(np.mean(np.exp(2.0 * half) - 1.0)) if chosen else math.nan)
    return Coverage(len(points), found["ttft"][0], found["tpot"][0], found["ttft"][1], found["tpot"][1])


def leave_one_out(points: Sequence[Seen]) -> dict[Group, Coverage]:
    """Coverage of every group by spreads of all others."""
    groups = sorted({each.group for each in points})
    return {
        group: coverage(
            [each for each in points if each.group == group],
            fit_spreads([each for each in points if each.group != group]),
        )
        for group in groups
    }
