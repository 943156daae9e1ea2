"""HELP: a network that has learnt to learn a device's latencies from a few samples.

Paper: Lee et al., "Hardware-adaptive efficient latency prediction for NAS via meta-learning", NeurIPS 2021,
    arXiv:2106.08630. Meta-SGD (Li et al. 2017, arXiv:1707.09835) trains start and per-parameter rates of two gradient
    steps, through the steps (second order); a device is embedded by its latencies of fixed reference items, and
    from that embedding a small network draws a latent z that scales the last three layers.
Differs: one z per output unit of a layer; latencies are scaled by the range of the measured samples in training and in
    use (the paper's scales may see the whole table); second derivatives by central differences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hasten.fewshot.network import Network
from hasten.fewshot.parts import Floats

STEPS = 2
FIRST_RATE = 1e-3
SUPPORT = 10
Z_SCALE, Z_HIDDEN, KL_WEIGHT, DRAWS = 0.01, 10, 0.1, 10


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to meta-train; the defaults are the paper's for NAS-Bench-201.

    Every episode draws ``devices`` tasks with ``query`` items each; ``rate`` is Adam's. After every ``every`` episodes
    the model is scored on devices held out for that.
    """

    episodes: int = 2000
    query: int = 200
    devices: int = 8
    rate: float = 1e-4
    every: int = 100


@dataclass(frozen=True)
class Task:
    """A device to learn from: its items' features and latencies, the reference items, and those that may be drawn."""

    items: Floats
    latencies: Floats
    references: Sequence[int]
    pool: Sequence[int]


def scaled(measured: Floats) -> tuple[float, float]:
    """Least and range of measured latencies: what they are scaled by."""
    low, high = float(measured.min()), float(measured.max())
    return low, max(high - low, 1e-12)


@dataclass
class _Adam:
    """Kingma and Ba 2015."""

    rate: float
    moments: tuple[Floats, Floats]
    count: int = 0

    def step(self, gradient: Floats) -> Floats:
        self.count += 1
        first, second = self.moments
        first += 0.1 * (gradient - first)
        second += 0.001 * (gradient**2 - second)
        unbiased = first / (1 - 0.9**self.count)
        found: Floats = -self.rate * unbiased / (np.sqrt(second / (1 - 0.999**self.count)) + 1e-8)
        return found


@dataclass(frozen=True)
class Help:
    """A trained predictor: parameters, rates of the inner steps, and the modulator's parameters."""

    network: Network
    parameters: Floats
    rates: Floats
    modulator: Floats = field(repr=False)

    @classmethod
    def start(cls, network: Network, rng: np.random.Generator) -> Help:
        """Before any training."""
        parameters = network.start(rng)
        count = 4 * _latents(network)
        modulator = np.concatenate(
            [
                rng.normal(0.0, np.sqrt(2.0 / network.references), network.references * Z_HIDDEN),
                np.zeros(Z_HIDDEN),
            ]
        )
        out = np.zeros(Z_HIDDEN * count // 2 + count // 2)
        out[: Z_HIDDEN * count // 2] = rng.normal(0.0, 0.01, Z_HIDDEN * count // 2)
        return cls(network, parameters, np.full(network.size, FIRST_RATE), np.concatenate([modulator, out]))

    def predict(
        self, items: Floats, device: Floats, support: tuple[Floats, Floats], rng: np.random.Generator
    ) -> Floats:
        """Latencies (scaled) of ``items`` after learning from the support (items, scaled latencies)."""
        total = np.zeros(len(items))
        for _ in range(DRAWS):
            latent = self._latent(device, rng)[0]
            adapted = self._adapted(_modulated(self.network, self.parameters, latent), device, support)[-1]
            total += self.network.predict(adapted, items, device)
        return total / DRAWS

    def _adapted(self, parameters: Floats, device: Floats, support: tuple[Floats, Floats]) -> list[Floats]:
        """Parameters before and after every inner step."""
        found = [parameters]
        for _ in range(STEPS):
            _, gradient = self.network.gradient(found[-1], support[0], device, support[1])
            found.append(found[-1] - self.rates * gradient)
        return found

    def _latent(
        self, device: Floats, rng: np.random.Generator
    ) -> tuple[Floats, tuple[Floats, Floats, Floats, Floats]]:
        """A draw of z, and what its gradient needs: hidden units, mean, log of the deviation, noise."""
        first, bias, second, offset = self._modulator_layers()
        hidden = np.maximum(device @ first + bias, 0.0)
        mean, deviation = np.split(hidden @ second + offset, 2)
        noise = rng.normal(size=len(mean))
        return mean + np.exp(deviation) * noise, (hidden, mean, deviation, noise)

    def _modulator_layers(self) -> tuple[Floats, Floats, Floats, Floats]:
        inputs, outputs = self.network.references, 2 * _latents(self.network)
        cuts = np.cumsum([inputs * Z_HIDDEN, Z_HIDDEN, Z_HIDDEN * outputs])
        first, bias, second, offset = np.split(self.modulator, cuts)
        return first.reshape(inputs, Z_HIDDEN), bias, second.reshape(Z_HIDDEN, outputs), offset

    def outer_gradient(
        self, task: tuple[Floats, tuple[Floats, Floats], tuple[Floats, Floats]], rng: np.random.Generator
    ) -> tuple[float, Floats, Floats, Floats]:
        """Query error after the inner steps, and its derivatives by parameters, rates and modulator."""
        device, support, query = task
        latent, (hidden, mean, deviation, noise) = self._latent(device, rng)
        path = self._adapted(_modulated(self.network, self.parameters, latent), device, support)
        error, slopes = self.network.gradient(path[-1], query[0], device, query[1])
        to_rates = np.zeros_like(self.rates)
        data = support[0], device, support[1]
        for parameters in reversed(path[:-1]):
            _, inner = self.network.gradient(parameters, *data)
            to_rates -= inner * slopes
            slopes = slopes - self.network.curvature(parameters, self.rates * slopes, data)
        to_parameters, to_latent = _unmodulated(self.network, self.parameters, latent, slopes)
        spread = np.exp(deviation)
        kl = KL_WEIGHT / len(mean)
        to_mean = to_latent + kl * mean
        to_deviation = to_latent * noise * spread + kl * (spread**2 - 1.0)
        out = np.concatenate([to_mean, to_deviation])
        _, _, second, _ = self._modulator_layers()
        back = (second @ out) * (hidden > 0.0)
        to_modulator = np.concatenate(
            [np.outer(device, back).ravel(), back, np.outer(hidden, out).ravel(), out]
        )
        return error, to_parameters, to_rates, to_modulator


def _latents(network: Network) -> int:
    """Latents of the last three layers: one per output for the weights, one for the bias."""
    return sum(2 * high for _, high in network.layers[-3:])


def _modulated(network: Network, parameters: Floats, latent: Floats) -> Floats:
    """W (1 + 0.01 z_w), b + 0.01 z_b in the last three layers."""
    found, at = parameters.copy(), 0
    for index in range(len(network.layers) - 3, len(network.layers)):
        high = network.layers[index][1]
        weights, biases = network.layer(parameters, index)
        where, place = network.places[index]
        found[where] = (weights * (1.0 + Z_SCALE * latent[at : at + high])).ravel()
        found[place] = biases + Z_SCALE * latent[at + high : at + 2 * high]
        at += 2 * high
    return found


def _unmodulated(
    network: Network, parameters: Floats, latent: Floats, slopes: Floats
) -> tuple[Floats, Floats]:
    """Derivatives by parameters and latent from those by the modulated parameters."""
    found, to_latent, at = slopes.copy(), np.zeros_like(latent), 0
    for index in range(len(network.layers) - 3, len(network.layers)):
        high = network.layers[index][1]
        weights, _ = network.layer(parameters, index)
        where, place = network.places[index]
        slope = slopes[where].reshape(network.layers[index])
        found[where] = (slope * (1.0 + Z_SCALE * latent[at : at + high])).ravel()
        to_latent[at : at + high] = Z_SCALE * (slope * weights).sum(axis=0)
        to_latent[at + high : at + 2 * high] = Z_SCALE * slopes[place]
        at += 2 * high
    return found, to_latent


def embedding(latencies: Floats) -> Floats:
    """A device's latencies of the reference items, scaled to their own range."""
    low, wide = scaled(latencies)
    found: Floats = (latencies - low) / wide
    return found


def episode(
    task: Task, rng: np.random.Generator, query: int
) -> tuple[Floats, tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Embedding, support and query of one device, drawn at random."""
    drawn = rng.choice(np.asarray(task.pool), min(SUPPORT + query, len(task.pool)), replace=False)
    support, asked = drawn[:SUPPORT], drawn[SUPPORT:]
    low, wide = scaled(task.latencies[support])
    scale = [(task.items[each], (task.latencies[each] - low) / wide) for each in (support, asked)]
    return embedding(task.latencies[list(task.references)]), scale[0], scale[1]


def train(
    network: Network,
    tasks: Sequence[Task],
    *,
    schedule: Schedule,
    seed: int,
    score: Callable[[Help], float] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Help:
    """Meta-train on the devices of ``tasks``; the best by ``score`` (on devices held out for it) is returned."""
    rng = np.random.default_rng(seed)
    model = Help.start(network, rng)
    size, most = network.size, len(model.modulator)
    outer = _Adam(schedule.rate, (np.zeros(2 * size + most), np.zeros(2 * size + most)))
    best, best_score = model, -np.inf
    for count in range(1, schedule.episodes + 1):
        chosen = rng.choice(len(tasks), min(schedule.devices, len(tasks)), replace=False)
        total, error = np.zeros(2 * size + most), 0.0
        for place in chosen:
            one, *slopes = model.outer_gradient(episode(tasks[place], rng, schedule.query), rng)
            total += np.concatenate(slopes) / len(chosen)
            error += one / len(chosen)
        norm = float(np.linalg.norm(total))
        change = outer.step(total * min(1.0, 10.0 / max(norm, 1e-12)))
        model = replace(
            model,
            parameters=model.parameters + change[:size],
            rates=model.rates + change[size : 2 * size],
            modulator=model.modulator + change[2 * size :],
        )
        if score is not None and (count % schedule.every == 0 or count == schedule.episodes):
            found = score(model)
            if found > best_score:
                best, best_score = model, found
            if progress is not None:
                progress(f"episode {count}: query error {error:.4f}, held-out score {found:.4f}")
    return best if score is not None else model
