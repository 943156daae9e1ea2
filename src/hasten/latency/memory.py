"""KV cache capacity of a replica, by the engine's own memory rule, with the computation shown.

Engines mean different things by their memory fraction: a share of all memory (vLLM), of what weights and KV
may take together (SGLang), of what is free after the weights (TensorRT-LLM). The rule and its constants are
fields of the engine profile. The activation peak, which engines measure at start-up, is estimated here, so a
computed capacity carries an error; the token count that an engine logs replaces it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hasten.errors import InputError
from hasten.hardware import Device
from hasten.latency.parallelism import Parallelism
from hasten.models.shape import ModelShape
from hasten.profiles import EngineLimits, EngineProfile

GIB = 2**30

COLLECTIVE_BYTES = 0.4e9
"""Buffers of a collective library, per device of a group (AIConfigurator 0.12.0: 342 to 392 MiB for NCCL)."""

ACTIVATION_BYTES = 2
"""Bytes of one activation: engines compute in 16 bits between operators, whatever the weights are stored in."""

TERM_ERROR = 0.25
"""Relative uncertainty of the estimated terms, which five start-up logs of an 8B model met within 10 %."""

LEAST_ERROR = 0.01
"""Relative uncertainty of a computed capacity at best: drivers differ in the memory they report by as much."""


@dataclass(frozen=True, kw_only=True)
class KVCapacity:
    """Room for KV on every device of a replica (on each data-parallel rank its own).

    `num_blocks` counts as the engine's start-up log does. `formula` is the computation, one term a line. `origin`
    is `analytical` or `measured`; `error` is the relative uncertainty of `tokens`.
    """

    num_blocks: int
    block_size: int  # tokens
    formula: str
    origin: str
    error: float
    null_blocks: int = 0  # of num_blocks, those the engine keeps for itself
    kv_bytes: float = 0.0  # room on the fullest device

    @property
    def tokens(self) -> int:
        """Tokens of KV, as the engine's start-up log counts them."""
        return self.num_blocks * self.block_size

    @property
    def usable_blocks(self) -> int:
        """Blocks that requests may hold."""
        return self.num_blocks - self.null_blocks


@dataclass(frozen=True)
class _Term:
    """One line of the computation: bytes added or taken away. Estimated terms carry TERM_ERROR."""

    label: str
    size: float
    is_estimate: bool = False


@dataclass(frozen=True, kw_only=True)
class _Inputs:
    model: ModelShape
    device: Device
    parallelism: Parallelism
    profile: EngineProfile
    limits: EngineLimits

    @property
    def weights(self) -> _Term:
        sizes = self.parallelism
        size = self.model.weight_bytes_per_device(sizes.tp, sizes.pp, sizes.ep)
        return _Term(f"- weights ({sizes.label})", -size)


def kv_capacity(
    model: ModelShape,
    device: Device,
    parallelism: Parallelism,
    profile: EngineProfile,
    limits: EngineLimits,
    *,
    kv_dtype_bytes: float | None = None,
    kv_cache_tokens: int | None = None,
    typical_context: int | None = None,
) -> KVCapacity:
    """Blocks and tokens of KV that one replica holds, with the computation.

    `kv_cache_tokens` is the figure the engine logged at start-up: it replaces the computation (origin
    `measured`). `typical_context` is the tokens of an ordinary sequence: layers with a sliding window then count
    for what they hold of it; without it every layer counts in full, which is a lower bound. Raises InputError
    when the model doesn't fit, naming what is short, and for a figure out of range.
    """
    per_token = _bytes_per_token(model, parallelism, kv_dtype_bytes, typical_context)
    inputs = _Inputs(model=model, device=device, parallelism=parallelism, profile=profile, limits=limits)
    if kv_cache_tokens is not None:
        return _measured(inputs, kv_cache_tokens, per_token)
    terms = _RULES[profile.memory_rule](inputs)
    size = sum(term.size for term in terms)
    block_bytes = per_token * limits.block_size
    num_blocks = math.floor(size / block_bytes)
    if num_blocks <= profile.null_blocks:
        raise InputError(_shortage(inputs, terms, block_bytes))
    doubt = sum(abs(term.size) for term in terms if term.is_estimate) * TERM_ERROR
    lines = [_line(term.label, term.size) for term in terms]
    lines.append(_line("= KV cache", size))
    return _capacity(
        inputs,
        num_blocks,
        per_token,
        lines=lines,
        size=size,
        origin="analytical",
        error=max(LEAST_ERROR, doubt / size),
    )


def activation_peak(
    model: ModelShape, parallelism: Parallelism, profile: EngineProfile, limits: EngineLimits
) -> float:
    """Bytes of the largest working set of a step: the widest layer at the token budget, or the sampler.

    The layer counts the outputs of all its operators and four copies of the hidden state. The sampler counts
    `activation_bytes_per_logit` for every sequence and vocabulary entry: engines size themselves by a dummy step
    that samples for max_num_seqs sequences at once, on every device of a tensor-parallel group.
    """
    widest = 0
    for group in model.layers:
        outputs = sum(
            linear.sharded(parallelism.tp, parallelism.ep).n_out * linear.active
            for linear in group.linears(model.hidden)
        )
        widest = max(widest, outputs + 4 * model.hidden)
    layer = limits.max_num_batched_tokens * widest * ACTIVATION_BYTES
    rows = min(limits.max_num_seqs, limits.max_num_batched_tokens)
    return max(layer, rows * model.vocab * profile.activation_bytes_per_logit)


def static_fraction(
    device: Device, parallelism: Parallelism, profile: EngineProfile, limits: EngineLimits
) -> float:
    """Share of the memory for weights and KV that an engine with a static fraction derives from its reserve.

    (device - reserve) / device to three digits, where the reserve grows with the chunk, the devices and the
    captured graphs, and has a floor on large devices (SGLang 0.5.23, srt/arg_groups/memory_hook.py).
    """
    chunk = max(limits.max_num_batched_tokens, profile.reserve_chunk_tokens_min)
    graphs = limits.graph_sizes[-1] if limits.graph_sizes else 0
    reserve = (
        profile.reserve_bytes
        + profile.reserve_bytes_per_chunk_token * chunk
        + profile.reserve_bytes_per_device * parallelism.tp * parallelism.pp
        + profile.reserve_bytes_per_graph_sequence * graphs
        + profile.reserve_bytes_per_prefill_graph * len(limits.prefill_graph_sizes)
    )
    if device.memory_bytes > profile.reserve_floor_above_bytes:
        reserve = max(reserve, profile.reserve_floor_bytes)
    return round((device.memory_bytes - reserve) / device.memory_bytes, 3)


def _peak_terms(inputs: _Inputs) -> list[_Term]:
    """What an engine finds in use after a dummy step: activations, libraries, buffers between devices."""
    peak = activation_peak(inputs.model, inputs.parallelism, inputs.profile, inputs.limits)
    terms = [
        _Term("- activation peak, estimated", -peak, is_estimate=True),
        _Term("- libraries and workspaces, estimated", -inputs.profile.overhead_bytes, is_estimate=True),
    ]
    if inputs.parallelism.devices > 1:
        terms.append(_Term("- buffers between devices, estimated", -COLLECTIVE_BYTES, is_estimate=True))
    if inputs.profile.graph_memory_subtracted:
        graphs = len(inputs.limits.graph_sizes) * inputs.profile.graph_bytes_per_size
        terms.append(_Term("- captured graphs, estimated", -graphs, is_estimate=True))
    return terms


def _fraction_of_total(inputs: _Inputs) -> list[_Term]:
    fraction = inputs.limits.memory_fraction
    size = math.ceil(inputs.device.memory_bytes * fraction)
    label = f"{fraction:g} of {_memory(inputs.device)}"
    return [_Term(label, size), inputs.weights, *_peak_terms(inputs)]


def _static_fraction(inputs: _Inputs) -> list[_Term]:
    profile = inputs.profile
    fraction = inputs.limits.memory_fraction or static_fraction(
        inputs.device, inputs.parallelism, profile, inputs.limits
    )
    # What the fraction leaves is for activations and graphs, so they are no terms of ours.
    return [
        _Term(f"{fraction:g} of {_memory(inputs.device)}", inputs.device.memory_bytes * fraction),
        _Term(f"- {fraction:g} of the driver's context, estimated", -profile.context_bytes * fraction, True),
        inputs.weights,
    ]


def _fraction_of_free(inputs: _Inputs) -> list[_Term]:
    fraction = inputs.limits.memory_fraction
    terms = [
        _Term(_memory(inputs.device), inputs.device.memory_bytes),
        _Term("- the driver's context, estimated", -inputs.profile.context_bytes, is_estimate=True),
        inputs.weights,
        *_peak_terms(inputs),
    ]
    free = sum(term.size for term in terms)
    return [
        *terms,
        _Term(f"- the {1 - fraction:g} of the free memory left alone", -max(0.0, free) * (1 - fraction)),
    ]


_RULES: Mapping[str, Callable[[_Inputs], list[_Term]]] = {
    "fraction_of_total": _fraction_of_total,
    "static_fraction": _static_fraction,
    "fraction_of_free": _fraction_of_free,
}


def _bytes_per_token(
    model: ModelShape, parallelism: Parallelism, kv_dtype_bytes: float | None, typical_context: int | None
) -> float:
    """KV bytes of one token on the fullest device; windows count as far as `typical_context` fills them."""
    full = model.kv_bytes_per_token_per_device(parallelism.tp, parallelism.pp, kv_dtype_bytes=kv_dtype_bytes)
    if typical_context is None:
        return full
    if typical_context < 1:
        raise InputError(
            f"typical_context is {typical_context}: give the tokens of an ordinary sequence, 1 or more"
        )
    held = model.kv_bytes(typical_context, kv_dtype_bytes)
    return full * held / (typical_context * model.kv_bytes_per_token(kv_dtype_bytes))


def _measured(inputs: _Inputs, tokens: int, per_token: float) -> KVCapacity:
    block = inputs.limits.block_size
    num_blocks = tokens // block
    if num_blocks <= inputs.profile.null_blocks:
        raise InputError(
            f"kv_cache_tokens is {tokens}, less than a block of {block}: give the token count the engine logged"
        )
    size = tokens * per_token
    if size > inputs.device.memory_bytes:
        raise InputError(
            f"kv_cache_tokens is {tokens:,}: they take {_gib(size)} on {inputs.device.name}, which has "
            f"{_gib(inputs.device.memory_bytes)}: give the count of one replica, and its KV data type"
        )
    line = f"  {tokens:,} tokens as logged by the engine"
    return _capacity(inputs, num_blocks, per_token, lines=[line], size=size, origin="measured", error=0.0)


def _capacity(
    inputs: _Inputs,
    num_blocks: int,
    per_token: float,
    *,
    lines: list[str],
    size: float,
    origin: str,
    error: float,
) -> KVCapacity:
    block = inputs.limits.block_size
    tokens = num_blocks * block
    head = f"KV capacity of {inputs.model.name} on {inputs.device.name} ({inputs.parallelism.label}), "
    head += f"{inputs.profile.name}: {inputs.profile.memory_rule.replace('_', ' ')}"
    lines = [
        head,
        *lines,
        f"  / {per_token * block / 1024:,.1f} KiB per block of {block} = {num_blocks:,} blocks = {tokens:,} tokens",
    ]
    if tokens < inputs.limits.max_model_len:
        lines.append(
            f"  note: one sequence of max_model_len {inputs.limits.max_model_len:,} does not fit; "
            f"engines refuse to start so: set max_model_len to {tokens:,} or less"
        )
    return KVCapacity(
        num_blocks=num_blocks,
        block_size=block,
        formula="\n".join(lines),
        origin=origin,
        error=error,
        null_blocks=inputs.profile.null_blocks,
        kv_bytes=size,
    )


def _shortage(inputs: _Inputs, terms: list[_Term], block_bytes: float) -> str:
    """One line: what doesn't fit, by how much, and what to do."""
    room = terms[0].size
    need = block_bytes - sum(term.size for term in terms[1:])
    model, device = inputs.model, inputs.device
    advice = _fitting_sizes(inputs)
    return (
        f"{model.name} does not fit {device.name} ({inputs.parallelism.label}, {inputs.profile.name}): weights "
        f"{_gib(-inputs.weights.size)} and a working set need {_gib(need)}, {_gib(need - room)} more than the "
        f"{_gib(room)} allowed: {advice}"
    )


def _fitting_sizes(inputs: _Inputs) -> str:
    """Advice: the smallest wider split whose weights leave a tenth of the memory, if there is one."""
    sizes = inputs.parallelism
    for tp in (2, 4, 8, 16):
        if tp <= sizes.tp:
            continue
        ep = tp * sizes.dp if sizes.ep > 1 else 1
        try:
            weights = inputs.model.weight_bytes_per_device(tp, sizes.pp, ep)
        except InputError:
            continue
        if weights < 0.8 * inputs.device.memory_bytes:
            return f"try tp {tp}, a device with more memory, or quantised weights"
    return "try more pipeline stages, a device with more memory, or quantised weights"


def _memory(device: Device) -> str:
    return f"{_gib(device.memory_bytes)} ({device.memory_origin})"


def _gib(size: float) -> str:
    return f"{size / GIB:,.2f} GiB"


def _line(label: str, size: float) -> str:
    return f"  {label:<58} {size / GIB:>9,.2f} GiB"
