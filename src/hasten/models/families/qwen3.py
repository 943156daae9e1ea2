"""Qwen 3, dense and mixtures of experts (not the hybrid Qwen3-Next): normalised queries and keys."""

from hasten.models.body import Body, grouped_attention
from hasten.models.families.qwen2 import decoder
from hasten.models.fields import Fields

ARCHITECTURES = ("Qwen3ForCausalLM", "Qwen3MoeForCausalLM")
MODEL_TYPES = ("qwen3", "qwen3_moe")


def read(fields: Fields) -> Body:
    """The decoder of a Qwen3 configuration."""
    bias = fields.flag("attention_bias")
    return decoder(fields, grouped_attention(fields, bias=bias, output_bias=bias, qk_norm=True))
