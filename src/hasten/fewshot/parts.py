"""A step as kernels whose data sheet seconds are to be corrected, each described by a few numbers.

What a kernel takes beyond the data sheet depends on what binds it: its fixed time, arithmetic or memory, and how many
tokens share it. These are its features, and they mean the same on every device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hasten.hardware import Device
from hasten.latency import AnalyticalModel
from hasten.latency.attention import ATTENTION_COMPUTE_SHARE, ATTENTION_FIXED, AttentionCost
from hasten.latency.compiled import causal_pairs, tokens_seen
from hasten.latency.operators import Operator

Floats = npt.NDArray[np.float64]

KINDS = ("product", "decode attention", "prefill attention", "small kernel", "message")
PRODUCT, DECODE, PREFILL, SMALL, MESSAGE = range(len(KINDS))
SHAPED = (PRODUCT, DECODE, PREFILL)
"""Kinds whose correction depends on their features; the others have one factor each."""

MEMORY_SHARE, COMPUTE_SHARE, KERNEL_SECONDS = 0.80, 0.70, 3e-6
"""What every device is taken to reach before anything was measured: round figures (Device's defaults)."""


def uncorrected(device: Device) -> Device:
    """The device with its data sheet and the same efficiencies as any other."""
    return replace(
        device,
        memory_efficiency=MEMORY_SHARE,
        compute_efficiency=COMPUTE_SHARE,
        compute_by_dtype={},
        kernel_seconds=KERNEL_SECONDS,
    )


@dataclass(frozen=True)
class Parts:
    """Kernels as arrays of equal shape, all of one kind: data sheet seconds, and features (last axis).

    ``bound`` (last axis) are the seconds of fixed time, arithmetic and memory; the larger of the last two counts.
    """

    kind: int
    seconds: Floats
    features: Floats
    bound: Floats

    def at(self, place: int, scale: float = 1.0) -> Parts:
        """One kernel as Parts of one row, its seconds multiplied by ``scale``."""
        row = slice(place, place + 1)
        seconds, features, bound = (
            self.seconds.reshape(-1),
            self.features.reshape(-1, 3),
            self.bound.reshape(-1, 3),
        )
        return Parts(self.kind, scale * seconds[row], features[row], scale * bound[row])


def _features(kind: int, parts: tuple[Any, Any, Any], sizes: tuple[Any, Any]) -> Parts:
    """From seconds (fixed, arithmetic, memory) and two sizes."""
    fixed, arithmetic, memory = (np.asarray(each, dtype=np.float64) for each in parts)
    seconds = fixed + np.maximum(arithmetic, memory)
    balance = np.log2(np.maximum(arithmetic, 1e-12) / np.maximum(memory, 1e-12))
    first = 0.25 * np.clip(balance, -8.0, 8.0) if kind == PRODUCT else 0.25 * np.log2(sizes[0])
    second = 2.0 * fixed / np.maximum(seconds, 1e-12)
    third = np.log2(np.maximum(sizes[1], 1.0)) / 6.0
    features = np.stack(np.broadcast_arrays(first, second, third), axis=-1)
    return Parts(kind, seconds, features, np.stack(np.broadcast_arrays(fixed, arithmetic, memory), axis=-1))


def product(model: AnalyticalModel, operator: Operator, units: Any) -> Parts:
    """All kernels of an operator on ``units`` tokens or rows (an array)."""
    units = np.maximum(np.asarray(units, dtype=np.float64), 1.0)
    arithmetic = operator.flops * units * model.flop_seconds(operator.dtype) / operator.compute_share
    memory = (operator.weights_read(units) + operator.activation_bytes * units) * model.byte_seconds
    fixed = operator.launches * operator.fixed * model.device.kernel_seconds
    if operator.weight_bytes == 0.0 or operator.flops == 0.0:
        seconds = fixed + np.maximum(arithmetic, memory)
        bound = np.stack(np.broadcast_arrays(fixed, arithmetic, memory), axis=-1)
        return Parts(SMALL, seconds, np.zeros((*units.shape, 3)), bound)
    return _features(PRODUCT, (fixed, arithmetic, memory), (units, units))


def _attention_fixed(model: AnalyticalModel) -> float:
    return model.forward.attention_launches * ATTENTION_FIXED * model.device.kernel_seconds


def decode(model: AnalyticalModel, n: Any, context: Any) -> Parts:
    """Attention of all layers in a step that decodes ``n`` sequences of ``context`` tokens each (arrays)."""
    n, context = np.broadcast_arrays(np.asarray(n, dtype=np.float64), np.asarray(context, dtype=np.float64))
    arithmetic, memory = np.zeros(n.shape), np.zeros(n.shape)
    for cost in model.forward.attentions:
        keys = n * np.minimum(context + 1.0, cost.window)
        per_flop = model.flop_seconds(cost.dtype) / ATTENTION_COMPUTE_SHARE
        arithmetic += cost.decode_pair_flops * keys * per_flop
        memory += (cost.decode_seen_bytes * keys + cost.decode_new_bytes * n) * model.byte_seconds
    return _features(DECODE, (_attention_fixed(model), arithmetic, memory), (n, context))


def prefill(model: AnalyticalModel, tokens: int, past: int) -> Parts:
    """Attention of all layers in a chunk of ``tokens`` behind ``past`` cached ones."""
    arithmetic, memory = 0.0, 0.0
    for cost in model.forward.attentions:
        one, other = _chunk(model, cost, tokens, past)
        arithmetic, memory = arithmetic + one, memory + other
    return _features(PREFILL, (_attention_fixed(model), arithmetic, memory), (float(tokens), 1.0))


def _chunk(model: AnalyticalModel, cost: AttentionCost, tokens: int, past: int) -> tuple[float, float]:
    flops = cost.pair_flops * causal_pairs(tokens, past, cost.window) + cost.past_flops * past
    moved = cost.seen_bytes * tokens_seen(tokens, past, cost.window) + cost.new_bytes * tokens
    per_flop = model.flop_seconds(cost.dtype) / ATTENTION_COMPUTE_SHARE
    return flops * per_flop, moved * model.byte_seconds


def step_parts(
    model: AnalyticalModel, prefills: Sequence[tuple[int, int]], decodes: int, decode_context: int
) -> list[Parts]:
    """All kernels and messages of a step, each as Parts of one row."""
    sequences = decodes + len(prefills)
    cycles = model.forward.micro_batches(sequences)
    tokens = -(-(decodes + sum(new for new, _ in prefills)) // cycles)
    padded = model.padded_tokens(tokens, has_prefill=bool(prefills))
    units = {"token": padded, "row": -(-sequences // cycles), "group": tokens}
    found = [product(model, each, np.array([units[each.unit]])) for each in model.forward.operators]
    attention = [prefill(model, new, past) for new, past in prefills]
    if decodes:
        one = decode(model, decodes, decode_context / decodes)
        slowed = max(each.mixed_slowdown(model.mixed_sigma) for each in model.forward.attentions)
        attention.append(one.at(0, slowed if prefills else 1.0))
    found += [each.at(0, 1.0 / cycles) for each in attention]
    for message in model.forward.messages:
        seconds = AnalyticalModel.exchange_seconds(model, message, np.array([float(units[message.unit])]))
        found.append(Parts(MESSAGE, seconds, np.zeros((1, 3)), seconds[:, None] * np.array([1.0, 0.0, 0.0])))
    return found
