"""DeepSeek-V2, V3 and R1, and Kimi-K2, which has the same architecture: latent attention, shared experts."""

from hasten.models.body import Body, dense, layer_count, top_k
from hasten.models.fields import MAX_COUNT, Fields
from hasten.models.layers import Attention, FeedForward, LayerGroup


def read(fields: Fields) -> Body:
    """The decoder of a DeepSeek configuration (arXiv:2412.19437, section 2)."""
    attention = _attention(fields)
    mixture = _mixture(fields)
    count = layer_count(fields)
    first = fields.integer("first_k_dense_replace", 0, at_least=0, at_most=MAX_COUNT)
    step = fields.integer("moe_layer_freq", 1)
    plain = dense(fields)
    return Body(
        fields,
        [
            LayerGroup(1, attention, ffn=mixture if layer >= first and layer % step == 0 else plain)
            for layer in range(count)
        ],
        hidden=fields.integer("hidden_size"), vocab=fields.integer("vocab_size"),
        tied=fields.flag("tie_word_embeddings"),
        mtp_layers=fields.integer("num_nextn_predict_layers", 0, at_least=0, at_most=MAX_COUNT),
    )  # fmt: skip


def _attention(fields: Fields) -> Attention:
    heads = fields.integer("num_attention_heads", at_most=MAX_COUNT)
    nope, rope = fields.integer("qk_nope_head_dim"), fields.integer("qk_rope_head_dim")
    fields.has("num_key_value_heads")  # repeats the heads: the latent is shared by all
    fields.has("head_dim")  # a repetition too, with differing meanings
    bias = fields.flag("attention_bias")
    return Attention(
        "mla", heads, kv_heads=heads, head_dim=nope + rope, v_head_dim=fields.integer("v_head_dim"),
        bias=bias, output_bias=bias,
        q_lora_rank=fields.integer("q_lora_rank", 0, at_least=0), kv_lora_rank=fields.integer("kv_lora_rank"),
        qk_nope_head_dim=nope, qk_rope_head_dim=rope,
    )  # fmt: skip


def _mixture(fields: Fields) -> FeedForward:
    experts = fields.integer("n_routed_experts", at_most=MAX_COUNT)
    width = fields.integer("moe_intermediate_size")
    shared = fields.integer("n_shared_experts", 0, at_least=0, at_most=MAX_COUNT)
    return FeedForward(
        width, experts=experts, top_k=top_k(fields, experts), shared_intermediate=shared * width,
        router_bias=fields.text("topk_method") == "noaux_tc",  # one correction bias per expert
    )  # fmt: skip


READERS = dict.fromkeys(
    ("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM", "deepseek_v2", "deepseek_v3", "kimi_k2"), read
)
