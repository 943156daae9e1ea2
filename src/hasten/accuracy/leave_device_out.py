"""Every device with operator tables taken to be unknown in turn: step times from k timed steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hasten.accuracy.unseen import MODELS, MeasuredSteps, measured_steps
from hasten.fewshot.learning import learn, most_telling
from hasten.fewshot.parts import Floats
from hasten.fewshot.pool import load_pool
from hasten.fewshot.rivals import Roofline, nearest_device, ridge_over_devices

#: Models that are sampled; steps of these and of the other models are predicted.
SAMPLED = (MODELS[0], MODELS[2], MODELS[3])

DRAWS = 4
"""Random choices of samples per device and model."""

#: Devices so alike that both are left out together.
SIBLINGS = {"h100-sxm": "h200-sxm", "h200-sxm": "h100-sxm"}


@dataclass(frozen=True)
class Case:
    """One device left out: ``places`` of the steps sampled, all of the first model; seconds of all models' steps."""

    device: str
    known: tuple[str, ...]
    models: tuple[tuple[str, int], ...]  # the sampled one first
    places: tuple[int, ...]

    def steps_on(self, device: str) -> list[MeasuredSteps]:
        """Steps of all models on a device, one after the other."""
        return [measured_steps(device, *model) for model in self.models]

    @property
    def all_steps(self) -> MeasuredSteps:
        """Steps of all models on the device left out."""
        found = self.steps_on(self.device)
        return MeasuredSteps(
            tuple(step for each in found for step in each.steps),
            np.concatenate([each.seconds for each in found]),
        )

    @property
    def sampled(self) -> Floats:
        """Seconds of the samples."""
        found: Floats = self.all_steps.seconds[list(self.places)]
        return found

    @property
    def known_seconds(self) -> Floats:
        """Seconds of the same steps on the known devices, [steps, devices]."""
        columns = [np.concatenate([each.seconds for each in self.steps_on(device)]) for device in self.known]
        return np.stack(columns, axis=1)


@dataclass(frozen=True)
class Outcome:
    """Mean absolute relative error on steps of the sampled model that were not sampled, and of other models.

    ``covered`` is the share of the former inside 90 % intervals, ``width`` their half width in logs (predictors that
    have any).
    """

    own: float
    others: float
    covered: float = float("nan")
    width: float = float("nan")


def cases(
    count: int, how: str, device: str, known: Sequence[str], sampled: Sequence[tuple[str, int]] = SAMPLED
) -> Iterator[Case]:
    """Cases of one device left out: ``how`` the samples are chosen is "random" or "chosen" (by the pool)."""
    pool = load_pool().without(*(name for name in load_pool().weights if name not in known))
    for model in sampled:
        models = (model, *(each for each in MODELS if each != model))
        own = measured_steps(device, *model)
        if how == "chosen":
            yield Case(device, tuple(known), models, tuple(most_telling(pool, own.steps, count)))
            continue
        rng = np.random.default_rng([count, MODELS.index(model)])
        for _ in range(DRAWS):
            places = rng.choice(len(own.steps), count, replace=False)
            yield Case(device, tuple(known), models, tuple(int(each) for each in places))


def data_sheet(case: Case) -> Floats:
    """No samples: every device reaches the same shares of its data sheet."""
    return np.array([sum(float(part.seconds[0]) for part in step.parts) for step in case.all_steps.steps])


def fitted_roofline(case: Case) -> Floats:
    """Four coefficients fitted to the samples."""
    steps = case.all_steps.steps
    return Roofline([steps[i] for i in case.places], case.sampled).predict(steps)


def nearest(case: Case) -> Floats:
    """The known device most nearly in proportion."""
    return nearest_device(case.known_seconds, case.places, case.sampled)


def ridge(case: Case) -> Floats:
    """Ridge regression over the known devices."""
    return ridge_over_devices(case.known_seconds, case.places, case.sampled)


def device_pool(case: Case) -> tuple[Floats, Floats]:
    """The pool's prior and the samples: seconds and standard deviations of their logs."""
    whole = load_pool()
    pool = whole.without(*(name for name in whole.weights if name not in case.known))
    steps = case.all_steps.steps
    learned = learn(pool, [steps[i] for i in case.places], case.sampled, has_offsets=False)
    return learned.predict(steps)


PREDICTORS: dict[str, Callable[[Case], Floats | tuple[Floats, Floats]]] = {
    "data sheet, no sample": data_sheet,
    "fitted roofline": fitted_roofline,
    "nearest device, rescaled": nearest,
    "ridge over devices": ridge,
    "device pool": device_pool,
}

NORMAL_90 = 1.645


def outcome(case: Case, found: Floats | tuple[Floats, Floats]) -> Outcome:
    """How far predictions of all steps are off."""
    seconds, spread = found if isinstance(found, tuple) else (found, np.full(len(found), np.nan))
    truth = case.all_steps.seconds
    errors = np.abs(seconds / truth - 1.0)
    own = np.arange(len(measured_steps(case.device, *case.models[0]).steps))
    asked = np.setdiff1d(own, case.places)
    inside = np.abs(np.log(truth / seconds))[asked] <= NORMAL_90 * spread[asked]
    has_spread = not np.isnan(spread[asked]).any()
    return Outcome(
        float(errors[asked].mean()),
        float(errors[len(own) :].mean()),
        float(inside.mean()) if has_spread else float("nan"),
        float(NORMAL_90 * spread[asked].mean()),
    )


def leave_out(
    predict: Callable[[Case], Floats | tuple[Floats, Floats]],
    count: int,
    how: str,
    *,
    siblings: bool = True,
    sampled: Sequence[tuple[str, int]] = SAMPLED,
) -> dict[str, Outcome]:
    """Mean outcomes by device left out; without ``siblings``, its sibling is unknown too."""
    devices = sorted(load_pool().weights)
    found = {}
    for device in devices:
        hidden = {device} if siblings else {device, SIBLINGS.get(device, device)}
        known = [each for each in devices if each not in hidden]
        outcomes = [outcome(case, predict(case)) for case in cases(count, how, device, known, sampled)]
        found[device] = Outcome(
            *(float(np.mean([getattr(each, name) for each in outcomes])) for name in Outcome.__annotations__)
        )
    return found
