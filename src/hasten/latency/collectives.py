"""Seconds of messages between devices: latency plus bytes over bandwidth."""

from __future__ import annotations

from typing import Any

from hasten.errors import InputError
from hasten.hardware import Device, Link, load_link
from hasten.latency.operators import MessageRate
from hasten.latency.parallelism import Parallelism
from hasten.latency.work import Message

NODE_DEVICES = 8
"""Devices assumed to share a host when a device names no scale-up link."""


def link_for(device: Device, span: int) -> Link:
    """The link that joins ``span`` neighbouring devices: scale-up, else the host's, else the network.

    Raises InputError when they don't fit one host and the device names no network.
    """
    if span <= (device.link_devices or NODE_DEVICES):
        return load_link(device.link if device.link is not None else device.host_link)
    if device.network is None:
        raise InputError(
            f"{span} devices of {device.name} don't fit one host of {device.link_devices or NODE_DEVICES} "
            "and the device names no network: use fewer, or set network in its file"
        )
    return load_link(device.network)


def span_of(message: Message | MessageRate, parallelism: Parallelism) -> int:
    """Devices, counted from neighbour to neighbour, across which a message travels."""
    if message.kind == "send":
        return parallelism.tp * parallelism.pp
    return parallelism.tp * parallelism.dp if message.spans_ranks else parallelism.tp


def message_seconds(message: Message | MessageRate, link: Link, size: Any, smaller: Any = min) -> Any:
    """Seconds of one message whose payload is ``size`` bytes; a number or an array, as ``size`` is.

    Every device talks to all others of the group at once, sharing its own bandwidth B, after a latency a
    (Thakur, Rabenseifner and Gropp, 2005, doi:10.1177/1094342005051521, with direct exchange for the tree):
    an all-gather or reduce-scatter lasts a + (p-1)/p size / B. An all-reduce is the better of one exchange of
    everything, a + (p-1) size / B, and a reduce-scatter with an all-gather, 2 a + 2 (p-1)/p size / B.
    ``smaller`` is numpy.minimum for arrays.
    """
    devices = message.devices
    if message.kind == "send":
        return link.latency + size / link.reached_bandwidth
    share = (devices - 1) / devices
    if message.kind != "all_reduce":
        return link.latency + share * size / link.reached_bandwidth
    one_shot = link.latency + (devices - 1) * size / link.reached_bandwidth
    two_shot = 2 * link.latency + 2 * share * size / link.reached_bandwidth
    return smaller(one_shot, two_shot)
