"""Qwen 3, dense and mixtures of experts (not the hybrid Qwen3-Next): normalised queries and keys."""

from hasten.models.body import Body, dense, grouped_attention, layer_count
from hasten.models.families.qwen2 import decoder, mixtures
from hasten.models.fields import Fields
from hasten.models.layers import Attention


def read_dense(fields: Fields) -> Body:
    """The decoder of a dense Qwen3 configuration."""
    return decoder(fields, _attention(fields), [dense(fields)] * layer_count(fields))


def read_mixture(fields: Fields) -> Body:
    """The decoder of a Qwen3-MoE configuration."""
    return decoder(fields, _attention(fields), mixtures(fields))


def _attention(fields: Fields) -> Attention:
    bias = fields.flag("attention_bias")
    return grouped_attention(fields, bias=bias, output_bias=bias, qk_norm=True)


READERS = {
    "Qwen3ForCausalLM": read_dense,
    "Qwen3MoeForCausalLM": read_mixture,
    "qwen3": read_dense,
    "qwen3_moe": read_mixture,
}
