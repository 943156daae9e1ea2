"""The small rules by which an engine turns a device into default limits and graph sizes.

A rule is data: the conditions of one row of an engine's table of defaults. The first row that holds decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hasten.hardware import Device


@dataclass(frozen=True, kw_only=True)
class DefaultRule:
    """One row of a table of defaults: a value for `setting` on the devices that meet every condition."""

    setting: str
    server: int  # value behind the network server
    offline: int  # value in the offline (batch) entry point
    kind: str = "any"  # device kind
    min_memory_gib: float = 0.0
    not_named: tuple[str, ...] = ()  # parts of the driver's device name, lower case
    capability: str = ""  # beginning of the compute capability, such as "10."
    min_tp: int = 1
    times_devices: bool = False  # multiply by the devices of the replica

    def holds(self, device: Device, tp: int) -> bool:
        """Whether every condition of the row is true."""
        name = device.reported_name.lower()
        return (
            (self.kind == "any" or device.kind == self.kind)
            and device.memory_gib >= self.min_memory_gib
            and not any(part in name for part in self.not_named)
            and (device.compute_capability or "").startswith(self.capability)
            and tp >= self.min_tp
        )


@dataclass(frozen=True, kw_only=True)
class GraphRange:
    """Captured graph sizes first, first + step, ... up to and including last (None: up to the ceiling)."""

    first: int
    last: int | None
    step: int


def default_for(
    rules: Iterable[DefaultRule],
    setting: str,
    device: Device,
    *,
    offline: bool = False,
    tp: int = 1,
    devices: int = 1,
) -> int | None:
    """The default of `setting` on a device: the value of the first row that holds, or None without one."""
    for rule in rules:
        if rule.setting == setting and rule.holds(device, tp):
            value = rule.offline if offline else rule.server
            return value * devices if rule.times_devices else value
    return None


def sizes_up_to(ranges: Iterable[GraphRange], ceiling: int) -> tuple[int, ...]:
    """Captured graph sizes in rising order, none above the ceiling."""
    sizes: set[int] = set()
    for part in ranges:
        last = ceiling if part.last is None else min(part.last, ceiling)
        sizes.update(range(part.first, last + 1, part.step))
    return tuple(sorted(sizes))


def next_size(sizes: tuple[int, ...], num_tokens: int) -> int:
    """The smallest captured size that holds `num_tokens`; `num_tokens` itself above the largest."""
    return next((size for size in sizes if size >= num_tokens), num_tokens)
