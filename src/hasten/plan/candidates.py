"""Which replicas are possible at all: device, split and KV type, and why the others are not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hasten.deployment import KV_DTYPES, Deployment
from hasten.errors import InputError
from hasten.hardware import Device, load_device
from hasten.latency import Parallelism
from hasten.latency.collectives import link_for
from hasten.models import ModelShape
from hasten.profiles import EngineProfile

DEVICES = ("a100-sxm-80g", "h100-sxm", "h200-sxm", "b200-sxm", "l40s", "l4", "mi300x")
"""What is tried when no devices are named: data centre accelerators that clouds rent out by the hour."""

TP_SIZES = (1, 2, 4, 8)
DEEPER_PP = (2, 4)
"""Pipeline stages tried on a device on which no tensor-parallel size alone fits."""

_ROUND_CONTEXT = 1024  # tokens


@dataclass(frozen=True)
class Rejected:
    """A candidate left out, and why."""

    label: str
    reason: str


@dataclass(frozen=True)
class Choices:
    """What to enumerate: parallel sizes, KV types and engine settings. None: the default set."""

    tp: Sequence[int] | None = None
    pp: Sequence[int] | None = None
    ep: Sequence[int] | None = None
    kv_dtypes: Sequence[str] = ("auto",)
    settings: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("tp", "pp", "ep"):
            sizes = getattr(self, name)
            for size in () if sizes is None else sizes:
                if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                    raise InputError(
                        f"{name} choice {size!r}: give whole numbers of at least 1, such as 1,2,4,8"
                    )
            if sizes is not None and not sizes:
                raise InputError(f"{name} has no choices: give at least one size")
        for dtype in self.kv_dtypes:
            if dtype not in KV_DTYPES:
                raise InputError(f"kv_dtype {dtype!r} is unknown: use one of {', '.join(KV_DTYPES)}")
        if not self.kv_dtypes:
            raise InputError("kv_dtypes has no choices: give at least one, such as auto")

    def splits(self, model: ModelShape, device: Device) -> list[tuple[int, int, int]]:
        """(tp, pp, ep) to try on `device`, narrow ones first."""
        domain = device.link_devices or 8
        widths = self.tp if self.tp is not None else [size for size in TP_SIZES if size <= domain]
        stages = self.pp if self.pp is not None else (1,)
        found: list[tuple[int, int, int]] = []
        for pp in stages:
            for tp in widths:
                experts = (
                    self.ep if self.ep is not None else ((1, tp) if model.is_mixture and tp > 1 else (1,))
                )
                found += [(tp, pp, ep) for ep in experts]
        return list(dict.fromkeys(found))


def devices_of(devices: Sequence[str | Path | Device] | None) -> list[Device]:
    """The devices by name, file or as they are, each once. Raises InputError for an unknown name or none at all."""
    given = DEVICES if devices is None else devices
    if isinstance(given, str):
        raise InputError(f"devices is the text {given!r}: give a list of names, such as ['h100-sxm', 'l40s']")
    loaded = [each if isinstance(each, Device) else load_device(each) for each in given]
    if not loaded:
        raise InputError("devices is empty: name at least one, such as h100-sxm")
    return list({each.name: each for each in loaded}.values())


def enumerate_shapes(
    model: ModelShape,
    devices: Sequence[Device],
    profile: EngineProfile,
    choices: Choices,
    *,
    longest: int,
    max_devices: int | None = None,
) -> tuple[list[Deployment], list[Rejected]]:
    """Deployments of one replica that fit, and those that don't. `longest` is the tokens of the longest request.

    Raises InputError for a setting that no candidate can have.
    """
    shapes: list[Deployment] = []
    rejected: list[Rejected] = []
    for device in devices:
        if device.price_per_hour is None:
            rejected.append(Rejected(device.name, "has no price per hour: give one, or a price file"))
            continue
        before = len(shapes)
        splits = choices.splits(model, device)
        _add(shapes, rejected, splits, choices, (model, device, profile), longest=longest, most=max_devices)
        if len(shapes) == before and choices.pp is None:
            widest = max(tp for tp, _, _ in splits)
            deeper = [(tp, pp, ep) for pp in DEEPER_PP for tp, _, ep in splits if tp == widest]
            _add(
                shapes, rejected, deeper, choices, (model, device, profile), longest=longest, most=max_devices
            )
    return shapes, rejected


def _add(
    shapes: list[Deployment],
    rejected: list[Rejected],
    splits: Sequence[tuple[int, int, int]],
    choices: Choices,
    what: tuple[ModelShape, Device, EngineProfile],
    *,
    longest: int,
    most: int | None,
) -> None:
    for tp, pp, ep in splits:
        for kv_dtype in choices.kv_dtypes:
            shape = _shape(what, (tp, pp, ep), kv_dtype, choices.settings, longest=longest, most=most)
            if isinstance(shape, Rejected):
                rejected.append(shape)
            else:
                shapes.append(shape)


def _shape(
    what: tuple[ModelShape, Device, EngineProfile],
    split: tuple[int, int, int],
    kv_dtype: str,
    settings: Mapping[str, object],
    *,
    longest: int,
    most: int | None,
) -> Deployment | Rejected:
    model, device, profile = what
    tp, pp, ep = split
    label = f"[{device.name} tp{tp}{f' pp{pp}' if pp > 1 else ''}{f' ep{ep}' if ep > 1 else ''}]"
    try:
        parallelism = Parallelism(tp, pp, ep=ep)
        parallelism.check(model)
        link_for(device, parallelism.devices)
    except InputError as error:
        return Rejected(label, str(error))
    if most is not None and parallelism.devices > most:
        return Rejected(
            label, f"one replica takes {parallelism.devices} devices, more than max_devices {most}"
        )
    given: dict[str, Any] = {"kv_dtype": kv_dtype, **settings}
    if not _is_calibrated(what, (tp, pp, ep), given):
        given.pop("calibration", None)
    shape = Deployment.of(model, device, tp=tp, pp=pp, ep=ep, engine=profile, **given)
    try:
        room = shape.kv.usable_blocks * shape.kv.block_size
        if room < shape.limits.max_model_len and "max_model_len" not in settings:
            # Engines refuse to start when one sequence of the full context does not fit: ask for what is needed.
            context = min(shape.limits.max_model_len, _ROUND_CONTEXT * math.ceil(longest / _ROUND_CONTEXT))
            given["max_model_len"] = context
            shape = Deployment.of(model, device, tp=tp, pp=pp, ep=ep, engine=profile, **given)
            room = shape.kv.usable_blocks * shape.kv.block_size
    except InputError as error:
        return Rejected(label, _shortage(str(error)))
    if room < min(longest, shape.limits.max_model_len):
        return Rejected(
            label, f"the longest request has {longest:,} tokens, the KV cache of a replica {room:,}: no room"
        )
    return shape


def _is_calibrated(
    what: tuple[ModelShape, Device, EngineProfile], split: tuple[int, int, int], given: Mapping[str, Any]
) -> bool:
    """Whether the calibration given is of this device and of the kind of step times that the shape has."""
    if given.get("calibration") is None:
        return False
    model, device, profile = what
    tp, pp, ep = split
    plain = {name: value for name, value in given.items() if name != "calibration"}
    Deployment.of(model, device, tp=tp, pp=pp, ep=ep, engine=profile, **plain)  # raises for other reasons
    try:
        Deployment.of(model, device, tp=tp, pp=pp, ep=ep, engine=profile, **given)
    except InputError:
        return False
    return True


def _shortage(message: str) -> str:
    """What doesn't fit and by how much, without names that stand in the label and without advice."""
    parts = message.split(": ")
    return f"does not fit: {parts[1]}" if len(parts) == 3 and "does not fit" in parts[0] else message
