"""The tiny model in plain PyTorch: what `train_tiny.py` trains and measures, with every layer's output within reach.

A Llama decoder with tied embeddings. Nothing here serves: `hasten.engine` runs the same checkpoint.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

WINDOW = 1024  # tokens
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 2048,
    "max_position_embeddings": WINDOW,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "dtype": "float16",
}
LAYERS, HIDDEN, HEAD_DIM = CONFIG["num_hidden_layers"], CONFIG["hidden_size"], CONFIG["head_dim"]


def initial_weights(seed: int) -> dict[str, Tensor]:
    """Weights by their Hugging Face names, fp32. What ends a residual branch begins at zero."""
    generator = torch.Generator().manual_seed(seed)
    inner = CONFIG["intermediate_size"]
    queries, keys = CONFIG["num_attention_heads"] * HEAD_DIM, CONFIG["num_key_value_heads"] * HEAD_DIM

    def normal(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=generator) * columns**-0.5

    weights = {"model.embed_tokens.weight": 0.3 * normal(CONFIG["vocab_size"], HIDDEN)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        weights |= {
            f"{prefix}input_layernorm.weight": torch.ones(HIDDEN),
            f"{prefix}self_attn.q_proj.weight": normal(queries, HIDDEN),
            f"{prefix}self_attn.k_proj.weight": normal(keys, HIDDEN),
            f"{prefix}self_attn.v_proj.weight": normal(keys, HIDDEN),
            f"{prefix}self_attn.o_proj.weight": torch.zeros(HIDDEN, queries),
            f"{prefix}post_attention_layernorm.weight": torch.ones(HIDDEN),
            f"{prefix}mlp.gate_proj.weight": normal(inner, HIDDEN),
            f"{prefix}mlp.up_proj.weight": normal(inner, HIDDEN),
            f"{prefix}mlp.down_proj.weight": torch.zeros(HIDDEN, inner),
        }
    weights["model.norm.weight"] = torch.ones(HIDDEN)
    return weights


def rotary(length: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [length, head_dim] of the rotary embedding."""
    inverse = CONFIG["rope_theta"] ** (-torch.arange(0, HEAD_DIM, 2, dtype=torch.float64) / HEAD_DIM)
    angles = torch.outer(torch.arange(length, dtype=torch.float64), inverse)
    angles = torch.cat([angles, angles], dim=1)
    return angles.cos().float(), angles.sin().float()


def rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply the rotary embedding to [batch, heads, length, head_dim]."""
    left, right = states.chunk(2, dim=-1)
    return states * cos + torch.cat([-right, left], dim=-1) * sin


def normed(states: Tensor, weight: Tensor) -> Tensor:
    """RMSNorm over the last dimension."""
    return functional.rms_norm(states, (HIDDEN,), weight, CONFIG["rms_norm_eps"])


def hidden_states(weights: dict[str, Tensor], tokens: Tensor) -> list[Tensor]:
    """What every layer leaves, [batch, length, hidden] each."""
    batch, length = tokens.shape
    cos, sin = rotary(length)
    states = functional.embedding(tokens, weights["model.embed_tokens.weight"])
    left = []
    for layer in range(LAYERS):
        own = {
            name.removeprefix(f"model.layers.{layer}.").removesuffix(".weight"): value
            for name, value in weights.items()
            if name.startswith(f"model.layers.{layer}.")
        }

        def heads(name: str, seen: Tensor, own: dict[str, Tensor] = own) -> Tensor:
            found = functional.linear(seen, own[f"self_attn.{name}_proj"])
            return found.view(batch, length, -1, HEAD_DIM).transpose(1, 2)

        seen = normed(states, own["input_layernorm"])
        query, key = rotate(heads("q", seen), cos, sin), rotate(heads("k", seen), cos, sin)
        group = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(group, 1), heads("v", seen).repeat_interleave(group, 1)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        mixed = mixed.transpose(1, 2).reshape(batch, length, -1)
        states = states + functional.linear(mixed, own["self_attn.o_proj"])
        seen = normed(states, own["post_attention_layernorm"])
        gate = functional.silu(functional.linear(seen, own["mlp.gate_proj"]))
        inner = gate * functional.linear(seen, own["mlp.up_proj"])
        states = states + functional.linear(inner, own["mlp.down_proj"])
        left.append(states)
    return left


def logits(weights: dict[str, Tensor], states: Tensor) -> Tensor:
    """Scores of the next token, read from what any layer left."""
    return functional.linear(
        normed(states, weights["model.norm.weight"]), weights["model.embed_tokens.weight"]
    )


@torch.no_grad()
def measure(weights: dict[str, Tensor], modules: list[np.ndarray]) -> dict[str, float]:
    """Perplexity per token over modules in a row, in windows: of every exit, and by the place in the window."""
    stream = torch.from_numpy(np.concatenate(modules))
    nats = torch.zeros(LAYERS, WINDOW, dtype=torch.float64)
    counts = torch.zeros(WINDOW)
    for at in range(0, len(stream) - 1, WINDOW):
        row = stream[at : at + WINDOW + 1]
        length = len(row) - 1
        for layer, states in enumerate(hidden_states(weights, row[None, :-1])):
            scores = logits(weights, states[0])
            nats[layer, :length] += functional.cross_entropy(scores, row[1:], reduction="none").double()
        counts[:length] += 1
    figures = {f"exit after layer {n + 1}": math.exp(nats[n].sum() / counts.sum()) for n in range(LAYERS)}
    parts = {"first 128 tokens of a window": slice(0, 128), "last 512 tokens of a window": slice(512, None)}
    for name, part in parts.items():
        figures[name] = math.exp(nats[-1, part].sum() / counts[part].sum())
    return figures | {"tokens": int(counts.sum())}
