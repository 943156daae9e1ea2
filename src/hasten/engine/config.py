"""What a decoder computes, from its config.json: Llama, Mistral, Qwen2 and Qwen3."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hasten.errors import InputError
from hasten.jsontext import parse_json
from hasten.models.fields import MAX_COUNT, MAX_TOKENS, Fields, shorten

MAX_CONFIG_BYTES = 2**24


@dataclass(frozen=True)
class Family:
    """What an architecture fixes, and what its config.json may leave out."""

    qkv_bias: bool = False  # without asking the configuration
    asks_bias: bool = False  # `attention_bias` rules all four projections
    asks_mlp_bias: bool = False
    qk_norm: bool = False
    kv_heads: int | None = None  # None: as many as heads
    head_dim: int | None = None  # None: hidden / heads
    window: int | None = None  # tokens, when the field is absent
    asks_window: bool = False  # `use_sliding_window` and `max_window_layers` decide


FAMILIES: Mapping[str, Family] = {
    "LlamaForCausalLM": Family(asks_bias=True, asks_mlp_bias=True),
    "MistralForCausalLM": Family(kv_heads=8, window=4096),
    "Qwen2ForCausalLM": Family(qkv_bias=True, kv_heads=32, window=4096, asks_window=True),
    "Qwen3ForCausalLM": Family(
        asks_bias=True, qk_norm=True, kv_heads=32, head_dim=128, window=4096, asks_window=True
    ),
}


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding: base, and how it is stretched. Lengths in tokens."""

    theta: float = 10000.0
    kind: str = "default"  # default, linear, llama3 or yarn
    factor: float = 1.0
    original_context: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float = 1.0
    truncate: bool = True


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and switches of one decoder; `windows` holds each layer's attention window in tokens, None = all."""

    architecture: str
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int = 64
    vocab: int = 32000
    windows: tuple[int | None, ...] = ()
    norm_eps: float = 1e-6
    max_context: int = 2048
    rope: Rope = Rope()
    tied: bool = False
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    dtype: str = "float32"
    eos: tuple[int, ...] = ()

    @property
    def num_layers(self) -> int:
        """Decoder layers."""
        return len(self.windows)

    @property
    def kv_elements(self) -> int:
        """Elements of one token's K and V over all layers."""
        return 2 * self.num_layers * self.kv_heads * self.head_dim


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises InputError naming the file when there is none."""
    try:
        size = path.stat().st_size
        if size > MAX_CONFIG_BYTES:
            raise InputError(f"{path}: {size:,} bytes, the limit for a configuration is {MAX_CONFIG_BYTES:,}")
        values = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: give the directory of a Hugging Face checkpoint") from None
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: is no valid JSON ({error}): fetch the file again") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds {shorten(values)}: a JSON object is needed")
    return values


def load_config(directory: Path) -> ModelConfig:
    """The model of a checkpoint directory. Raises InputError, naming file and field, for what can't be run."""
    if not directory.is_dir():
        raise InputError(f"{directory}: no such directory: give that of a Hugging Face checkpoint")
    path = directory / "config.json"
    fields = Fields(str(path), read_json(path))
    name, family = _family(fields)
    if fields.has("quantization_config"):
        raise fields.fail("quantization_config", "is set: the engine reads unquantised checkpoints only")
    hidden = fields.integer("hidden_size")
    heads = fields.integer("num_attention_heads", at_most=MAX_COUNT)
    kv_heads = fields.integer("num_key_value_heads", family.kv_heads or heads, at_most=MAX_COUNT)
    if heads % kv_heads:
        raise fields.fail("num_key_value_heads", f"is {kv_heads}: it must divide the {heads} heads")
    if fields.text("hidden_act", "silu") not in ("silu", "swish"):
        raise fields.fail("hidden_act", f"is {shorten(fields.values['hidden_act'])}: supported is silu")
    bias = family.asks_bias and fields.flag("attention_bias")
    head_dim = fields.integer("head_dim", family.head_dim or max(1, hidden // heads))
    if head_dim % 2:
        raise fields.fail("head_dim", f"is {head_dim}: rotary embedding needs an even number")
    max_context = fields.integer("max_position_embeddings", 2048, at_most=MAX_TOKENS)
    return ModelConfig(
        name,
        hidden,
        fields.integer("intermediate_size"),
        heads,
        kv_heads,
        head_dim=head_dim,
        vocab=fields.integer("vocab_size"),
        windows=_windows(fields, family),
        norm_eps=_number(fields, "rms_norm_eps", 1e-6),
        max_context=max_context,
        rope=_rope(fields, max_context),
        tied=fields.flag("tie_word_embeddings"),
        qkv_bias=family.qkv_bias or bias,
        o_bias=bias,
        mlp_bias=family.asks_mlp_bias and fields.flag("mlp_bias"),
        qk_norm=family.qk_norm,
        dtype=_dtype(fields),
        eos=_eos(directory, fields),
    )


def _family(fields: Fields) -> tuple[str, Family]:
    names = fields.strings("architectures")
    for name in names:
        if name in FAMILIES:
            return name, FAMILIES[name]
    raise fields.fail("architectures", f"is {shorten(', '.join(names))}: supported are {', '.join(FAMILIES)}")


def _dtype(fields: Fields) -> str:
    name = fields.text("dtype") or fields.text("torch_dtype", "float32")
    if name not in ("float32", "float16", "bfloat16"):
        raise fields.fail("dtype", f"is {shorten(name)}: supported are float32, float16, bfloat16")
    return name


def _number(fields: Fields, name: str, default: float) -> float:
    if not fields.has(name):
        return default
    value = fields.values[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise fields.fail(name, f"is {shorten(value)}: give a positive number")
    return float(value)


def _windows(fields: Fields, family: Family) -> tuple[int | None, ...]:
    layers = fields.integer("num_hidden_layers", at_most=MAX_COUNT)
    if family.window is None:
        return (None,) * layers
    window: int | None = family.window
    if "sliding_window" in fields.values:
        window = (
            fields.integer("sliding_window", at_most=MAX_TOKENS) if fields.has("sliding_window") else None
        )
    if not family.asks_window:
        return (window,) * layers
    if not fields.flag("use_sliding_window") or window is None:
        return (None,) * layers
    kinds = fields.strings("layer_types")
    if not kinds:
        full = fields.integer("max_window_layers", 28, at_least=0)
        return tuple(window if layer >= full else None for layer in range(layers))
    if len(kinds) != layers:
        raise fields.fail("layer_types", f"has {len(kinds)} entries: num_hidden_layers is {layers}")
    for kind in kinds:
        if kind not in ("full_attention", "sliding_attention"):
            raise fields.fail(
                "layer_types", f"names {shorten(kind)}: supported are full_attention, sliding_attention"
            )
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)


def _rope(fields: Fields, max_context: int) -> Rope:
    given = fields.inner("rope_parameters") or fields.inner("rope_scaling")
    theta = _number(fields, "rope_theta", 10000.0)
    if given is None:
        return Rope(theta=theta)
    theta = _number(given, "rope_theta", theta)
    kind = given.text("rope_type") or given.text("type", "default")
    if kind not in ("default", "linear", "llama3", "yarn"):
        raise given.fail("rope_type", f"is {shorten(kind)}: supported are default, linear, llama3, yarn")
    if _number(given, "partial_rotary_factor", 1.0) != 1.0:
        raise given.fail("partial_rotary_factor", "is set: partial rotary embedding is not supported")
    original = given.integer("original_max_position_embeddings", max_context, at_most=MAX_TOKENS)
    if kind == "default":
        return Rope(theta=theta)
    factor = _number(given, "factor", max_context / original)
    return Rope(
        theta,
        kind,
        factor=factor,
        original_context=original,
        low_freq_factor=_number(given, "low_freq_factor", 1.0),
        high_freq_factor=_number(given, "high_freq_factor", 4.0),
        beta_fast=_number(given, "beta_fast", 32.0),
        beta_slow=_number(given, "beta_slow", 1.0),
        attention_factor=_attention_factor(given, kind, factor),
        truncate=given.flag("truncate", True),
    )


def _attention_factor(given: Fields, kind: str, factor: float) -> float:
    """YaRN's factor on cosine and sine; arXiv:2309.00071, equation 22, and DeepSeek's mscale."""
    if kind != "yarn":
        return 1.0
    if given.has("attention_factor"):
        return _number(given, "attention_factor", 1.0)

    def scale(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1.0 else 1.0

    if given.values.get("mscale") and given.values.get("mscale_all_dim"):
        return scale(_number(given, "mscale", 1.0)) / scale(_number(given, "mscale_all_dim", 1.0))
    return scale(1.0)


def _eos(directory: Path, fields: Fields) -> tuple[int, ...]:
    """Tokens that end an answer: generation_config.json overrules config.json."""
    found = fields
    path = directory / "generation_config.json"
    if path.exists():
        generation = Fields(str(path), read_json(path))
        if generation.has("eos_token_id"):
            found = generation
    if not found.has("eos_token_id"):
        return ()
    if isinstance(found.values["eos_token_id"], list):
        return tuple(found.integers("eos_token_id"))
    return (found.integer("eos_token_id", at_least=0),)
