"""The shape of a model: what a forward pass holds, reads and computes, without any weights.

Parameters and elements are counts; whatever is named `bytes` is bytes; FLOPs count two per multiply-add.
"""

import itertools
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from functools import cached_property

from hasten.errors import InputError
from hasten.models.layers import Attention, FeedForward, LayerGroup, Linear
from hasten.models.quantisation import Quantisation

__all__ = ["Attention", "FeedForward", "LayerGroup", "Linear", "ModelShape", "Quantisation"]


@dataclass(frozen=True)
class ModelShape:
    """A decoder-only language model as layers, widths and storage.

    `layers` groups identical layers; `layer_order` gives each layer's group by index (empty: the groups one
    after the other). A multi-token prediction module (`mtp_layers`) is counted apart, in `mtp_parameters`.
    """

    name: str
    architecture: str
    _: KW_ONLY
    hidden: int
    vocab: int
    layers: tuple[LayerGroup, ...]
    tied_embeddings: bool = False
    max_context: int = 0  # tokens; 0: not stated
    dtype_bytes: float = 2  # bytes per weight that is not quantised
    quantisation: Quantisation | None = None
    layer_order: tuple[int, ...] = ()
    mtp_layers: int = 0
    source: str = ""

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Index into `layers` of every layer, first to last."""
        if self.layer_order:
            return self.layer_order
        return tuple(i for i, group in enumerate(self.layers) for _ in range(group.count))

    @property
    def num_layers(self) -> int:
        """Transformer layers, without those of a multi-token prediction module."""
        return sum(group.count for group in self.layers)

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the input embedding table."""
        return self.vocab * self.hidden

    @property
    def head(self) -> Linear:
        """The output head: hidden to vocabulary, cut by vocabulary under tensor parallelism."""
        return Linear("lm_head", self.hidden, self.vocab, shard="column", modules=("lm_head",))

    @cached_property
    def parameters(self) -> int:
        """Parameters of the model: a tied embedding once, a multi-token prediction module not at all."""
        layers = sum(group.count * group.parameters(self.hidden) for group in self.layers)
        return layers + self._outer_parameters

    @cached_property
    def active_parameters(self) -> int:
        """Parameters that serve one token: all but the experts it is not routed to.

        Both embedding tables count, as in the published figures of Mixtral, Qwen and DeepSeek; gpt-oss leaves
        the input table out (subtract `embedding_parameters`).
        """
        layers = sum(group.count * group.active_parameters(self.hidden) for group in self.layers)
        return layers + self._outer_parameters

    @property
    def _outer_parameters(self) -> int:
        tables = 1 if self.tied_embeddings else 2
        return tables * self.embedding_parameters + self.hidden

    @property
    def mtp_parameters(self) -> int:
        """Parameters of the multi-token prediction modules, without the embedding and head they share.

        Each is one more layer like the last, a 2 hidden x hidden projection and three norms (DeepSeek-V3,
        arXiv:2412.19437, section 2.2).
        """
        last = self.layers[self.order[-1]].parameters(self.hidden)
        return self.mtp_layers * (last + 2 * self.hidden**2 + 3 * self.hidden)

    @property
    def is_mixture(self) -> bool:
        """Whether any layer routes tokens to experts."""
        return any(group.ffn.is_mixture for group in self.layers)

    # -- work -----------------------------------------------------------------------------------------------

    @cached_property
    def linear_flops_per_token(self) -> int:
        """FLOPs of the layers' matrix products for one token, without the head (`head_flops_per_token`)."""
        return sum(
            group.count * linear.flops_per_token
            for group in self.layers
            for linear in group.linears(self.hidden)
        )

    @property
    def head_flops_per_token(self) -> int:
        """FLOPs of the output head for one position whose logits are wanted."""
        return self.head.flops_per_token

    def attention_flops(self, context: int) -> int:
        """FLOPs of attention scores and values in all layers for one token that sees `context` tokens."""
        return sum(group.count * group.attention.score_flops(context) for group in self.layers)

    # -- KV cache -------------------------------------------------------------------------------------------

    def kv_element_bytes(self, kv_dtype_bytes: float | None = None) -> float:
        """Bytes of one cached element: as asked, else as the checkpoint says, else the model's own type."""
        if kv_dtype_bytes is not None:
            return kv_dtype_bytes
        if self.quantisation is not None and self.quantisation.kv_bits is not None:
            return self.quantisation.kv_bits / 8
        return self.dtype_bytes

    def kv_bytes_per_token(self, kv_dtype_bytes: float | None = None) -> float:
        """KV bytes that one more token adds in all layers while no sliding window is full."""
        elements = sum(group.count * group.attention.kv_elements for group in self.layers)
        return elements * self.kv_element_bytes(kv_dtype_bytes)

    def kv_bytes(self, context: int, kv_dtype_bytes: float | None = None) -> float:
        """KV bytes of one sequence of `context` tokens: a sliding-window layer holds at most its window."""
        elements = sum(
            group.count * group.attention.kv_elements * group.attention.held(context) for group in self.layers
        )
        return elements * self.kv_element_bytes(kv_dtype_bytes)

    def kv_bytes_per_token_per_device(
        self, tp: int, pp: int = 1, *, kv_dtype_bytes: float | None = None
    ) -> float:
        """KV bytes that one more token adds on the fullest device; latent caches are not divided by tp."""
        per_layer = [group.attention.kv_elements_per_device(tp) for group in self.layers]
        fullest = max(sum(per_layer[self.order[i]] for i in stage) for stage in self.stages(pp))
        return fullest * self.kv_element_bytes(kv_dtype_bytes)

    # -- weights --------------------------------------------------------------------------------------------

    @cached_property
    def weight_bytes(self) -> float:
        """Bytes of the weights as stored: a tied table once, a multi-token prediction module not at all."""
        return self.weight_bytes_per_device()

    def weight_bytes_per_device(self, tp: int = 1, pp: int = 1, ep: int = 1) -> float:
        """Bytes of weights on the fullest device.

        Embedding and head are cut by vocabulary, experts by ep (by tp when ep is 1), everything else as
        `Linear.sharded` says; pipeline stages hold neighbouring layers, the first the embedding, the last the
        head.
        Raises InputError when the sizes don't fit the model (`check_parallelism`).
        """
        self.check_parallelism(tp, pp, ep)
        table = -(-self.vocab // tp) * self.hidden * self.dtype_bytes
        stages = self.stages(pp)
        fullest = 0.0
        for number, stage in enumerate(stages):
            size = sum(self._layer_bytes(layer, tp, ep) for layer in stage)
            if number == 0:
                size += table
            if number == len(stages) - 1:
                size += self.hidden * self.dtype_bytes
                # A tied table is one tensor on a single stage, but two copies on two.
                size += self._head_bytes(tp) if not self.tied_embeddings or pp > 1 else 0
            fullest = max(fullest, size)
        return fullest

    def _head_bytes(self, tp: int) -> float:
        head = self.head.sharded(tp)
        if self.quantisation is not None and self.quantisation.lm_head and not self.tied_embeddings:
            return self.quantisation.bytes_of(head)
        return head.weights * self.dtype_bytes

    def _layer_bytes(self, layer: int, tp: int, ep: int) -> float:
        index = self.order[layer]
        covered = self._covered[layer] if self._covered else ()
        return self._layer_bytes_of(index, covered, tp=tp, ep=ep)

    def _layer_bytes_of(self, index: int, covered: tuple[bool, ...], *, tp: int, ep: int) -> float:
        key = (index, covered, tp, ep)
        if key not in self._bytes_seen:
            group = self.layers[index]
            size = group.small_parameters(self.hidden) * self.dtype_bytes
            flags = itertools.chain(covered, itertools.repeat(False))
            for linear, is_quantised in zip(group.linears(self.hidden), flags, strict=False):
                part = linear.sharded(tp, ep)
                size += part.biases * self.dtype_bytes
                if is_quantised and self.quantisation is not None:
                    size += self.quantisation.bytes_of(part)
                else:
                    size += part.weights * self.dtype_bytes
            self._bytes_seen[key] = size
        return self._bytes_seen[key]

    @cached_property
    def _bytes_seen(self) -> dict[tuple[int, tuple[bool, ...], int, int], float]:
        return {}

    @cached_property
    def _covered(self) -> tuple[tuple[bool, ...], ...]:
        """For every layer, which of its operators are stored quantised; empty when nothing is."""
        if self.quantisation is None:
            return ()
        operators = [group.linears(self.hidden) for group in self.layers]
        return tuple(
            tuple(self.quantisation.covers(linear, layer) for linear in operators[index])
            for layer, index in enumerate(self.order)
        )

    def weight_bits(self, group: LayerGroup, linear: Linear) -> float:
        """Stored bits per weight, scales included, of an operator of `group`: mean over its layers."""
        if self.quantisation is None:
            return 8 * self.dtype_bytes
        index = self.layers.index(group)
        position = group.linears(self.hidden).index(linear)
        flags = [
            row[position] for row, found in zip(self._covered, self.order, strict=True) if found == index
        ]
        share = sum(flags) / len(flags)
        stored = 8 * self.quantisation.bytes_of(linear) / linear.weights
        return share * stored + (1 - share) * 8 * self.dtype_bytes

    # -- parallelism ----------------------------------------------------------------------------------------

    def stages(self, pp: int) -> tuple[range, ...]:
        """Layer numbers of each pipeline stage.

        Layers that don't divide evenly go to the last stages but one, as in vLLM (vllm/distributed/utils.py,
        get_pp_indices): the last stage already holds the head.
        """
        sizes = [self.num_layers // pp] * pp
        for back in range(2, self.num_layers % pp + 2):
            sizes[-back] += 1
        ends = list(itertools.accumulate(sizes))
        return tuple(range(end - size, end) for end, size in zip(ends, sizes, strict=True))

    def check_parallelism(self, tp: int = 1, pp: int = 1, ep: int = 1) -> None:
        """Raise InputError when the model can't be cut over tp x pp devices, or its experts over ep."""
        for problem in self._cut_problems(tp, pp, ep):
            raise InputError(f"{self.name}: {problem}")

    def _cut_problems(self, tp: int, pp: int, ep: int) -> Iterator[str]:
        for name, size in (("tp", tp), ("pp", pp), ("ep", ep)):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                yield f"{name} {size!r} is not a whole number of devices: give 1 or more"
                return
        if pp > self.num_layers:
            yield f"pp {pp} exceeds the {self.num_layers} layers: give {self.num_layers} or less"
        experts = max(group.ffn.experts for group in self.layers)
        if ep > 1 and ep > experts:
            yield f"ep {ep} exceeds the {experts} experts: give {max(experts, 1)} or less"
        for group in self.layers:
            yield from _head_problems(group.attention, tp)
            whole = 0 if group.ffn.is_mixture and ep > 1 else group.ffn.intermediate
            for width in (whole, group.ffn.shared_intermediate):
                if width % tp:
                    yield f"tp {tp} does not divide the feed-forward width {width}: choose a divisor of it"


def _head_problems(attention: Attention, tp: int) -> Iterator[str]:
    if attention.heads % tp:
        yield f"tp {tp} does not divide the {attention.heads} attention heads: choose a divisor of it"
    kv_heads = attention.kv_heads
    if attention.kind == "gqa" and kv_heads % tp and tp % kv_heads:
        yield f"tp {tp} is no divisor or multiple of the {kv_heads} key-value heads: choose one"
