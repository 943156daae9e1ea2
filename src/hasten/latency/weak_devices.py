"""Tensor parallelism over weak devices on slow links, weights streamed from disk through a sliding window.

Source: "TPI-LLM: Serving 70B-scale LLMs Efficiently on Low-resource Edge Devices", 2024, arXiv:2410.00531, and its
public code (star all-reduce, window scheduler).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hasten.errors import InputError

TOPOLOGIES = ("star", "tree", "ring")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Links between devices: `latency` (s) of one hop, `bandwidth` (B/s) of each device, either way."""

    latency: float
    bandwidth: float

    def __post_init__(self) -> None:
        if not self.latency >= 0.0 or not self.bandwidth > 0.0:
            raise InputError(
                f"latency is {self.latency} s, bandwidth {self.bandwidth} B/s: give 0 or more, and above 0"
            )

    def all_reduce(self, topology: str, devices: int, payload: float) -> float:
        """Seconds to sum `payload` bytes of every device on every device.

        star: 2 hops, the master receives and sends (n - 1) payloads. tree: log2(n) hops up and down, a payload each.
        ring: 2 (n - 1) hops of payload / n.
        """
        if topology not in TOPOLOGIES:
            raise InputError(f"topology {topology!r} is unknown: use one of {', '.join(TOPOLOGIES)}")
        if devices < 1 or not payload >= 0.0:
            raise InputError(
                f"{devices} devices and {payload} bytes: give at least one device and 0 bytes or more"
            )
        if devices == 1:
            return 0.0
        if topology == "star":
            return 2 * (self.latency + (devices - 1) * payload / self.bandwidth)
        if topology == "tree":
            return 2 * math.ceil(math.log2(devices)) * (self.latency + payload / self.bandwidth)
        return 2 * (devices - 1) * (self.latency + payload / devices / self.bandwidth)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """`devices` equal devices: arithmetic (`flops` per s), memory and disk (B/s), and the network between them."""

    devices: int
    flops: float
    memory: float
    disk: float
    network: Network

    def __post_init__(self) -> None:
        if self.devices < 1 or not min(self.flops, self.memory, self.disk) > 0.0:
            raise InputError("devices, flops, memory and disk bandwidth must be above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A model as these devices see it: blocks (attention and MLP alternately) and what lies at both ends, in bytes."""

    layers: int
    block_bytes: float  # mean of attention and MLP blocks
    end_bytes: float  # input and output embeddings, on the master
    hidden: int
    kv_bytes: float  # per token, all layers
    element: float = 4.0  # bytes of an element

    @property
    def blocks(self) -> int:
        """Two per layer."""
        return 2 * self.layers


def block_seconds(model: Weights, cluster: Cluster, tokens: int, parts: int) -> float:
    """One of `parts` shares of a block on `tokens` tokens: arithmetic or reading the weights, what takes longer."""
    size = model.block_bytes / parts
    return max(2.0 * tokens * size / model.element / cluster.flops, size / cluster.memory)


def step_seconds(
    model: Weights, cluster: Cluster, tokens: int, *, window: int, topology: str = "star"
) -> float:
    """A step of `tokens` tokens, tensor-parallel, `window` blocks in memory.

    Every block computes, then sums. With a window smaller than the model blocks are read from disk meanwhile: steady
    state without stall as long as a block is read no slower than one is computed and summed.
    """
    n = cluster.devices
    summing = cluster.network.all_reduce(topology, n, tokens * model.hidden * model.element)
    working = block_seconds(model, cluster, tokens, n) + summing
    if window >= model.blocks:
        return model.blocks * working
    reading = model.block_bytes / n / cluster.disk
    return model.blocks * (max(working, reading) if window > 1 else working + reading)


def pipeline_seconds(model: Weights, cluster: Cluster, tokens: int, *, window: int) -> float:
    """The same for one user with whole layers on each device, one after another; one device is a pipeline of one."""
    n = cluster.devices
    working, reading = block_seconds(model, cluster, tokens, 1), model.block_bytes / cluster.disk
    hops = (n - 1) * (
        cluster.network.latency + tokens * model.hidden * model.element / cluster.network.bandwidth
    )
    if window >= math.ceil(model.blocks / n):
        return model.blocks * working + hops
    return model.blocks * (max(working, reading) if window > 1 else working + reading) + hops


def peak_bytes(model: Weights, devices: int, *, window: int, context: int) -> float:
    """Memory of the master: its share of a window of blocks, of the KV, and both ends of the model."""
    if window < 1 or devices < 1 or context < 0:
        raise InputError(f"window {window}, {devices} devices, context {context}: give at least 1, 1 and 0")
    blocks = min(window, model.blocks) * model.block_bytes
    return (blocks + context * model.kv_bytes) / devices + model.end_bytes
