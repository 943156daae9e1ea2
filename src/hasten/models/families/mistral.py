"""Mistral (7B, Nemo, Small, Large) and Mixtral; of the multimodal Mistral 3 the language model only."""

from dataclasses import replace

from hasten.models.body import Body, dense, grouped_attention, top_k, window_size, windows
from hasten.models.fields import MAX_COUNT, Fields
from hasten.models.layers import FeedForward, LayerGroup


def read_dense(fields: Fields) -> Body:
    """The decoder of a Mistral configuration."""
    fields = fields.inner("text_config") or fields
    return _decoder(fields, dense(fields))


def read_mixture(fields: Fields) -> Body:
    """The decoder of a Mixtral configuration: `intermediate_size` is the width of one expert."""
    experts = fields.integer("num_local_experts", at_most=MAX_COUNT)
    width = fields.integer("intermediate_size")
    return _decoder(fields, FeedForward(width, experts=experts, top_k=top_k(fields, experts)))


def _decoder(fields: Fields, ffn: FeedForward) -> Body:
    """A decoder whose `sliding_window`, if any, holds for all layers."""
    attention = grouped_attention(fields)
    seen = windows(fields, window_size(fields), lambda layer: True)
    return Body(
        fields, [LayerGroup(1, replace(attention, window=window), ffn=ffn) for window in seen],
        hidden=fields.integer("hidden_size"), vocab=fields.integer("vocab_size"),
        tied=fields.flag("tie_word_embeddings"),
    )  # fmt: skip


READERS = {
    "MistralForCausalLM": read_dense,
    "Mistral3ForConditionalGeneration": read_dense,
    "MixtralForCausalLM": read_mixture,
    "mistral": read_dense,
    "mistral3": read_dense,
    "mixtral": read_mixture,
}
