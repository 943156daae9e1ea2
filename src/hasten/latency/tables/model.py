"""Step times from a layer profile, operator by operator, with the data sheet model where nothing was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from hasten.errors import InputError
from hasten.hardware import Device
from hasten.latency.analytical import AnalyticalModel
from hasten.latency.collectives import span_of
from hasten.latency.compiled import MeasuredAttention
from hasten.latency.operators import MessageRate, Operator
from hasten.latency.parallelism import Parallelism
from hasten.latency.step_time import StepTime
from hasten.latency.tables.layers import Array, LayerProfile, find_profile
from hasten.latency.tables.offsets import Offsets, find_offsets
from hasten.latency.tables.operators import BoundOperators, OperatorTables, find_operators
from hasten.latency.work import Kernel
from hasten.models import ModelShape
from hasten.profiles import EngineProfile

#: Operator -> layer of a profile. The first of the expert operators stands for all of them.
LAYERS = {
    "embedding": "embedding",
    "norm": "layernorm",
    "qkv_proj": "qkv_proj",
    "o_proj": "o_proj",
    "gate_up_proj": "gate_up_proj",
    "down_proj": "down_proj",
    "activation": "act_fn",
    "rotary and cache write": "rotary_emb",
    "query and key norm": "qk_norm",
    "final norm": "final_layernorm",
    "lm_head": "lm_head",
    "sampler": "sampler",
}
EXPERTS = (
    "expert_gate_up_proj",
    "expert_down_proj",
    "expert activation",
    "expert routing",
    "expert sum",
    "router",
)


#: Relative error of measured steps with experts (one recorded run, one fitted residual) or with computed parts.
ERROR_DOUBTFUL = 0.1


class _Parts:
    """Collects seconds of a step by what they were spent on."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("weights", "kv", "compute", "launches"), 0.0)

    def add(self, total: float, like: StepTime) -> None:
        """Spend ``total`` seconds in the proportions of ``like``."""
        scale = total / like.seconds if like.seconds > 0.0 else 0.0
        for name in self.seconds:
            self.seconds[name] += scale * getattr(like, name)


@dataclass(frozen=True)
class TableModel(AnalyticalModel):
    """Step times of ``model`` on ``device`` in seconds, from measurements where there are any.

    ``layers`` is the profile of the model's layers (default: the shipped one, else the device's operator tables).
    ``measured_offsets`` are the signed seconds per step and per mixed step (default: those fitted for this device
    and engine, else the engine's). Raises InputError when nothing was measured on this device.
    """

    layers: LayerProfile | None = field(default=None, kw_only=True)
    measured_offsets: Offsets | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.table  # raises when there is none

    @cached_property
    def table(self) -> LayerProfile | BoundOperators:
        """The profile given, else the shipped one, else the device's operator tables."""
        found = self.layers
        if found is None and self.kv_dtype_bytes in (None, self.model.dtype_bytes):
            found = find_profile(self.model, self.device.name, self.parallelism.tp)
        if found is not None:
            return found
        operators = find_operators(self.device.name)
        if operators is None:
            raise InputError(
                f"neither layers of {self.model.name} nor operators were measured on {self.device.name}: "
                "use analytical step times"
            )
        return BoundOperators(operators, self)

    def products(self) -> Iterator[tuple[Operator, tuple[int, int]]]:
        """Operators that are one matrix product per layer, each with its outputs and inputs on one device."""
        operators = {each.name: each for each in self.forward.operators}
        linears = [each for group in self.model.layers for each in group.linears(self.model.hidden)]
        for linear in (*linears, self.model.head):
            if linear.copies == 1 and linear.name in operators:
                local = linear.sharded(self.parallelism.tp, self.parallelism.ep)
                yield operators[linear.name], (local.n_out, local.n_in)

    @cached_property
    def fitted(self) -> Offsets:
        """The offsets in use."""
        if self.measured_offsets is not None:
            return self.measured_offsets
        known = find_offsets(self.device.name, self.profile.name)
        return known or Offsets(*super().own_offsets, origin=f"profile {self.profile.name}", error=0.1)

    @property
    def own_offsets(self) -> tuple[float, float]:
        together = self.fitted.lockstep_step if self.parallelism.is_lockstep else 0.0
        return self.fitted.every_step + together, self.fitted.mixed_step

    @cached_property
    def unmeasured(self) -> tuple[str, ...]:
        """Operators and messages that are computed instead."""
        names = [each.name for each in self.forward.operators if not self._covers(each)]
        if not self.table.has_attention():
            names.append("attention")
        one = np.array([1.0])
        return (*names, *(each.name for each in self.forward.messages if self._exchange(each, one) is None))

    @property
    def base(self) -> str:
        return "layers" if isinstance(self.table, LayerProfile) else "operators"

    @property
    def own_origin(self) -> str:
        return "mixed" if self.unmeasured else "table"

    @property
    def own_error(self) -> float:
        """Relative error to expect of a step time: that of the offsets' fit, or worse where that is known.

        Steps combined from operator tables are no better than the data sheet model on published deployments
        (docs/accuracy.md), so they carry its error.
        """
        if not isinstance(self.table, LayerProfile):
            return super().own_error
        is_doubtful = self.model.is_mixture or bool(self.unmeasured)
        return max(self.fitted.error, ERROR_DOUBTFUL) if is_doubtful else self.fitted.error

    def _covers(self, operator: Operator) -> bool:
        if self._is_expert(operator):
            return self.table.has("experts")
        return self.table.has(LAYERS.get(operator.name, operator.name))

    def _is_expert(self, operator: Operator) -> bool:
        """Whether the time of the experts stands for the operator."""
        return operator.name in EXPERTS and (operator.name != "router" or self.table.includes_router)

    # -- seconds

    def operator_seconds(self, operator: Operator, units: Any) -> Any:
        """Seconds of all calls of ``operator`` on ``units`` tokens or rows (an array)."""
        if not self._covers(operator):
            return super().operator_seconds(operator, units)
        units = np.asarray(units, dtype=np.float64)
        if self._is_expert(operator):
            found = self._experts(operator, units) if operator.name == EXPERTS[0] else np.zeros_like(units)
        else:
            calls = 1 if operator.name == "sampler" else operator.launches
            found = calls * self.table.seconds(LAYERS.get(operator.name, operator.name), units)
            if operator.name == "query and key norm":  # queries and keys, which have fewer heads, apart
                attention = self.model.layers[0].attention
                keys = self.table.seconds("qk_norm", units * attention.kv_heads / attention.heads)
                found = 0.5 * (found + calls * keys)
        found = found * self._factor(operator, units)
        return np.where(units > 0, np.maximum(found, self.data_sheet_seconds(operator, units)), 0.0)

    def _factor(self, operator: Operator, units: Array) -> Any:
        """What a calibration makes of measured seconds: its factors, in the proportion of what the operator does."""
        found = self.coefficients
        if found.memory == found.compute == 1.0:
            return 1.0
        arithmetic = operator.flops * units / self.device.reached_flops(operator.dtype)
        moved = operator.weights_read(units) + operator.activation_bytes * units
        memory = moved * self.own_byte_seconds
        share = arithmetic / np.maximum(arithmetic + memory, 1e-30)
        return found.memory ** (1.0 - share) * found.compute**share

    def data_sheet_seconds(self, operator: Operator, units: Any) -> Any:
        """Seconds below which no measurement is believed: weights at full bandwidth, arithmetic at the peak.

        A profiler that runs one layer again and again finds its weights in the on-chip cache; a step that
        runs all layers does not.
        """
        if operator.weight_bytes == 0.0 or self._is_expert(operator):
            return np.zeros_like(units)
        reading = operator.weight_bytes / self.device.memory_bandwidth
        return np.maximum(reading, operator.flops * units / self.device.peak_flops(operator.dtype))

    @cached_property
    def outliers(self) -> tuple[str, ...]:
        """Measured operators found faster than the data sheet allows, with the largest excess."""
        found = []
        units = np.array([1.0, 16.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0])
        for operator in self.forward.operators:
            if self._covers(operator) and operator.weight_bytes and not self._is_expert(operator):
                raw = operator.launches * self.table.seconds(LAYERS.get(operator.name, operator.name), units)
                excess = float((self.data_sheet_seconds(operator, units) / raw).max() - 1.0)
                if excess > 0.0:
                    found.append(f"{operator.name}: up to {excess:.0%} faster than the data sheet")
        return tuple(found)

    def _experts(self, operator: Operator, units: Any) -> Any:
        """Experts on one device: it holds 1/ep of them and computes 1/ep of the pairs."""
        ep = self.parallelism.ep
        total = next(group.ffn.experts for group in self.model.layers if group.ffn.is_mixture)
        visited = total / ep * (1.0 - (1.0 - operator.routed_share) ** units)
        return operator.launches * self.table.expert_seconds(np.maximum(units / ep, 1.0), visited)

    def exchange_seconds(self, message: MessageRate, units: Any) -> Any:
        """Seconds of all messages of one kind on ``units`` tokens or rows (an array)."""
        found = self._exchange(message, np.asarray(units, dtype=np.float64))
        return super().exchange_seconds(message, units) if found is None else found

    def _exchange(self, message: MessageRate, units: Array) -> Array | None:
        """The same from measured collectives among neighbouring devices; None: there are none."""
        operators = find_operators(self.device.name)
        if operators is None or span_of(message, self.parallelism) != message.devices:
            return None
        size = message.bytes * units
        found = operators.collective_seconds(message.kind, message.devices, np.maximum(size, 1.0))
        factor = self.coefficients.communication * message.count
        return None if found is None else np.where(units > 0, factor * found, 0.0)

    @property
    def attention_fixed(self) -> float:
        return 0.0 if self.table.has_attention() else super().attention_fixed

    def measured_attention(self, max_num_seqs: int, max_tokens: int) -> MeasuredAttention | None:
        """Measured attention of steps up to so many sequences and tokens; None where it is computed."""
        if not self.table.has_attention():
            return None
        found = _attention(self.table, self.model.num_layers, max_num_seqs, max_tokens)
        if self.calibration is None:
            return found
        return found.scaled(decode=self._decode_factor, prefill=self.coefficients.compute)

    @property
    def _decode_factor(self) -> float:
        return self.coefficients.memory * self.coefficients.kv

    def step_time(
        self,
        prefills: Sequence[tuple[int, int]] = (),
        decodes: int = 0,
        decode_context: int = 0,
        *,
        group_tokens: int | None = None,
    ) -> StepTime:
        """As AnalyticalModel.step_time; each part keeps the proportions that the data sheet gives an operator."""
        self._check_step(prefills, decodes, decode_context)
        forward = self.forward
        sequences = decodes + len(prefills)
        parts = forward.micro_batches(sequences)
        tokens = self._micro_tokens(prefills, decodes)
        units = {
            "token": self.padded_tokens(tokens, has_prefill=bool(prefills)),
            "row": -(-sequences // parts),
            "group": tokens if group_tokens is None else -(-group_tokens // parts),
        }
        spent = _Parts()
        for operator in forward.operators:
            unit = units[operator.unit]
            spent.add(
                float(self.operator_seconds(operator, np.array([float(unit)]))[0]),
                self._kernel_time(operator.kernel(unit)),
            )
        self._add_attention(spent, prefills, decodes, decode_context)
        exchanged = sum(
            float(self.exchange_seconds(each, np.array([float(units[each.unit])]))[0])
            for each in forward.messages
        )
        busy = StepTime(
            weights=spent.seconds["weights"],
            kv=spent.seconds["kv"],
            compute=spent.seconds["compute"],
            communication=exchanged,
            launches=spent.seconds["launches"],
        )
        return self._with_host(busy, prefills, decodes, decode_context)

    def _add_attention(
        self, spent: _Parts, prefills: Sequence[tuple[int, int]], decodes: int, decode_context: int
    ) -> None:
        share = 1.0 / self.forward.micro_batches(decodes + len(prefills))
        kernels: list[Kernel] = []
        for attention in self.forward.attentions:
            kernels += [attention.prefill(new, past, share) for new, past in prefills]
            if decodes:
                slowdown = attention.mixed_slowdown(self.mixed_sigma) if prefills else 1.0
                slowdown *= self.coefficients.kv
                kernels.append(attention.decode(decodes, decode_context, share, slowdown))
        times = [self._kernel_time(each) for each in kernels]
        like = StepTime(kv=sum(t.kv for t in times), compute=sum(t.compute for t in times))
        longest = max((new for new, _ in prefills), default=0)
        if not self.table.has_attention():
            spent.add(like.seconds, like)
            spent.add(self.attention_fixed, StepTime(launches=1.0))
            return
        limits = self.engine_limits
        seqs, budget = max(decodes, limits.max_num_seqs), max(longest, limits.max_num_batched_tokens)
        measured = _attention(self.table, self.model.num_layers, seqs, budget)
        alone = measured.seconds_of(prefills, 0, 0)
        beside = measured.seconds_of(prefills, decodes, decode_context) - alone
        spent.add(share * (self.coefficients.compute * alone + self._decode_factor * beside), like)


@lru_cache(maxsize=16)
def _attention(
    table: LayerProfile | BoundOperators, layers: int, max_num_seqs: int, max_tokens: int
) -> MeasuredAttention:
    """Measured attention before any calibration: costly to make, and the same for all calibrations."""
    return table.attention(layers, max_num_seqs, max_tokens)


def why_not(
    deployed: tuple[ModelShape, Device, Parallelism, EngineProfile], *, kv_dtype: str, operators: bool
) -> str | None:
    """Why step times of a deployment can't come from measurements, in words; None: they can.

    They need a profile of the model's layers or, with ``operators``, at least the device's operator tables.
    """
    model, device, parallelism, profile = deployed
    found: LayerProfile | OperatorTables | None = None
    if kv_dtype in ("auto", "bf16"):
        found = find_profile(model, device.name, parallelism.tp)
    if found is None and operators:
        found = find_operators(device.name)
    if found is None:
        return f"nothing was measured for {model.name} on {device.name}"
    if found.about["engine"].partition(" ")[0] != profile.engine:
        return f"{device.name} was measured under {found.about['engine']}, not {profile.engine}"
    return None
