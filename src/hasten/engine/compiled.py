"""The decoder on compiled kernels: one call computes a step. Same interface and same results as model.py on a CPU.

Rows never influence each other, to the bit: a token does not depend on batch, chunks, cache hits or preemptions.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hasten.engine import native
from hasten.engine.config import ModelConfig
from hasten.engine.model import LINEARS, KVCache, StepInput, joined
from hasten.engine.rope import Rotary

KINDS = {"float32": native.FP32, "float16": native.FP16, "bfloat16": native.BF16, "int8": native.INT8}
_WIDE = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "int8": torch.int8}
_SPAN = np.dtype([(name, np.int64) for name in ("start", "count", "context", "slots")])
_LANES = 16  # tokens whose keys lie together


class CompiledDecoder:
    """A decoder with weights of `dtype`, a key of KINDS. Activations are fp32, KV too, or fp16 with narrower weights.

    Raises RuntimeError when `native.kernels()` has no library.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Mapping[str, Tensor],
        dtype: str,
        *,
        positions: int | None = None,
        threads: int | None = None,
    ) -> None:
        library = native.kernels().library
        if library is None:
            raise RuntimeError(native.kernels().reason)
        self.config = config
        self.device = torch.device("cpu")
        self.dtype_name = dtype
        self.kv_dtype = torch.float32 if dtype == "float32" else torch.float16
        self.kernels = f"compiled ({native.kernels().reason})"
        self._library = library
        self._kept: list[Tensor] = []  # what the structures point at
        stored = weights["model.embed_tokens.weight"]
        self._embedding = stored.to(torch.float16 if dtype == "int8" else _WIDE[dtype]).contiguous()
        rotary = Rotary(config.rope, config.head_dim, positions or config.max_context, device=self.device)
        layers = [self._layer(weights, number, window) for number, window in enumerate(config.windows)]
        self._layers = (native.Layer * len(layers))(*layers)
        self._model = native.Model(
            hidden=config.hidden,
            inner=config.intermediate,
            heads=config.heads,
            kv_heads=config.kv_heads,
            head_dim=config.head_dim,
            num_layers=config.num_layers,
            kv_kind=native.FP32 if dtype == "float32" else native.FP16,
            threads=threads or torch.get_num_threads(),
            eps=config.norm_eps,
            embedding_kind=KINDS["float16" if dtype == "int8" else dtype],
            embedding=self._embedding.data_ptr(),
            layers=self._layers,
            norm=self._vector(weights["model.norm.weight"]),
            head=self._matrix(stored if config.tied else weights["lm_head.weight"], None),
            cos=self._vector(rotary.cos),
            sin=self._vector(rotary.sin),
        )

    def cache(self, num_blocks: int, block_size: int) -> KVCache:
        """KV memory of `num_blocks` blocks, laid out as the kernels want it."""
        slots = -(-num_blocks * block_size // _LANES) * _LANES
        return KVCache(
            self.config,
            slots,
            dtype=self.kv_dtype,
            device=self.device,
            head_dim=-(-self.config.head_dim // 16) * 16,
            whole_groups=block_size % _LANES == 0,
        )

    def forward(self, step: StepInput, cache: KVCache) -> Tensor:
        """Compute one step. Raises IndexError for a token that the model does not know."""
        logits = torch.empty(step.rows.numel(), self.config.vocab)
        self._compute(step, cache, logits=logits.data_ptr())
        return logits

    def largest(self, step: StepInput, cache: KVCache) -> list[int]:
        """Compute one step: the token of each row's largest logit, the first of equal ones. Logits are not kept."""
        tokens = np.empty(step.rows.numel(), dtype=np.int64)
        self._compute(step, cache, largest=tokens.ctypes.data)
        found: list[int] = tokens.tolist()
        return found

    def _compute(self, step: StepInput, cache: KVCache, **wanted: int) -> None:
        table, entry = step.decode_slots, step.decode_rows
        if table is not None and entry is None:
            entry = torch.arange(step.num_decodes)
        chunks = [
            (chunk.start, chunk.stop - chunk.start, chunk.context, chunk.slots.data_ptr())
            for chunk in step.chunks
        ]
        spans = np.array(chunks, dtype=_SPAN)
        given = native.Step(
            tokens=step.tokens.numel(),
            decodes=step.num_decodes,
            spans=len(spans),
            rows=step.rows.numel(),
            num_slots=cache.keys.shape[2],
            whole_groups=cache.whole_groups,
            ids=step.tokens.data_ptr(),
            positions=step.positions.data_ptr(),
            slots=step.slots.data_ptr(),
            wanted=step.rows.data_ptr(),
            table=None if table is None else table.data_ptr(),
            entry=None if entry is None else entry.data_ptr(),
            table_width=0 if table is None else table.stride(0),
            span=spans.ctypes.data,
            keys=cache.keys.data_ptr(),
            values=cache.values.data_ptr(),
            **wanted,
        )
        row = self._library.hasten_step(ctypes.byref(self._model), ctypes.byref(given))
        if row >= 0:
            raise IndexError(f"token {int(step.tokens[row])} lies outside [0, {self.config.vocab})")

    def _layer(self, weights: Mapping[str, Tensor], number: int, window: int | None) -> native.Layer:
        prefix = f"model.layers.{number}."
        norms = {
            "input_norm": "input_layernorm",
            "inner_norm": "post_attention_layernorm",
            "q_norm": "self_attn.q_norm",
            "k_norm": "self_attn.k_norm",
        }
        vectors = {name: weights.get(f"{prefix}{source}.weight") for name, source in norms.items()}
        matrices = {name: joined(weights, prefix, *sources) for name, sources in LINEARS.items()}
        return native.Layer(
            window=window or 0,
            **{name: self._vector(vector) for name, vector in vectors.items() if vector is not None},
            **{name: self._matrix(*matrix) for name, matrix in matrices.items()},
        )

    def _vector(self, vector: Tensor) -> int:
        kept = vector.float().contiguous()
        self._kept.append(kept)
        return kept.data_ptr()

    def _matrix(self, weight: Tensor, bias: Tensor | None) -> native.Matrix:
        data, scale = packed(weight, self.dtype_name, int(self._library.hasten_group()))
        self._kept.append(data)
        return native.Matrix(
            kind=KINDS[self.dtype_name],
            out=weight.shape[0],
            columns=weight.shape[1],
            data=data.data_ptr(),
            scale=None if scale is None else self._vector(scale),
            bias=None if bias is None else self._vector(bias),
        )


def packed(weight: Tensor, dtype: str, group: int) -> tuple[Tensor, Tensor | None]:
    """`weight` [out, in] as the kernels read it, and for int8 the scale of each output (symmetric, 127 levels)."""
    scale = None
    if dtype == "int8":
        wide = weight.float()
        scale = wide.abs().amax(dim=1).clamp_min(1e-30) / 127
        weight = (wide / scale[:, None]).round_()
    (out, columns), panel = weight.shape, native.PANELS[KINDS[dtype]]
    if dtype != "int8":
        group = 1
    size = -(-columns // group) * group
    weight = functional.pad(weight.to(_WIDE[dtype]), (0, size - columns, 0, -out % panel))
    if group > 1:
        weight = (weight.to(torch.int16) + 128).to(torch.uint8)  # the kernel takes unsigned weights
    panels = weight.view(-1, panel, size // group, group)
    return panels.transpose(1, 2).contiguous(), scale
