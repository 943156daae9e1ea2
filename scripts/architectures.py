"""Few-shot latencies of neural architectures on unseen devices: the split of HELP, our pool, and its rivals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hasten.fewshot.help import Help, Schedule, Task, embedding, scaled, train
from hasten.fewshot.items import ItemPool
from hasten.fewshot.network import Network
from hasten.fewshot.rivals import nearest_device, ridge_over_devices

DATA = Path(__file__).resolve().parent.parent / "benchmarks" / "data"
TRIM = (0.1, 0.9)
RIDGE = 1.0
RANDOM_DRAWS = 20

#: Edges of a NAS-Bench-201 cell: (from, to) of each of its six operations.
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


def ranks(values: Any) -> Any:
    """Ranks, equal values sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def spearman(one: Any, other: Any) -> float:
    """Rank correlation."""
    return float(np.corrcoef(ranks(one), ranks(other))[0, 1])


@dataclass(frozen=True)
class Space:
    """A search space: choices of every architecture, latencies in ms by device, and the split."""

    name: str

    @cached_property
    def _stored(self) -> tuple[dict[str, Any], dict[str, Any]]:
        with np.load(DATA / f"architectures-{self.name}.npz", allow_pickle=False) as stored:
            raw = {key: stored[key] for key in stored.files}
        return raw, json.loads(raw["about"].tobytes())

    @property
    def split(self) -> dict[str, Any]:
        """Devices and rows of training, validation and test."""
        return dict(self._stored[1]["split"])

    @cached_property
    def latencies(self) -> dict[str, Any]:
        """Milliseconds by device."""
        raw, about = self._stored
        return {
            name: np.exp2(raw["latencies"][:, i] / 1024.0) * 1e-3 for i, name in enumerate(about["devices"])
        }

    def places(self, rows: Sequence[int]) -> Any:
        """Where upstream's rows lie here."""
        return np.searchsorted(self._stored[0]["rows"], rows)

    @cached_property
    def references(self) -> Any:
        """The ten reference architectures of HELP."""
        return self.places(self.split["reference_arch_idx"])

    def kept(self, device: str, part: str) -> Any:
        """Training or query architectures, the fastest and slowest tenth on the device left out, as in HELP."""
        found = self.places(range(*self.split[part]))
        low, high = np.quantile(self.latencies[device][found], TRIM)
        inside = (self.latencies[device][found] >= low) & (self.latencies[device][found] <= high)
        return found[inside]

    @cached_property
    def one_hot(self) -> Any:
        """Choices as ones and zeros, [architectures, places, options]."""
        chosen = self._stored[0]["choices"].astype(int)
        return np.eye(chosen.max() + 1)[chosen]

    def pool(self, devices: Sequence[str]) -> ItemPool:
        """Known devices: latencies of all architectures by a linear model of their own training architectures."""
        flat = self.one_hot.reshape(len(self.one_hot), -1)
        design = np.hstack([flat, np.ones((len(flat), 1))])
        found = []
        for device in devices:
            rows = self.kept(device, "arch_train")
            latencies = self.latencies[device] / self.latencies[device][rows].mean()
            gram = design[rows].T @ design[rows] + RIDGE * np.eye(design.shape[1])
            found.append(design @ np.linalg.solve(gram, design[rows].T @ latencies[rows]))
        return ItemPool(np.array(found).T, self.one_hot.mean(axis=1))


@dataclass(frozen=True)
class Score:
    """Mean rank correlation and mean absolute relative error."""

    spearman: float
    mape: float


def score(space: Space, device: str, predicted: Any, query: Any) -> Score:
    """Of predictions for the query architectures."""
    truth = space.latencies[device][query]
    return Score(spearman(predicted, truth), float(np.mean(np.abs(predicted / truth - 1.0))))


def samples(space: Space, pool: ItemPool, device: str, count: int) -> dict[str, list[Any]]:
    """Architectures to measure, by how they are chosen; the query set is never among them."""
    rng = np.random.default_rng([count, list(space.latencies).index(device)])
    candidates = space.kept(device, "arch_train")
    found = {"random": [rng.choice(candidates, count, replace=False) for _ in range(RANDOM_DRAWS)]}
    found["chosen"] = [
        np.array(pool.most_telling(space.places(range(*space.split["arch_train"]))[:900], count))
    ]
    if count == len(space.references):
        found["references"] = [space.references]
    return found


def evaluate(space: Space, count: int) -> dict[tuple[str, str], dict[str, Score]]:
    """Scores on the unseen devices by (predictor, choice of samples)."""
    pool = space.pool(space.split["meta_train"])
    known = np.maximum(pool.latencies, 1e-3)
    predictors = {
        "device pool": lambda *given: pool.predict(*given)[0],
        "ridge over devices": lambda places, ms, query: ridge_over_devices(known, places, ms)[query],
        "nearest device, rescaled": lambda places, ms, query: nearest_device(known, places, ms)[query],
    }
    found: dict[tuple[str, str], dict[str, Score]] = {}
    for device in space.split["meta_test"]:
        for how, sets in samples(space, pool, device, count).items():
            for name, predict in predictors.items():
                scores = []
                for chosen in sets:
                    query = np.setdiff1d(space.kept(device, "arch_query"), chosen)
                    predicted = predict(chosen, space.latencies[device][chosen], query)
                    scores.append(score(space, device, predicted, query))
                mean = Score(*(float(np.mean([getattr(s, k) for s in scores])) for k in ("spearman", "mape")))
                found.setdefault((name, how), {})[device] = mean
    return found


def graph() -> Any:
    """Neighbours among input, six operations and output of a NAS-Bench-201 cell, both ways, normalised."""
    joined = np.eye(8)
    for i, (start, end) in enumerate(EDGES):
        for j, (other, _) in enumerate(EDGES):
            if end == other:
                joined[1 + i, 1 + j] = joined[1 + j, 1 + i] = 1.0
        if start == 0:
            joined[0, 1 + i] = joined[1 + i, 0] = 1.0
        if end == 3:
            joined[1 + i, 7] = joined[7, 1 + i] = 1.0
    root = 1.0 / np.sqrt(joined.sum(axis=1))
    return joined * root[:, None] * root[None, :]


def network(space: Space) -> tuple[Network, Any]:
    """HELP's network for a space, and its items."""
    if space.name != "nasbench201":
        flat = space.one_hot.reshape(len(space.one_hot), -1)
        return Network(flat.shape[1], 10), flat
    items = np.zeros((len(space.one_hot), 8, 7))
    items[:, 0, 5] = items[:, 7, 6] = 1.0
    items[:, 1:7, :5] = space.one_hot
    return Network(7, 10, depth=4, adjacency=graph()), items


def help_score(space: Space, model: Help, items: Any, device: str) -> Score:
    """HELP with its ten references as embedding and as samples."""
    measured = space.latencies[device][space.references]
    low, wide = scaled(measured)
    support = items[space.references], (measured - low) / wide
    query = np.setdiff1d(space.kept(device, "arch_query"), space.references)
    found = model.predict(items[query], embedding(measured), support, np.random.default_rng(0))
    return score(space, device, low + wide * found, query)


def train_help(space: Space, schedule: Schedule, seed: int, progress: Any = None) -> dict[str, Score]:
    """Train HELP on the training devices, choose the best episode on the validation devices, score the unseen ones."""
    net, items = network(space)
    tasks = [
        Task(items, space.latencies[device], space.references, space.kept(device, "arch_train"))
        for device in space.split["meta_train"]
    ]

    def valid(model: Help) -> float:
        return float(
            np.mean([help_score(space, model, items, d).spearman for d in space.split["meta_valid"]])
        )

    model = train(net, tasks, schedule=schedule, seed=seed, score=valid, progress=progress)
    return {device: help_score(space, model, items, device) for device in space.split["meta_test"]}
