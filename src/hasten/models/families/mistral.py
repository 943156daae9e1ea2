"""Mistral (7B, Nemo, Small, Large) and Mixtral; of the multimodal Mistral 3 the language model only."""

from dataclasses import replace

from hasten.models.body import Body, dense, grouped_attention, top_k, window_size, windows
from hasten.models.fields import MAX_COUNT, Fields
from hasten.models.layers import FeedForward, LayerGroup

ARCHITECTURES = ("MistralForCausalLM", "Mistral3ForConditionalGeneration", "MixtralForCausalLM")
MODEL_TYPES = ("mistral", "mistral3", "mixtral")


def read(fields: Fields) -> Body:
    """The decoder of a Mistral or Mixtral configuration; `sliding_window` holds for all layers."""
    fields = fields.inner("text_config") or fields
    attention = grouped_attention(fields)
    ffn = _experts(fields) if fields.has("num_local_experts") else dense(fields)
    seen = windows(fields, window_size(fields), lambda layer: True)
    return Body(
        fields, [LayerGroup(1, replace(attention, window=window), ffn=ffn) for window in seen],
        hidden=fields.integer("hidden_size"), vocab=fields.integer("vocab_size"),
        tied=fields.flag("tie_word_embeddings"),
    )  # fmt: skip


def _experts(fields: Fields) -> FeedForward:
    experts = fields.integer("num_local_experts", at_most=MAX_COUNT)
    return FeedForward(fields.integer("intermediate_size"), experts=experts, top_k=top_k(fields, experts))
