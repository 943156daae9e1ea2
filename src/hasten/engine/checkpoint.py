"""Weights from safetensors files, checked against the configuration. Nothing is unpickled."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hasten.engine.config import ModelConfig, read_json
from hasten.errors import InputError
from hasten.models.fields import shorten

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FLOATS = ("F64", "F32", "F16", "BF16")  # of the format's types, those that need no scales beside them
_DERIVED = re.compile(r"(^|\.)rotary_emb\.inv_freq$")


def expected(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor that a checkpoint must hold, by name."""
    hidden, inner = config.hidden, config.intermediate
    queries, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config.vocab, hidden),
        "model.norm.weight": (hidden,),
    }
    if not config.tied:
        shapes["lm_head.weight"] = (config.vocab, hidden)
    linears = {
        "self_attn.q_proj": (queries, hidden, config.qkv_bias),
        "self_attn.k_proj": (keys, hidden, config.qkv_bias),
        "self_attn.v_proj": (keys, hidden, config.qkv_bias),
        "self_attn.o_proj": (hidden, queries, config.o_bias),
        "mlp.gate_proj": (inner, hidden, config.mlp_bias),
        "mlp.up_proj": (inner, hidden, config.mlp_bias),
        "mlp.down_proj": (hidden, inner, config.mlp_bias),
    }
    for layer in range(config.num_layers):
        prefix = f"model.layers.{layer}."
        for name, (rows, columns, bias) in linears.items():
            shapes[f"{prefix}{name}.weight"] = (rows, columns)
            if bias:
                shapes[f"{prefix}{name}.bias"] = (rows,)
        shapes[f"{prefix}input_layernorm.weight"] = (hidden,)
        shapes[f"{prefix}post_attention_layernorm.weight"] = (hidden,)
        if config.qk_norm:
            shapes[f"{prefix}self_attn.q_norm.weight"] = (config.head_dim,)
            shapes[f"{prefix}self_attn.k_norm.weight"] = (config.head_dim,)
    return shapes


class _File(NamedTuple):
    path: Path
    opened: Any  # safetensors' handle


class CheckpointWeights(Mapping[str, Tensor]):
    """The tensors of a checkpoint by name, each read and converted anew whenever it is asked for.

    Whoever packs them one layer after the other so needs memory for what it packs and one layer, not for two models.
    """

    def __init__(self, files: Mapping[str, _File], dtype: torch.dtype, device: torch.device) -> None:
        self._files = files
        self._dtype = dtype
        self._device = device

    def __getitem__(self, name: str) -> Tensor:
        file = self._files[name]
        with _readable(file.path):
            tensor: Tensor = file.opened.get_tensor(name)
        return tensor.to(device=self._device, dtype=self._dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def open_weights(
    directory: Path, config: ModelConfig, *, dtype: torch.dtype, device: torch.device
) -> CheckpointWeights:
    """A checkpoint's tensors, to be had as `dtype` on `device`. Raises InputError for missing, unknown, misshapen or
    cut ones, by what the heads of its files say.
    """
    wanted = expected(config)
    found: dict[str, _File] = {}
    for path, names in _shards(directory):
        file = _File(path, _opened(path))
        held = set(file.opened.keys())
        for name in sorted(held if names is None else names):
            if name not in held:
                raise InputError(f"{path}: {shorten(name)} is missing: the index says it lies here")
            if _DERIVED.search(name) or (config.tied and name == "lm_head.weight"):
                continue
            _check(path, name, file.opened.get_slice(name), wanted.get(name), config)
            found[name] = file
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        raise InputError(
            f"{directory}: {missing[0]} is missing ({len(missing)} tensors are): fetch the checkpoint again"
        )
    return CheckpointWeights(found, dtype, device)


def _check(path: Path, name: str, head: Any, wanted: tuple[int, ...] | None, config: ModelConfig) -> None:
    """Refuse a tensor, of which the file's `head` tells, that does not fit."""
    if wanted is None:
        raise InputError(
            f"{path}: {shorten(name)} is no weight of a {config.architecture} as config.json describes it"
        )
    shape, kind = list(head.get_shape()), head.get_dtype()
    if shape != list(wanted):
        raise InputError(f"{path}: {name} has shape {shape}, config.json asks for {list(wanted)}")
    if kind not in FLOATS:
        raise InputError(f"{path}: {name} is {kind}: quantised weights are not supported")


def _shards(directory: Path) -> Iterator[tuple[Path, set[str] | None]]:
    """Each safetensors file, with the tensors to read from it (None: all)."""
    single = directory / "model.safetensors"
    index = directory / "model.safetensors.index.json"
    if single.exists() or not index.exists():
        yield single, None
        return
    placed = read_json(index).get("weight_map")
    if not isinstance(placed, dict):
        raise InputError(
            f"{index}: weight_map is {shorten(placed)}: give a JSON object of tensor to file name"
        )
    files: dict[str, set[str]] = {}
    for name, file in placed.items():
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            raise InputError(
                f"{index}: {shorten(name)} lies in {shorten(file)}: name a .safetensors file beside it"
            )
        files.setdefault(file, set()).add(name)
    for file in sorted(files):
        yield directory / file, files[file]


def _opened(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"{path}: no such file: the engine reads safetensors only, no pickled weights")
    with _readable(path):
        return safe_open(path, framework="pt")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What goes wrong inside is the file's fault."""
    try:
        yield
    except (SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: can't be read ({reason}): fetch the file again") from None
