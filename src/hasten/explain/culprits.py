"""Root cause over time: which of many component series started it, once one of them raises an alarm.

Rankings from simple to less so: size of the deviation, correlation with the alarm, earliest onset, and a walk from the
alarm towards causes, over a call graph that is given or over lagged linear (Granger) dependences that are learned.
The walk is that of MonitorRank (Kim, Sumbaly and Shah, SIGMETRICS 2013, section 4): a step prefers components that
deviate and move with the alarm, and stays where a deviation is larger than that of anything it depends on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hasten.errors import InputError
from hasten.explain.series import Series

Floats = npt.NDArray[np.float64]

DAMPING = 0.85  # probability of another step of the walk
BACK = 0.1  # weight of a step back towards the alarm
ONSET_SIGMAS = 4.0
FLOOR = (
    0.05  # smallest spread of a series, as a share of its median, lest a constant one deviates without end
)


@dataclass(frozen=True)
class Culprit:
    """One suspect: its share of the walk, how far it deviates (sigmas), its correlation with the alarm, and its onset
    (s; NaN: none)."""

    name: str
    score: float
    deviation: float
    correlation: float
    onset: float


# ---- evidence -------------------------------------------------------------------------------------------


def deviations(normal: Floats, found: Floats) -> Floats:
    """Largest deviation upwards of each column of `found`, in standard deviations of `normal`; 0 where unknown."""
    with np.errstate(all="ignore"):
        middle = np.nanmedian(np.where(np.isfinite(normal), normal, np.nan), axis=0)
        spread = np.maximum(np.nanstd(normal, axis=0), FLOOR * np.abs(middle))
        spread = np.where(spread > 0, spread, 1.0)
        largest: Floats = np.nan_to_num(np.nanmax((found - middle) / spread, axis=0))
    return largest


def correlations(values: Floats, alarm: int) -> Floats:
    """Pearson correlation of every column with column `alarm`; 0 where it is not defined."""
    target = values[:, alarm]
    found = np.zeros(values.shape[1])
    for column in range(values.shape[1]):
        known = ~(np.isnan(values[:, column]) | np.isnan(target))
        one, other = values[known, column], target[known]
        if known.sum() > 2 and one.std() > 0 and other.std() > 0:
            found[column] = np.corrcoef(one, other)[0, 1]
    return found


def onsets(times: Floats, normal: Floats, found: Floats, sigmas: float = ONSET_SIGMAS) -> Floats:
    """When each column of `found` first leaves `sigmas` standard deviations of `normal` (s); NaN if it never does."""
    middle, spread = np.nanmean(normal, axis=0), np.nanstd(normal, axis=0)
    outside = np.abs(found - middle) > sigmas * np.maximum(spread, 1e-12)
    return np.where(outside.any(axis=0), times[outside.argmax(axis=0)], np.nan)


def granger(values: Floats, *, lags: int | None = None, ridge: float = 1.0) -> Floats:
    """Strength of every lagged linear dependence: row cause, column effect; 0 on the diagonal.

    Every series is regressed on the last `lags` values of all of them (3, or fewer where rows are few; ridge,
    standardised); the strength is the norm of a cause's coefficients (Granger, Econometrica 1969, in the linear form).
    Raises InputError for too few rows.
    """
    rows, size = values.shape
    if lags is None:
        lags = max(1, min(3, (rows - 3) // 3))
    if rows < 3 * lags + 3:
        raise InputError(f"{rows} rows are too few for {lags} lags: give at least {3 * lags + 3}")
    scale = values.std(axis=0)
    standard = (values - values.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    past = np.concatenate([standard[lags - lag : rows - lag] for lag in range(1, lags + 1)], axis=1)
    moments = past.T @ past + ridge * np.eye(past.shape[1])
    weights = np.linalg.solve(moments, past.T @ standard[lags:])  # lag by lag, cause by cause
    strength: Floats = np.sqrt((weights.reshape(lags, size, size) ** 2).sum(axis=0))
    np.fill_diagonal(strength, 0.0)
    return strength


# ---- the walk -------------------------------------------------------------------------------------------


def walk(depends: Floats, weight: Floats, alarm: int, *, stays: bool = True) -> Floats:
    """Share of time that a walk from `alarm` spends at each component.

    `depends[i, j]` > 0: i depends on j (i calls j, or j causes i). `weight` is how suspect each one is. With `stays`
    the walk lingers where a component is more suspect than all it depends on.
    """
    size = len(weight)
    suspect = np.maximum(weight, 1e-6)
    linked = depends > 0
    steps = depends * suspect[None, :]
    steps = steps + BACK * linked.T * suspect[None, :]
    if stays:
        below = np.where(linked, suspect[None, :], 0.0).max(axis=1, initial=0.0)
        steps[np.arange(size), np.arange(size)] = np.maximum(suspect - below, 0.0)
    total = steps.sum(axis=1, keepdims=True)
    steps = np.divide(steps, total, out=np.zeros_like(steps), where=total > 0)
    start = np.zeros(size)
    start[alarm] = 1.0
    stuck = total[:, 0] == 0
    at = start
    for _ in range(200):
        at = (1 - DAMPING) * start + DAMPING * (at @ steps + at[stuck].sum() * start)
    return at


def suspicion(normal: Floats, found: Floats, alarm: int) -> Floats:
    """How suspect each component is: log of its deviation times its correlation with the alarm, both upwards."""
    together = correlations(np.concatenate([normal[-len(found) :], found]), alarm)
    return np.maximum(together, 0.0) * np.log1p(np.maximum(deviations(normal, found), 0.0))


def culprits(series: Series, alarm: str, since: float, *, depends: Floats | None = None) -> list[Culprit]:
    """Suspects for an alarm at series `alarm` in the rows from time `since` (s) on, the likeliest first.

    `depends` is the call graph (row depends on column); None: learned from lagged dependences. Raises InputError
    when there are fewer than 4 rows before `since`, or none after it.
    """
    target = series.column(alarm)
    before = series.times < since
    if before.sum() < 4 or before.all():
        raise InputError(
            f"{int(before.sum())} of {len(before)} rows lie before {since:g} s: at least 4 normal ones and one after"
        )
    normal, found = series.values[before], series.values[~before]
    filled = np.nan_to_num(series.values - np.nanmean(normal, axis=0))
    graph = granger(filled).T if depends is None else depends
    weight = suspicion(normal, found, target)
    share = walk(graph, weight, target) * weight
    share[target] = 0.0
    share = share / share.sum() if share.sum() > 0 else share
    size, together = deviations(normal, found), correlations(series.values, target)
    onset = onsets(series.times[~before], normal, found)
    rows = np.argsort(-share, kind="stable")
    return [
        Culprit(
            series.names[row], float(share[row]), float(size[row]), float(together[row]), float(onset[row])
        )
        for row in rows.tolist()
        if row != target
    ]


# ---- change points --------------------------------------------------------------------------------------


def change_points(values: Floats, *, least: int = 5, penalty: float = 3.0) -> list[int]:
    """Rows at which the mean of one series changes, by binary segmentation.

    A cut must lower the sum of squares by `penalty` x log(rows) times the noise variance (from the median of absolute
    differences); segments have at least `least` rows. (Scott and Knott, Biometrics 1974, with a BIC-like penalty.)
    """
    known = np.nan_to_num(values, nan=float(np.nanmedian(values)) if np.isfinite(values).any() else 0.0)
    noise = (np.median(np.abs(np.diff(known))) / 0.954) ** 2 if len(known) > 1 else 0.0
    threshold = penalty * math.log(max(len(known), 2)) * max(noise, 1e-18)
    found: list[int] = []
    parts = [(0, len(known))]
    while parts:
        begin, end = parts.pop()
        at, gain = _best_cut(known[begin:end], least)
        if at and gain > threshold:
            found.append(begin + at)
            parts += [(begin, begin + at), (begin + at, end)]
    return sorted(found)


def _best_cut(values: Floats, least: int) -> tuple[int, float]:
    size = len(values)
    if size < 2 * least:
        return 0, 0.0
    cuts = np.arange(least, size - least + 1)
    sums = np.cumsum(values)
    left, total = sums[cuts - 1], sums[-1]
    gains = left**2 / cuts + (total - left) ** 2 / (size - cuts) - total**2 / size
    best = int(np.argmax(gains))
    return int(cuts[best]), float(gains[best])
