"""gpt-oss: mixtures with biases everywhere, attention sinks, every second layer with a sliding window."""

from dataclasses import replace

from hasten.models.body import Body, grouped_attention, top_k, windows
from hasten.models.fields import MAX_COUNT, Fields
from hasten.models.layers import FeedForward, LayerGroup


def read(fields: Fields) -> Body:
    """The decoder of a gpt-oss configuration (openai/gpt-oss, gpt_oss/torch/model.py)."""
    bias = fields.flag("attention_bias", True)
    attention = replace(grouped_attention(fields, bias=bias, output_bias=bias), sinks=True)
    experts = fields.integer("num_local_experts", at_most=MAX_COUNT)
    ffn = FeedForward(
        fields.integer("intermediate_size"), experts=experts, top_k=top_k(fields, experts),
        bias=True, router_bias=True,
    )  # fmt: skip
    window = fields.integer("sliding_window", 128, at_most=2**31)
    seen = windows(fields, window, lambda layer: layer % 2 == 0)
    return Body(
        fields, [LayerGroup(1, replace(attention, window=size), ffn=ffn) for size in seen],
        hidden=fields.integer("hidden_size"), vocab=fields.integer("vocab_size"),
        tied=fields.flag("tie_word_embeddings"),
        harmless=("experts_per_token",),  # repeats num_experts_per_tok
    )  # fmt: skip


READERS = dict.fromkeys(("GptOssForCausalLM", "gpt_oss"), read)
