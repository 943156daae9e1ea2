"""What a family reader returns, and the parts that several families share."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass

from hasten.models.fields import MAX_COUNT, Fields
from hasten.models.layers import Attention, FeedForward, LayerGroup


@dataclass(frozen=True)
class Body:
    """A decoder as a family reader finds it: `layers` has one group of count 1 per layer, first to last."""

    fields: Fields  # the object that holds the language model's own fields
    layers: Sequence[LayerGroup]
    _: KW_ONLY
    hidden: int
    vocab: int
    tied: bool
    mtp_layers: int = 0
    harmless: tuple[str, ...] = ()  # fields of this family that change no weights, cache or work


def layer_count(fields: Fields) -> int:
    """Transformer layers."""
    return fields.integer("num_hidden_layers", at_most=MAX_COUNT)


def grouped_attention(
    fields: Fields, *, bias: bool = False, output_bias: bool = False, qk_norm: bool = False
) -> Attention:
    """Grouped-query attention from the fields all families share; no window.

    `num_key_value_heads` defaults to the heads, `head_dim` to hidden size over heads, which must divide.
    """
    heads = fields.integer("num_attention_heads", at_most=MAX_COUNT)
    kv_heads = fields.integer("num_key_value_heads", heads, at_most=MAX_COUNT)
    if heads % kv_heads:
        raise fields.fail(
            "num_key_value_heads", f"is {kv_heads}: it must divide num_attention_heads ({heads})"
        )
    hidden = fields.integer("hidden_size")
    if not fields.has("head_dim") and hidden % heads:
        raise fields.fail(
            "num_attention_heads", f"is {heads}: it must divide hidden_size ({hidden}), or give head_dim"
        )
    head_dim = fields.integer("head_dim", hidden // heads)
    return Attention(
        "gqa", heads, kv_heads=kv_heads, head_dim=head_dim,
        bias=bias, output_bias=output_bias, qk_norm=qk_norm,
    )  # fmt: skip


def windows(fields: Fields, size: int | None, is_local: Callable[[int], bool]) -> list[int | None]:
    """The sliding window of each layer in tokens, None for a layer that sees everything.

    `layer_types` decides where it is given, else `is_local` by layer number; `size` is the window.
    """
    count = layer_count(fields)
    kinds = fields.strings("layer_types")
    if not kinds:
        return [size if is_local(layer) else None for layer in range(count)]
    if len(kinds) != count:
        raise fields.fail("layer_types", f"has {len(kinds)} entries: num_hidden_layers is {count}")
    for layer, kind in enumerate(kinds):
        if kind not in ("full_attention", "sliding_attention"):
            raise fields.fail(
                f"layer_types[{layer}]", f"is {kind!r}: supported are full_attention, sliding_attention"
            )
        if kind == "sliding_attention" and size is None:
            raise fields.fail("sliding_window", "is missing: layer_types asks for sliding_attention")
    return [size if kind == "sliding_attention" else None for kind in kinds]


def window_size(fields: Fields) -> int | None:
    """`sliding_window` in tokens, None when absent, null or 0."""
    return fields.integer("sliding_window", 0, at_least=0, at_most=2**31) or None


def dense(fields: Fields, *, bias: bool = False) -> FeedForward:
    """A gated feed-forward part of `intermediate_size`."""
    return FeedForward(fields.integer("intermediate_size"), bias=bias)


def top_k(fields: Fields, experts: int) -> int:
    """Experts a token is routed to: at most those there are."""
    chosen = fields.integer("num_experts_per_tok")
    if chosen > experts:
        raise fields.fail("num_experts_per_tok", f"is {chosen}: there are only {experts} experts")
    return chosen
