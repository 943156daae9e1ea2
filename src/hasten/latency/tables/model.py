"""Step times from a layer profile, operator by operator, with the data sheet model where nothing was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from hasten.errors import InputError
from hasten.hardware import Device
from hasten.latency.analytical import AnalyticalModel
from hasten.latency.compiled import MeasuredAttention
from hasten.latency.operators import Operator
from hasten.latency.parallelism import Parallelism
from hasten.latency.step_time import StepTime
from hasten.latency.tables.layers import LayerProfile, find_profile
from hasten.latency.tables.offsets import Offsets, find_offsets
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
    """Step times of ``model`` on ``device`` in seconds, from measured layers where there are any.

    ``layers`` is the profile of these layers (default: the shipped one). ``measured_offsets`` are the signed
    seconds per step and per mixed step (default: those fitted for this device and engine, else the engine's).
    Raises InputError when nothing was measured for this model, device and split: use the AnalyticalModel.
    """

    layers: LayerProfile | None = field(default=None, kw_only=True)
    measured_offsets: Offsets | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.table  # raises when there is none

    @cached_property
    def _shipped(self) -> LayerProfile | None:
        return find_profile(self.model, self.device.name, self.parallelism.tp)

    @property
    def table(self) -> LayerProfile:
        """The profile in use."""
        found = self.layers or self._shipped
        if found is None:
            raise InputError(
                f"no layer profile of {self.model.name} on {self.device.name} with {self.parallelism.label}: "
                "use analytical step times"
            )
        return found

    @cached_property
    def fitted(self) -> Offsets:
        """The offsets in use."""
        if self.measured_offsets is not None:
            return self.measured_offsets
        known = find_offsets(self.device.name, self.profile.name)
        return known or Offsets(*super().offsets, origin=f"profile {self.profile.name}", error=0.1)

    @property
    def offsets(self) -> tuple[float, float]:
        return self.fitted.every_step, self.fitted.mixed_step

    @cached_property
    def unmeasured(self) -> tuple[str, ...]:
        """Operators and messages that are computed instead."""
        names = [each.name for each in self.forward.operators if not self._covers(each)]
        return (*names, *(each.name for each in self.forward.messages))

    @property
    def origin(self) -> str:
        return "mixed" if self.unmeasured else "table"

    @property
    def error(self) -> float:
        """Relative error to expect of a step time: that of the offsets' fit, more with computed parts."""
        return self.fitted.error if not self.unmeasured else max(self.fitted.error, 0.5 * super().error)

    def _covers(self, operator: Operator) -> bool:
        if operator.name in EXPERTS:
            return self.table.has("experts")
        return operator.name in LAYERS and self.table.has(f"{LAYERS[operator.name]}")

    # -- seconds

    def operator_seconds(self, operator: Operator, units: Any) -> Any:
        """Seconds of all calls of ``operator`` on ``units`` tokens or rows (an array)."""
        if not self._covers(operator):
            return super().operator_seconds(operator, units)
        units = np.asarray(units, dtype=np.float64)
        if operator.name in EXPERTS:
            found = self._experts(operator, units) if operator.name == EXPERTS[0] else np.zeros_like(units)
        else:
            calls = 1 if operator.name == "sampler" else operator.launches
            found = calls * self.table.seconds(LAYERS[operator.name], units)
            if (
                operator.name == "query and key norm"
            ):  # one call for queries, one for keys, which have fewer heads
                attention = self.model.layers[0].attention
                keys = self.table.seconds("qk_norm", units * attention.kv_heads / attention.heads)
                found = 0.5 * (found + calls * keys)
        return np.where(units > 0, np.maximum(found, self.data_sheet_seconds(operator, units)), 0.0)

    def data_sheet_seconds(self, operator: Operator, units: Any) -> Any:
        """Seconds below which no measurement is believed: weights at full bandwidth, arithmetic at the peak.

        A profiler that runs one layer again and again finds its weights in the on-chip cache; a step that
        runs all layers does not.
        """
        if operator.weight_bytes == 0.0 or operator.name in EXPERTS:
            return np.zeros_like(units)
        reading = operator.weight_bytes / self.device.memory_bandwidth
        return np.maximum(reading, operator.flops * units / self.device.peak_flops(operator.dtype))

    @cached_property
    def outliers(self) -> tuple[str, ...]:
        """Measured operators found faster than the data sheet allows, with the largest excess."""
        found = []
        units = np.array([1.0, 16.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0])
        for operator in self.forward.operators:
            if self._covers(operator) and operator.weight_bytes and operator.name not in EXPERTS:
                raw = operator.launches * self.table.seconds(LAYERS[operator.name], units)
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

    @property
    def attention_fixed(self) -> float:
        return 0.0

    def measured_attention(self, max_num_seqs: int, max_tokens: int) -> MeasuredAttention:
        """Measured attention of steps up to so many sequences and tokens."""
        return self.table.attention(self.model.num_layers, max_num_seqs, max_tokens)

    @cached_property
    def _usual_attention(self) -> MeasuredAttention:
        limits = self.engine_limits
        return self.measured_attention(limits.max_num_seqs, limits.max_num_batched_tokens)

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
        return self._with_host(busy, prefills, decodes)

    def _add_attention(
        self, spent: _Parts, prefills: Sequence[tuple[int, int]], decodes: int, decode_context: int
    ) -> None:
        longest = max((new for new, _ in prefills), default=0)
        limits = self.engine_limits
        is_usual = decodes <= limits.max_num_seqs and longest <= limits.max_num_batched_tokens
        measured = self._usual_attention if is_usual else self.measured_attention(decodes, longest)
        seconds = measured.seconds_of(prefills, decodes, decode_context)
        share = 1.0 / self.forward.micro_batches(decodes + len(prefills))
        kernels: list[Kernel] = []
        for attention in self.forward.attentions:
            kernels += [attention.prefill(new, past, share) for new, past in prefills]
            if decodes:
                kernels.append(attention.decode(decodes, decode_context, share))
        times = [self._kernel_time(each) for each in kernels]
        like = StepTime(kv=sum(t.kv for t in times), compute=sum(t.compute for t in times))
        spent.add(share * seconds, like)


def why_not(
    model: ModelShape,
    device: Device,
    parallelism: Parallelism,
    profile: EngineProfile,
    *,
    kv_dtype: str = "auto",
) -> str | None:
    """Why step times of a deployment can't come from tables, in words; None: they can."""
    if kv_dtype not in ("auto", "bf16"):
        return f"layers were measured with a bf16 cache, not {kv_dtype}"
    found = find_profile(model, device.name, parallelism.tp)
    if found is None:
        return f"nothing was measured for {model.name} on {device.name} with tp {parallelism.tp}"
    if found.about["engine"].partition(" ")[0] != profile.engine:
        return f"layers were measured under {found.about['engine']}, not {profile.engine}"
    return None
