"""HELP on step times of engines: its network over the figures of a step, trained on the known devices."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from hasten.accuracy.leave_device_out import Case
from hasten.fewshot.help import Help, Schedule, Task, embedding, scaled, train
from hasten.fewshot.learning import Observed
from hasten.fewshot.network import Network
from hasten.fewshot.parts import DECODE, PREFILL

SCHEDULE = Schedule(episodes=400, query=100, devices=4, rate=1e-3, every=20)


def figures(step: Observed) -> list[float]:
    """Logs of a step's data sheet seconds: fixed time, then arithmetic and memory of products and of attention."""
    attention = [part.kind in (DECODE, PREFILL) for part in step.parts]
    bound = np.array([part.bound.reshape(3) for part in step.parts])
    products, rest = bound[~np.array(attention)].sum(axis=0), bound[attention].sum(axis=0)
    total = sum(float(part.seconds[0]) for part in step.parts)
    sums = np.log(np.maximum([total, products[0], *products[1:], *rest[1:]], 1e-7))
    return [*((sums + 5.0) / 3.0), float(step.has_prefill)]


@lru_cache(maxsize=32)
def _trained(known: tuple[str, ...], models: tuple[tuple[str, int], ...], places: tuple[int, ...]) -> Help:
    tasks = []
    for device in known:
        case = Case(device, known, models, places)
        steps = case.all_steps
        items = np.array([figures(step) for step in steps.steps])
        tasks.append(Task(items, np.log(steps.seconds), places, range(len(items))))

    def valid(model: Help) -> float:
        return -_error(model, tasks[-1])

    network = Network(tasks[0].items.shape[1], len(places))
    return train(network, tasks[:-1], schedule=SCHEDULE, seed=0, score=valid)


def _error(model: Help, task: Task) -> float:
    return float(
        np.abs(_predicted(model, task.items, task.latencies, task.references) - task.latencies).mean()
    )


def _predicted(model: Help, items: Any, latencies: Any, places: Any) -> Any:
    measured = latencies[list(places)]
    low, wide = scaled(measured)
    support = items[list(places)], (measured - low) / wide
    return low + wide * model.predict(items, embedding(measured), support, np.random.default_rng(0))


def learned_to_learn(case: Case) -> Any:
    """HELP: trained on the known devices but one, the last, which chooses the episode; log seconds are predicted."""
    model = _trained(case.known, case.models, case.places)
    steps = case.all_steps
    items = np.array([figures(step) for step in steps.steps])
    return np.exp(_predicted(model, items, np.log(steps.seconds), case.places))
