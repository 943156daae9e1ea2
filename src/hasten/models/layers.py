"""What one transformer layer is made of: linear operators, attention, feed-forward.

Counts are weights and elements, never bytes: bytes depend on quantisation, which `hasten.models.shape` adds.
The operators are those an engine launches: query, key and value in one product, gate and up in one product.
"""

from dataclasses import KW_ONLY, dataclass, replace
from typing import Literal

Shard = Literal["column", "row", "none"]


@dataclass(frozen=True, slots=True)
class Linear:
    """A matrix product of one layer, in numbers of weights; `copies` > 1 for the experts of a mixture.

    `shard` says how tensor parallelism cuts it (Megatron-LM, arXiv:1909.08053, section 3): "column" cuts the
    outputs, "row" the inputs (an all-reduce follows), "none" keeps the whole matrix on every device.
    """

    name: str
    n_in: int
    n_out: int
    _: KW_ONLY
    bias: bool = False
    shard: Shard = "none"
    copies: int = 1  # matrices held: the number of experts
    active: int = 1  # matrices one token passes through: the experts it is routed to
    kv_out: int = 0  # of n_out, the columns of key and value heads: replicated once tp exceeds kv_heads
    kv_heads: int = 1
    modules: tuple[str, ...] = ()  # names inside the layer, as quantisation ignore lists spell them
    is_router: bool = False

    @property
    def weights(self) -> int:
        """Matrix elements of all copies, without biases."""
        return self.copies * self.n_in * self.n_out

    @property
    def biases(self) -> int:
        """Bias elements of all copies."""
        return self.copies * self.n_out if self.bias else 0

    @property
    def parameters(self) -> int:
        """Weights and biases of all copies."""
        return self.weights + self.biases

    @property
    def active_parameters(self) -> int:
        """Weights and biases one token passes through."""
        return self.parameters // self.copies * self.active

    @property
    def flops_per_token(self) -> int:
        """Floating-point operations per token, two per weight passed through."""
        return 2 * self.active * self.n_in * self.n_out

    def sharded(self, tp: int, ep: int = 1) -> "Linear":
        """The part one device holds: experts divided by ep, or cut by tp like any matrix when ep is 1.

        Uneven cuts are rounded up: the fullest device is the one that has to fit.
        """
        if self.copies > 1 and ep > 1:
            return replace(self, copies=-(-self.copies // ep))
        if tp == 1 or self.shard == "none":
            return self
        if self.shard == "row":
            return replace(self, n_in=-(-self.n_in // tp))
        kv_here = self.kv_out // self.kv_heads * -(-self.kv_heads // tp)
        return replace(self, n_out=-(-(self.n_out - self.kv_out) // tp) + kv_here, kv_out=kv_here)


@dataclass(frozen=True, slots=True)
class Attention:
    """Attention of one layer: grouped-query ("gqa", also multi-head and multi-query) or latent ("mla").

    For "mla" (DeepSeek-V2, arXiv:2405.04434, section 2.1) the latent and rope sizes are set, `kv_heads` is
    `heads`, and `head_dim` is `qk_nope_head_dim + qk_rope_head_dim`.
    """

    kind: Literal["gqa", "mla"]
    heads: int
    _: KW_ONLY
    kv_heads: int
    head_dim: int
    v_head_dim: int = 0  # 0: as head_dim
    window: int | None = None  # tokens a sliding window sees; None: the whole context
    bias: bool = False  # on query, key and value
    output_bias: bool = False
    qk_norm: bool = False
    sinks: bool = False  # one learnt logit per head
    q_lora_rank: int = 0
    kv_lora_rank: int = 0
    qk_nope_head_dim: int = 0
    qk_rope_head_dim: int = 0

    @property
    def value_dim(self) -> int:
        """Elements of one value head."""
        return self.v_head_dim or self.head_dim

    @property
    def kv_elements(self) -> int:
        """Cached elements per token of this layer, keys and values together."""
        if self.kind == "mla":
            return self.kv_lora_rank + self.qk_rope_head_dim
        return self.kv_heads * (self.head_dim + self.value_dim)

    def kv_elements_per_device(self, tp: int) -> int:
        """Cached elements per token of this layer on one of tp devices.

        A latent cache is whole on every device; a key-value head is replicated once tp exceeds their number.
        """
        if self.kind == "mla":
            return self.kv_elements
        return -(-self.kv_heads // tp) * (self.head_dim + self.value_dim)

    def held(self, context: int) -> int:
        """Tokens of a context that this layer keeps: at most its window."""
        return context if self.window is None else min(context, self.window)

    def score_flops(self, context: int) -> int:
        """Floating-point operations of scores and weighted values for one token over `context` cached tokens.

        For "mla" this is the absorbed form that decoding runs (in the latent space, all heads on one cache).
        """
        seen = self.held(context)
        if self.kind == "mla":
            return 2 * self.heads * (2 * self.kv_lora_rank + self.qk_rope_head_dim) * seen
        return 2 * self.heads * (self.head_dim + self.value_dim) * seen

    def linears(self, hidden: int) -> tuple[Linear, ...]:
        """The layer's attention operators, unsharded, in the order they run."""
        return self._latent_linears(hidden) if self.kind == "mla" else self._grouped_linears(hidden)

    def _grouped_linears(self, hidden: int) -> tuple[Linear, ...]:
        kv_out = self.kv_elements
        return (
            Linear(
                "qkv_proj", hidden, self.heads * self.head_dim + kv_out,
                bias=self.bias, shard="column", kv_out=kv_out, kv_heads=self.kv_heads,
                modules=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            ),
            self._output(hidden),
        )  # fmt: skip

    def _latent_linears(self, hidden: int) -> tuple[Linear, ...]:
        latent = self.kv_lora_rank + self.qk_rope_head_dim
        n_query = self.heads * self.head_dim
        kv_b = Linear(
            "kv_b_proj", self.kv_lora_rank, self.heads * (self.qk_nope_head_dim + self.value_dim),
            shard="column", modules=("self_attn.kv_b_proj",),
        )  # fmt: skip
        query: tuple[Linear, ...]
        if self.q_lora_rank:
            down: tuple[str, ...] = ("self_attn.q_a_proj", "self_attn.kv_a_proj_with_mqa")
            up = ("self_attn.q_b_proj",)
            query = (
                Linear("qkv_a_proj", hidden, self.q_lora_rank + latent, bias=self.bias, modules=down),
                Linear("q_b_proj", self.q_lora_rank, n_query, shard="column", modules=up),
            )
        else:
            down = ("self_attn.kv_a_proj_with_mqa",)
            query = (
                Linear("q_proj", hidden, n_query, shard="column", modules=("self_attn.q_proj",)),
                Linear("kv_a_proj", hidden, latent, bias=self.bias, modules=down),
            )
        return (*query, kv_b, self._output(hidden))

    def _output(self, hidden: int) -> Linear:
        return Linear(
            "o_proj", self.heads * self.value_dim, hidden,
            bias=self.output_bias, shard="row", modules=("self_attn.o_proj",),
        )  # fmt: skip

    @property
    def small_parameters(self) -> int:
        """Parameters outside the operators: norms of queries, keys and latents, and sinks."""
        norms = self.q_lora_rank + self.kv_lora_rank if self.kind == "mla" else 0
        return norms + (2 * self.head_dim if self.qk_norm else 0) + (self.heads if self.sinks else 0)


@dataclass(frozen=True, slots=True)
class FeedForward:
    """Feed-forward part of one layer: dense (`experts` 0) or a mixture of experts.

    `intermediate` is the width of the dense part, or of ONE expert. `shared_intermediate` is the summed width
    of the experts that every token passes through.
    """

    intermediate: int
    matrices: int = 3  # 3: gate, up and down; 2: up and down
    _: KW_ONLY
    experts: int = 0
    top_k: int = 0
    shared_intermediate: int = 0
    bias: bool = False
    router_bias: bool = False
    shared_gate: bool = False  # a learnt scalar gate on the shared expert (Qwen2-MoE)

    @property
    def is_mixture(self) -> bool:
        """Whether tokens are routed to experts."""
        return self.experts > 0

    def linears(self, hidden: int) -> tuple[Linear, ...]:
        """The layer's feed-forward operators, unsharded, in the order they run."""
        if not self.is_mixture:
            return self._gated("", "mlp.", hidden, width=self.intermediate)
        found = [
            Linear(
                "router", hidden, self.experts, bias=self.router_bias, is_router=True, modules=("mlp.gate",)
            )
        ]
        if self.shared_intermediate:
            found += self._gated("shared_", "mlp.shared_experts.", hidden, width=self.shared_intermediate)
        if self.shared_gate:
            found.append(
                Linear("shared_gate", hidden, 1, is_router=True, modules=("mlp.shared_expert_gate",))
            )
        routed = self._gated("expert_", "mlp.experts.0.", hidden, width=self.intermediate)
        return (*found, *(replace(each, copies=self.experts, active=self.top_k) for each in routed))

    def _gated(self, name: str, path: str, hidden: int, *, width: int) -> tuple[Linear, ...]:
        up = "gate_up_proj" if self.matrices == 3 else "up_proj"
        inputs = ("gate_proj", "up_proj") if self.matrices == 3 else ("up_proj",)
        return (
            Linear(
                name + up, hidden, (self.matrices - 1) * width,
                bias=self.bias, shard="column", modules=tuple(path + each for each in inputs),
            ),
            Linear(
                name + "down_proj", width, hidden,
                bias=self.bias, shard="row", modules=(path + "down_proj",),
            ),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class LayerGroup:
    """`count` identical layers (not necessarily neighbours; `ModelShape.layer_order` holds the order)."""

    count: int
    attention: Attention
    _: KW_ONLY
    ffn: FeedForward
    norms: int = 2  # vectors of `hidden` norm weights in a layer

    def linears(self, hidden: int) -> tuple[Linear, ...]:
        """Operators of ONE layer of the group, unsharded, in the order they run."""
        return self.attention.linears(hidden) + self.ffn.linears(hidden)

    def small_parameters(self, hidden: int) -> int:
        """Parameters of ONE layer outside its operators: norms and sinks."""
        return self.norms * hidden + self.attention.small_parameters

    def parameters(self, hidden: int) -> int:
        """All parameters of ONE layer of the group."""
        return sum(each.parameters for each in self.linears(hidden)) + self.small_parameters(hidden)

    def active_parameters(self, hidden: int) -> int:
        """Parameters of ONE layer that one token passes through."""
        return sum(each.active_parameters for each in self.linears(hidden)) + self.small_parameters(hidden)
