"""HELP in numpy: derivatives against differences, and that it learns to learn."""

from dataclasses import replace

import numpy as np
import pytest

from hasten.fewshot.help import KL_WEIGHT, Help, Schedule, Task, embedding, scaled, train
from hasten.fewshot.network import Network

JOINED = 0.5 * np.eye(4) + 0.1
NETWORKS = {
    "rows": (Network(5, 3, depth=2, hidden=6), (7, 5)),
    "graphs": (Network(5, 3, depth=3, hidden=6, adjacency=JOINED), (7, 4, 5)),
}


def slope(value, at, place, step=1e-5):
    """Central difference of ``value`` along one parameter."""
    up, down = at.copy(), at.copy()
    up[place] += step
    down[place] -= step
    return (value(up) - value(down)) / (2.0 * step)


@pytest.mark.parametrize("kind", NETWORKS)
def test_gradients_are_those_of_the_error(kind):
    network, shape = NETWORKS[kind]
    rng = np.random.default_rng(1)
    items, device, target = rng.normal(size=shape), rng.random(3), rng.normal(size=7)
    parameters = network.start(rng) + 0.1 * rng.normal(size=network.size)
    _, gradient = network.gradient(parameters, items, device, target)
    for place in rng.choice(network.size, 40, replace=False):
        expected = slope(lambda at: network.gradient(at, items, device, target)[0], parameters, place)
        assert gradient[place] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", NETWORKS)
def test_outer_gradients_go_through_the_inner_steps(kind):
    """Start, rates and modulator: derivatives of the query error after two steps, the penalty on z included."""
    network, shape = NETWORKS[kind]
    rng = np.random.default_rng(2)
    items, target = rng.normal(size=shape), rng.normal(size=7)
    task = rng.random(3), (items[:3], target[:3]), (items[3:], target[3:])
    model = replace(Help.start(network, rng), rates=np.full(network.size, 0.02))
    error, *gradients = model.outer_gradient(task, np.random.default_rng(5))
    assert error > 0.0

    def value(changed):
        _, (_, mean, deviation, _) = changed._latent(task[0], np.random.default_rng(5))
        penalty = np.mean(0.5 * (mean**2 + np.exp(2.0 * deviation)) - deviation)
        return changed.outer_gradient(task, np.random.default_rng(5))[0] + KL_WEIGHT * penalty

    for name, gradient in zip(("parameters", "rates", "modulator"), gradients, strict=True):
        start = getattr(model, name)
        for place in rng.choice(len(start), 10, replace=False):
            expected = slope(lambda at, name=name: value(replace(model, **{name: at})), start, place)
            assert gradient[place] == pytest.approx(expected, abs=1e-6)


def test_it_learns_to_learn():
    """Devices are lines of two slopes: after training, four samples and the embedding tell the slopes."""
    rng = np.random.default_rng(3)
    items = rng.random((60, 2))
    tasks = [Task(items, items @ rng.random(2) + 0.2, range(4), range(4, 60)) for _ in range(12)]
    network = Network(2, 4, hidden=12)

    def error(model):
        total = 0.0
        for task in tasks[9:]:
            low, wide = scaled(task.latencies[:4])
            support = items[:4], (task.latencies[:4] - low) / wide
            found = model.predict(items, embedding(task.latencies[:4]), support, np.random.default_rng(0))
            total += np.abs(low + wide * found - task.latencies).mean()
        return total

    schedule = Schedule(episodes=40, query=20, devices=3, rate=5e-3, every=20)
    untrained = Help.start(network, np.random.default_rng(0))
    trained = train(network, tasks[:9], schedule=schedule, seed=0, score=lambda model: -error(model))
    assert error(trained) < 0.5 * error(untrained)
    again = train(network, tasks[:9], schedule=schedule, seed=0, score=lambda model: -error(model))
    assert (again.parameters == trained.parameters).all()


def test_an_embedding_is_the_place_in_the_device_s_own_range():
    assert embedding(np.array([2.0, 4.0, 3.0])) == pytest.approx([0.0, 1.0, 0.5])
