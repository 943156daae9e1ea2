"""The network of HELP in plain numpy: layers with hand-written gradients, parameters in one flat vector.

Architectures are graphs of operations (graph convolutions) or rows of features (fully connected layers).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from hasten.fewshot.parts import Floats

Cache = list[tuple[Floats, Floats]]


@dataclass(frozen=True)
class Network:
    """Predicts one number from an item and a device's embedding.

    ``adjacency`` ([nodes, nodes], normalised; None: items are rows of features) joins the nodes of an item, each with
    ``inputs`` features; ``depth`` layers encode an item, two a device of ``references`` numbers, and two and a
    scalar what both make together. ``hidden`` is the width of the encoders.
    """

    inputs: int
    references: int
    depth: int = 2
    hidden: int = 100
    adjacency: Floats | None = None

    @cached_property
    def layers(self) -> list[tuple[int, int]]:
        """Inputs and outputs of all layers: item encoder, device encoder, head."""
        item = [self.inputs, *[self.hidden] * self.depth]
        device = [self.references, self.hidden, self.hidden]
        head = [2 * self.hidden, 2 * self.hidden, 2 * self.hidden, 1]
        return [pair for sizes in (item, device, head) for pair in pairwise(sizes)]

    @cached_property
    def places(self) -> list[tuple[slice, slice]]:
        """Where each layer's weights and biases lie in the vector of parameters."""
        found, at = [], 0
        for wide, high in self.layers:
            found.append((slice(at, at + wide * high), slice(at + wide * high, at + wide * high + high)))
            at += wide * high + high
        return found

    @property
    def size(self) -> int:
        """Number of parameters."""
        return int(self.places[-1][1].stop)

    def start(self, rng: np.random.Generator) -> Floats:
        """Parameters to begin with (He et al. 2015)."""
        found = np.zeros(self.size)
        for (wide, high), (weights, _) in zip(self.layers, self.places, strict=True):
            found[weights] = rng.normal(0.0, np.sqrt(2.0 / wide), wide * high)
        return found

    def layer(self, parameters: Floats, index: int) -> tuple[Floats, Floats]:
        """Weights and biases of a layer."""
        weights, biases = self.places[index]
        return parameters[weights].reshape(self.layers[index]), parameters[biases]

    def _forward(
        self, parameters: Floats, layers: Sequence[int], values: Floats, *, last: bool
    ) -> tuple[Floats, Cache]:
        """Through ``layers``, rectified except after the ``last``; graph items are mixed along the adjacency first."""
        kept: Cache = []
        for index in layers:
            mixed = self.adjacency @ values if values.ndim == 3 and self.adjacency is not None else values
            weights, biases = self.layer(parameters, index)
            values = mixed @ weights + biases
            if not (last and index == layers[-1]):
                values = np.maximum(values, 0.0)
            kept.append((mixed, values))
        return values, kept

    def _backward(
        self,
        parameters: Floats,
        layers: Sequence[int],
        kept: Cache,
        slopes: Floats,
        gradient: Floats,
        *,
        last: bool,
    ) -> Floats:
        for index, (mixed, values) in zip(reversed(layers), reversed(kept), strict=True):
            if not (last and index == layers[-1]):
                slopes = slopes * (values > 0.0)
            weights, _ = self.layer(parameters, index)
            where, biases = self.places[index]
            flat = slopes.reshape(-1, slopes.shape[-1])
            gradient[where] += (mixed.reshape(-1, mixed.shape[-1]).T @ flat).ravel()
            gradient[biases] += flat.sum(axis=0)
            slopes = slopes @ weights.T
            if slopes.ndim == 3 and self.adjacency is not None:
                slopes = self.adjacency.T @ slopes
        return slopes

    @cached_property
    def _parts(self) -> tuple[list[int], list[int], list[int]]:
        d = self.depth
        return list(range(d)), [d, d + 1], [d + 2, d + 3, d + 4]

    def predict(self, parameters: Floats, items: Floats, device: Floats) -> Floats:
        """One number per item."""
        found: Floats = self._run(parameters, items, device)[0]
        return found

    def _run(self, parameters: Floats, items: Floats, device: Floats) -> tuple[Floats, Any]:
        item, other, head = self._parts
        encoded, kept_items = self._forward(parameters, item, items, last=False)
        pooled = encoded.mean(axis=1) if encoded.ndim == 3 else encoded
        known, kept_device = self._forward(parameters, other, device[None, :], last=False)
        joined = np.concatenate([pooled, np.repeat(known, len(pooled), axis=0)], axis=1)
        out, kept_head = self._forward(parameters, head, joined, last=True)
        return out[:, 0], (encoded, kept_items, kept_device, kept_head)

    def gradient(
        self, parameters: Floats, items: Floats, device: Floats, target: Floats
    ) -> tuple[float, Floats]:
        """Mean squared error over the items, and its derivatives by the parameters."""
        found, (encoded, kept_items, kept_device, kept_head) = self._run(parameters, items, device)
        item, other, head = self._parts
        away = found - target
        gradient = np.zeros(self.size)
        slopes = (2.0 / len(away)) * away[:, None]
        slopes = self._backward(parameters, head, kept_head, slopes, gradient, last=True)
        to_items, to_device = slopes[:, : self.hidden], slopes[:, self.hidden :]
        if encoded.ndim == 3:
            to_items = np.repeat(to_items[:, None, :] / encoded.shape[1], encoded.shape[1], axis=1)
        self._backward(parameters, item, kept_items, to_items, gradient, last=False)
        summed = to_device.sum(axis=0, keepdims=True)
        self._backward(parameters, other, kept_device, summed, gradient, last=False)
        return float((away**2).mean()), gradient

    def curvature(self, parameters: Floats, along: Floats, data: tuple[Floats, Floats, Floats]) -> Floats:
        """The second derivatives of the error times a vector, by central differences of the gradient."""
        length = float(np.linalg.norm(along))
        if length == 0.0:
            return np.zeros_like(along)
        step = 1e-4 / length
        _, up = self.gradient(parameters + step * along, *data)
        _, down = self.gradient(parameters - step * along, *data)
        found: Floats = (up - down) / (2.0 * step)
        return found
