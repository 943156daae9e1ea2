"""Gemma 3: five sliding-window layers to one that sees everything; of multimodal files the text part."""

from dataclasses import replace

from hasten.models.body import Body, dense, grouped_attention, windows
from hasten.models.fields import Fields
from hasten.models.layers import LayerGroup

# Gemma's files leave out what equals the default of transformers' Gemma3TextConfig
# (huggingface/transformers, src/transformers/models/gemma3/configuration_gemma3.py).
DEFAULTS = {
    "vocab_size": 262208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
    "sliding_window": 4096, "max_position_embeddings": 131072,
}  # fmt: skip


def read(fields: Fields) -> Body:
    """The decoder of a Gemma 3 configuration: four norms per layer, normalised queries and keys."""
    tied = fields.flag("tie_word_embeddings", True)
    inner = fields.inner("text_config") or fields
    fields = Fields(inner.where, {**DEFAULTS, **inner.values}, inner.section, inner.read)
    bias = fields.flag("attention_bias")
    attention = grouped_attention(fields, bias=bias, output_bias=bias, qk_norm=True)
    older = fields.integer("_sliding_window_pattern", 6)
    pattern = fields.integer("sliding_window_pattern", older)
    window = fields.integer("sliding_window", at_most=2**31)
    ffn = dense(fields)
    return Body(
        fields,
        [
            LayerGroup(1, replace(attention, window=size), ffn=ffn, norms=4)
            for size in windows(fields, window, lambda layer: (layer + 1) % pattern != 0)
        ],
        hidden=fields.integer("hidden_size"), vocab=fields.integer("vocab_size"),
        tied=fields.flag("tie_word_embeddings", tied),
    )  # fmt: skip


READERS = dict.fromkeys(
    ("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration", "gemma3_text", "gemma3"), read
)
