"""The forward pass of a decoder over a paged KV cache: one call computes one step, whatever it mixes.

A step's tokens lie in one row: one per decoding sequence, then the prefill chunks. Every layer first writes the K
and V of all of them, then attends, so a chunk may read blocks that another chunk of the same step fills.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional

from hasten.engine.config import ModelConfig
from hasten.engine.linear import MakeLinear, PlainLinear
from hasten.engine.rope import Rotary, rotate
from hasten.engine.sampling import largest

LINEARS = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attended": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
"""The linear parts of a layer, by the checkpoint's names."""


class KVCache:
    """K and V of every layer in `slots` token slots, each [layers, kv_heads, slots, head_dim].

    Heads come first, so that what a step gathers is ready for one batched product per head and sequence. The compiled
    kernels lay out the same memory their own way; `whole_groups` tells them that 16 tokens in a row lie in a row.
    """

    def __init__(
        self,
        config: ModelConfig,
        slots: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
        head_dim: int | None = None,
        whole_groups: bool = False,
    ) -> None:
        shape = (config.num_layers, config.kv_heads, slots, head_dim or config.head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.whole_groups = whole_groups


@dataclass
class ChunkInput:
    """One prefill chunk: rows [start, stop) of the step, after `context` tokens in KV; `slots` of all of them."""

    start: int
    stop: int
    context: int
    slots: Tensor  # [context + stop - start]


@dataclass
class StepInput:
    """One step: `tokens`, their `positions`, the KV `slots` they fill [tokens], and what each may read.

    The first `num_decodes` rows decode; row i reads the first `positions[i] + 1` of `decode_slots[decode_rows[i]]`, the
    rest is padding. `rows` are those whose logits are wanted, rising.
    """

    tokens: Tensor
    positions: Tensor
    slots: Tensor
    rows: Tensor
    num_decodes: int = 0
    decode_slots: Tensor | None = None  # [any, longest or more]
    decode_rows: Tensor | None = None  # None: row i of the step is row i of decode_slots
    chunks: list[ChunkInput] = field(default_factory=list)

    def on(self, device: torch.device) -> StepInput:
        """The same on `device`, and decode_slots in the order of its rows."""
        table = self.decode_slots
        if table is not None and self.decode_rows is not None:
            table = table[self.decode_rows]
        return StepInput(
            self.tokens.to(device),
            self.positions.to(device),
            self.slots.to(device),
            self.rows.to(device),
            num_decodes=self.num_decodes,
            decode_slots=None if table is None else table.to(device),
            chunks=[replace(chunk, slots=chunk.slots.to(device)) for chunk in self.chunks],
        )


class _Layer:
    """Weights of one decoder layer; Q, K, V in one matrix, gate and up in another."""

    def __init__(
        self, weights: Mapping[str, Tensor], prefix: str, window: int | None, linear: MakeLinear
    ) -> None:
        self.window = window
        self.input_norm = weights[f"{prefix}input_layernorm.weight"]
        self.inner_norm = weights[f"{prefix}post_attention_layernorm.weight"]
        self.q_norm = weights.get(f"{prefix}self_attn.q_norm.weight")
        self.k_norm = weights.get(f"{prefix}self_attn.k_norm.weight")
        self.qkv, self.attended, self.gate_up, self.down = (
            linear(*joined(weights, prefix, *names)) for names in LINEARS.values()
        )


def joined(weights: Mapping[str, Tensor], prefix: str, *names: str) -> tuple[Tensor, Tensor | None]:
    """The matrices of a layer that read the same states as one, with their biases."""
    matrix = [weights[f"{prefix}{name}.weight"] for name in names]
    bias = [weights[f"{prefix}{name}.bias"] for name in names if f"{prefix}{name}.bias" in weights]
    if len(names) == 1:
        return matrix[0], bias[0] if bias else None
    return torch.cat(matrix), torch.cat(bias) if bias else None


class Decoder:
    """A Llama-like decoder. `forward` reads and extends the KV cache and returns logits in fp32 [rows, vocab]."""

    kernels = "torch"

    def __init__(
        self,
        config: ModelConfig,
        weights: Mapping[str, Tensor],
        *,
        positions: int | None = None,
        linear: MakeLinear = PlainLinear,
    ) -> None:
        self.config = config
        self._embedding = weights["model.embed_tokens.weight"]
        self._norm = weights["model.norm.weight"]
        self._head = linear(self._embedding if config.tied else weights["lm_head.weight"], None)
        self.dtype_name = self._head.dtype_name
        self._layers = [
            _Layer(weights, f"model.layers.{number}.", window, linear)
            for number, window in enumerate(config.windows)
        ]
        self._rotary = Rotary(
            config.rope, config.head_dim, positions or config.max_context, device=self._embedding.device
        )

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self._embedding.device

    @property
    def kv_dtype(self) -> torch.dtype:
        """The type of activations and KV."""
        return self._embedding.dtype

    def cache(self, num_blocks: int, block_size: int) -> KVCache:
        """KV memory of `num_blocks` blocks."""
        return KVCache(self.config, num_blocks * block_size, dtype=self.kv_dtype, device=self.device)

    @torch.inference_mode()
    def forward(self, step: StepInput, cache: KVCache) -> Tensor:
        """Compute one step."""
        step = step.on(self.device)
        states = functional.embedding(step.tokens, self._embedding)
        cos, sin = self._rotary.at(step.positions, states.dtype)
        last = len(self._layers) - 1
        for number, layer in enumerate(self._layers):
            normed = self._normed(states, layer.input_norm)
            attended = self._attend(normed, layer, step, (cos, sin), cache.keys[number], cache.values[number])
            if number == last:  # the rest works row by row: only rows that sample need it
                states, attended = states[step.rows], attended[step.rows]
            states = states + layer.attended(attended)
            gate, up = layer.gate_up(self._normed(states, layer.inner_norm)).chunk(2, dim=-1)
            states = states + layer.down(functional.silu(gate) * up)
        return self._head(self._normed(states, self._norm)).float()

    def largest(self, step: StepInput, cache: KVCache) -> list[int]:
        """Compute one step: the token of each row's largest logit."""
        return largest(self.forward(step, cache))

    def _normed(self, states: Tensor, weight: Tensor) -> Tensor:
        return functional.rms_norm(states, (states.shape[-1],), weight, self.config.norm_eps)

    def _attend(
        self,
        normed: Tensor,
        layer: _Layer,
        step: StepInput,
        turn: tuple[Tensor, Tensor],
        keys: Tensor,
        values: Tensor,
    ) -> Tensor:
        """Write K and V of the step, then read what each row may see. Returns [tokens, heads * head_dim]."""
        config = self.config
        heads, kv_heads, size = config.heads, config.kv_heads, config.head_dim
        states = layer.qkv(normed).view(-1, heads + 2 * kv_heads, size)
        queries = states[:, :heads]
        fresh_keys, fresh_values = states[:, heads : heads + kv_heads], states[:, heads + kv_heads :]
        if layer.q_norm is not None and layer.k_norm is not None:
            queries = self._normed(queries, layer.q_norm)
            fresh_keys = self._normed(fresh_keys, layer.k_norm)
        queries = rotate(queries, *turn)
        keys.index_copy_(1, step.slots, rotate(fresh_keys, *turn).transpose(0, 1))
        values.index_copy_(1, step.slots, fresh_values.transpose(0, 1))
        parts = []
        if step.num_decodes:
            parts.append(_decode(queries[: step.num_decodes], keys, values, step, layer.window))
        parts += [
            _prefill(queries[chunk.start : chunk.stop], keys, values, chunk, layer.window)
            for chunk in step.chunks
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def _decode(queries: Tensor, keys: Tensor, values: Tensor, step: StepInput, window: int | None) -> Tensor:
    """One query token per sequence. The query heads of a KV head share one product."""
    slots = step.decode_slots
    if slots is None:
        raise ValueError("a step that decodes needs decode_slots")
    count, longest = slots.shape
    kv_heads, size = keys.shape[0], keys.shape[2]
    flat = slots.reshape(-1)
    seen_keys = keys.index_select(1, flat).view(kv_heads, count, longest, size)
    seen_values = values.index_select(1, flat).view(kv_heads, count, longest, size)
    grouped = queries.view(count, kv_heads, -1, size).transpose(0, 1)  # [kv_heads, count, group, size]
    at = step.positions[:count, None]
    place = torch.arange(longest, device=slots.device)[None, :]
    visible = place <= at
    if window is not None:
        visible &= place > at - window
    mask = visible[None, :, None, :]
    mixed = functional.scaled_dot_product_attention(grouped, seen_keys, seen_values, attn_mask=mask)
    return mixed.transpose(0, 1).reshape(count, -1)


def _prefill(queries: Tensor, keys: Tensor, values: Tensor, chunk: ChunkInput, window: int | None) -> Tensor:
    """A run of tokens of one sequence: each sees what lies before it."""
    count, heads, size = queries.shape
    kv_heads = keys.shape[0]
    length = chunk.slots.numel()
    shape = (kv_heads, heads // kv_heads, length, size)
    seen_keys = keys.index_select(1, chunk.slots).unsqueeze(1).expand(shape)
    seen_values = values.index_select(1, chunk.slots).unsqueeze(1).expand(shape)
    grouped = queries.view(count, kv_heads, -1, size).permute(1, 2, 0, 3)
    mask: Tensor | None = None
    plain = chunk.context == 0 and (window is None or length <= window)
    if not plain:
        at = torch.arange(chunk.context, length, device=queries.device)[:, None]
        place = torch.arange(length, device=queries.device)[None, :]
        mask = place <= at
        if window is not None:
            mask &= place > at - window
    mixed = functional.scaled_dot_product_attention(
        grouped, seen_keys, seen_values, attn_mask=mask, is_causal=plain
    )
    return mixed.permute(2, 0, 1, 3).reshape(count, heads * size)
