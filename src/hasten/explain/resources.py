"""Virtual speed-ups: the step times of a deployment with one of its resources so many times as fast.

The data sheet model is compiled again with that resource changed, so a kernel that stops being bound by it starts
being bound by something else. Measured step times are scaled by what that model says of the same step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from hasten.core.batch import Chunk
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.hardware import Device, Link
from hasten.latency import AnalyticalModel, LockstepCost, StepCost
from hasten.latency.compiled import Line
from hasten.latency.work import Message

RESOURCES: Mapping[str, str] = {
    "memory": "memory bandwidth",
    "compute": "arithmetic",
    "link": "links between devices",
    "launches": "kernel launches and the host",
}
"""Resource -> its name in words."""

_GRID = 1.05  # measured step times are scaled by one factor within each 5 % of the context sum


@dataclass(frozen=True)
class FasterModel(AnalyticalModel):
    """A data sheet model whose links are `link_speed` and whose host is `host_speed` times as fast."""

    link_speed: float = field(default=1.0, kw_only=True)
    host_speed: float = field(default=1.0, kw_only=True)

    def link(self, message: Message | Any) -> Link:
        found = super().link(message)
        speed = self.link_speed
        return replace(found, bandwidth=found.bandwidth * speed, latency=found.latency / speed)

    @property
    def offsets(self) -> tuple[float, float]:
        every, mixed = super().offsets
        return every / self.host_speed, mixed / self.host_speed


def sped_up(deployment: Deployment, resource: str, speed: float) -> StepCost:
    """Step times of `deployment` with `resource` (a key of RESOURCES) `speed` times as fast.

    Raises InputError for an unknown resource, and for measured step times of ranks that step together.
    """
    if resource not in RESOURCES:
        raise InputError(f"resource {resource!r} is unknown: use one of {', '.join(RESOURCES)}")
    base = deployment.latency
    faster = _model(base, faster_device(base.device, resource, speed), resource, speed).compile()
    if type(base) is AnalyticalModel:
        return faster
    if isinstance(deployment.cost, LockstepCost):
        raise InputError(
            "measured step times of ranks in lock-step can't be scaled: use step_times analytical"
        )
    return RelativeCost(deployment.cost, _model(base, base.device, resource, 1.0).compile(), faster)


def faster_device(device: Device, resource: str, speed: float) -> Device:
    """`device` with one resource of its data sheet `speed` times as fast."""
    if resource == "memory":
        return replace(device, memory_bandwidth=device.memory_bandwidth * speed)
    if resource == "compute":
        return replace(device, flops={dtype: peak * speed for dtype, peak in device.flops.items()})
    if resource == "launches":
        return replace(
            device,
            kernel_seconds=device.kernel_seconds / speed,
            launch_seconds=device.launch_seconds / speed,
        )
    return device


def _model(base: AnalyticalModel, device: Device, resource: str, speed: float) -> FasterModel:
    own = {each.name: getattr(base, each.name) for each in fields(AnalyticalModel)}
    if resource == "launches":
        eager = base.profile.eager_kernel_seconds / speed
        own["profile"] = replace(base.profile, eager_kernel_seconds=eager)
    return FasterModel(
        **{**own, "device": device},
        link_speed=speed if resource == "link" else 1.0,
        host_speed=speed if resource == "launches" else 1.0,
    )


class RelativeCost(StepCost):
    """`cost` times what `changed` takes relative to `reference` for the same step."""

    def __init__(self, cost: StepCost, reference: StepCost, changed: StepCost) -> None:
        self.cost = cost
        self.reference = reference
        self.changed = changed

    def decode_line(self, n: int, context_sum: int) -> Line:
        """One factor holds within each cell of a grid over the context sum, so that it depends on nothing else."""
        cell = math.floor(math.log(max(context_sum, 1), _GRID))
        start, end = int(_GRID**cell), _GRID ** (cell + 1)
        while context_sum >= end:
            start, end = int(end), end * _GRID
        a, b, limit = self.cost.decode_line(n, context_sum)
        before, after = (_at(each.decode_line(n, start), start) for each in (self.reference, self.changed))
        factor = after / before if before > 0.0 else 1.0
        return a * factor, b * factor, min(limit, end)

    def mixed(self, prefills: list[Chunk], n: int, context_sum: int) -> float:
        """Seconds of a step with prefill chunks."""
        before = self.reference.mixed(prefills, n, context_sum)
        factor = self.changed.mixed(prefills, n, context_sum) / before if before > 0.0 else 1.0
        return self.cost.mixed(prefills, n, context_sum) * factor


def _at(line: Line, context_sum: int) -> float:
    return line[0] + line[1] * context_sum
