"""Qwen 2 and 2.5, dense and mixtures of experts: biases on query, key and value."""

from collections.abc import Sequence
from dataclasses import replace

from hasten.models.body import Body, dense, grouped_attention, layer_count, top_k, window_size, windows
from hasten.models.fields import MAX_COUNT, Fields
from hasten.models.layers import Attention, FeedForward, LayerGroup


def read_dense(fields: Fields) -> Body:
    """The decoder of a dense Qwen2 configuration."""
    return decoder(fields, _attention(fields), [dense(fields)] * layer_count(fields))


def read_mixture(fields: Fields) -> Body:
    """The decoder of a Qwen2-MoE configuration, with a shared expert behind a gate."""
    if fields.flag("use_sliding_window") and not fields.has("layer_types"):
        raise fields.fail("use_sliding_window", "is true: say which layers of the mixture in layer_types")
    return decoder(fields, _attention(fields), mixtures(fields))


def _attention(fields: Fields) -> Attention:
    return grouped_attention(fields, bias=fields.flag("qkv_bias", True))


def decoder(fields: Fields, attention: Attention, ffns: Sequence[FeedForward]) -> Body:
    """A Qwen decoder around the given attention and the feed-forward part of each layer."""
    parts = zip(_windows(fields), ffns, strict=True)
    return Body(
        fields, [LayerGroup(1, replace(attention, window=window), ffn=ffn) for window, ffn in parts],
        hidden=fields.integer("hidden_size"), vocab=fields.integer("vocab_size"),
        tied=fields.flag("tie_word_embeddings"),
    )  # fmt: skip


def _windows(fields: Fields) -> list[int | None]:
    """`sliding_window` counts only with `use_sliding_window`, and from layer `max_window_layers` on."""
    size = window_size(fields)
    first = fields.integer("max_window_layers", 28, at_least=0)
    used = fields.flag("use_sliding_window")
    return windows(fields, size if used else None, lambda layer: layer >= first)


def mixtures(fields: Fields) -> list[FeedForward]:
    """The feed-forward part of each layer: a mixture every `decoder_sparse_step` layers."""
    count = layer_count(fields)
    mixture = _mixture(fields)
    step = fields.integer("decoder_sparse_step", 1)
    dense_only = set(fields.integers("mlp_only_layers"))
    is_mixture = [layer not in dense_only and (layer + 1) % step == 0 for layer in range(count)]
    if all(is_mixture):
        fields.has("intermediate_size")  # the width of dense layers, of which there are none
        return [mixture] * count
    plain = dense(fields)
    return [mixture if here else plain for here in is_mixture]


def _mixture(fields: Fields) -> FeedForward:
    experts = fields.integer("num_experts", at_most=MAX_COUNT)
    shared = fields.integer("shared_expert_intermediate_size", 0, at_least=0)
    return FeedForward(
        fields.integer("moe_intermediate_size"), experts=experts, top_k=top_k(fields, experts),
        shared_intermediate=shared, shared_gate=shared > 0,
    )  # fmt: skip


READERS = {
    "Qwen2ForCausalLM": read_dense,
    "Qwen2MoeForCausalLM": read_mixture,
    "qwen2": read_dense,
    "qwen2_moe": read_mixture,
}
