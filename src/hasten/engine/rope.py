"""Rotary position embedding and its stretched forms."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hasten.engine.config import Rope


def inverse_frequencies(rope: Rope, head_dim: int) -> Tensor:
    """Radians per token of each pair of dimensions, fp32 [head_dim / 2]. Formulas as in Hugging Face transformers."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.int64).to(torch.float32) / head_dim
    plain = 1.0 / rope.theta**exponents
    if rope.kind == "linear":
        return plain / rope.factor
    if rope.kind == "llama3":
        return _llama3(rope, plain)
    if rope.kind == "yarn":
        return _yarn(rope, plain, head_dim)
    return plain


def _llama3(rope: Rope, plain: Tensor) -> Tensor:
    """Long waves are stretched, short ones stay, those between are blended."""
    waves = 2 * math.pi / plain
    longest = rope.original_context / rope.low_freq_factor
    shortest = rope.original_context / rope.high_freq_factor
    blend = (rope.original_context / waves - rope.low_freq_factor) / (
        rope.high_freq_factor - rope.low_freq_factor
    )
    between = (1 - blend) * plain / rope.factor + blend * plain
    stretched = torch.where(waves > longest, plain / rope.factor, plain)
    return torch.where((waves <= longest) & (waves >= shortest), between, stretched)


def _yarn(rope: Rope, plain: Tensor, head_dim: int) -> Tensor:
    """NTK by parts, arXiv:2309.00071, equations 17 to 23."""

    def dimension(rotations: float) -> float:
        waves = rope.original_context / (rotations * 2 * math.pi)
        return head_dim * math.log(waves) / (2 * math.log(rope.theta))

    low, high = dimension(rope.beta_fast), dimension(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    if low == high:
        high += 0.001
    ramp = torch.clamp((torch.arange(head_dim // 2, dtype=torch.float32) - low) / (high - low), 0, 1)
    return plain / rope.factor * ramp + plain * (1 - ramp)


class Rotary:
    """Cosines and sines of every position, made once for `positions` tokens: fp32 [positions, head_dim / 2]."""

    def __init__(self, rope: Rope, head_dim: int, positions: int, *, device: torch.device) -> None:
        frequencies = inverse_frequencies(rope, head_dim)
        angles = torch.outer(torch.arange(positions, dtype=torch.float32), frequencies)
        self.cos = (angles.cos() * rope.attention_factor).to(device)
        self.sin = (angles.sin() * rope.attention_factor).to(device)

    def at(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosine and sine of each token, [tokens, 1, head_dim / 2]."""
        return self.cos[positions].unsqueeze(1).to(dtype), self.sin[positions].unsqueeze(1).to(dtype)


def rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (i, i + head_dim / 2) of `states` [tokens, heads, head_dim]."""
    left, right = states.chunk(2, dim=-1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)
