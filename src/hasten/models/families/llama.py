"""Llama 1 to 3.3 (not 4): dense, grouped-query attention, optional biases."""

from hasten.models.body import Body, dense, grouped_attention, windows
from hasten.models.fields import Fields
from hasten.models.layers import LayerGroup


def read(fields: Fields) -> Body:
    """The decoder of a Llama configuration."""
    bias = fields.flag("attention_bias")
    attention = grouped_attention(fields, bias=bias, output_bias=bias)
    ffn = dense(fields, bias=fields.flag("mlp_bias"))
    seen = windows(fields, None, lambda layer: False)  # refuses a layer_types with sliding windows
    return Body(
        fields, [LayerGroup(1, attention, ffn=ffn)] * len(seen),
        hidden=fields.integer("hidden_size"), vocab=fields.integer("vocab_size"),
        tied=fields.flag("tie_word_embeddings"),
    )  # fmt: skip


READERS = dict.fromkeys(("LlamaForCausalLM", "llama"), read)
