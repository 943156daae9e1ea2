"""What-ifs: the same requests and random numbers with one thing changed, and the effect on the user's own objective."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hasten.errors import InputError
from hasten.explain.changes import Change, counted
from hasten.explain.objective import Objective
from hasten.explain.setup import Run
from hasten.report.bootstrap import Interval

Floats = npt.NDArray[np.float64]
Step = Callable[[], None]

NO_INTERVAL = Interval(math.nan, math.nan, math.nan)

SPEED_UPS = (0.10, 0.25, 0.50)
"""Shares of a resource's time that virtual speed-ups take away."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What one change makes of the objective, in its unit, on the workload.

    `interval` is where `relative` lies on new traffic of the same kind, see `hasten.explain.fresh`; NaN at both ends
    where it was not asked for, or where the change made no difference to any request.
    """

    change: Change
    setup: Run  # changed
    baseline: float
    value: float
    makes_a_difference: bool = True
    interval: Interval = NO_INTERVAL

    @property
    def relative(self) -> float:
        """(value - baseline) / baseline: negative is better; NaN for a baseline of 0 or without end."""
        if not self.baseline or math.isinf(self.baseline):
            return math.nan if math.isinf(self.value) or not self.baseline else -1.0
        return (self.value - self.baseline) / self.baseline

    @property
    def has_interval(self) -> bool:
        """Whether an interval is known."""
        return not math.isnan(self.interval.low)

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.has_interval and not self.interval.holds(0.0)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The objective with one resource faster, by the share of its time that is taken away."""

    resource: str
    text: str
    values: tuple[tuple[float, float], ...]


def effect_of(change: Change, objective: Objective, setup: Run, baseline: Floats) -> Effect:
    """Play one change. `baseline` is the objective's column of the run of `setup`, which is not changed.

    Raises InputError where the changed deployment can't be.
    """
    changed = change.make()
    before, after = counted(change, setup.work, baseline, objective.column(changed.run().records))
    return Effect(
        change=change,
        setup=changed,
        baseline=objective.value(before),
        value=objective.value(after),
        makes_a_difference=not np.array_equal(before, after, equal_nan=True),
    )


def effects(
    changes: Sequence[Change],
    objective: Objective,
    setup: Run,
    baseline: Floats,
    *,
    after_each: Step = lambda: None,
) -> tuple[list[Effect], list[str]]:
    """Play every change; the most helpful first, and why some could not be played."""
    found, notes = [], []
    for change in changes:
        try:
            found.append(effect_of(change, objective, setup, baseline))
        except InputError as error:
            notes.append(f"not tried: {change.text}: {error}")
        after_each()
    found.sort(key=lambda each: math.inf if math.isnan(each.relative) else each.relative)
    return found, notes


def profiles(
    changes: Sequence[Change],
    objective: Objective,
    known: Sequence[Effect],
    *,
    after_each: Step = lambda: None,
) -> list[Profile]:
    """The causal profile: each resource faster by 10, 25 and 50 % of its time. `known` effects are not played again."""
    at_half = {effect.change.name: effect.value for effect in known}
    found = []
    for change in changes:
        if change.at is None or change.name not in at_half:
            continue
        values = []
        for share in SPEED_UPS:
            if share == 0.5:
                values.append((share, at_half[change.name]))
                continue
            records = change.at(1.0 / (1.0 - share)).run().records
            values.append((share, objective.value(objective.column(records))))
            after_each()
        found.append(Profile(resource=change.name, text=change.resource, values=tuple(values)))
    return found
