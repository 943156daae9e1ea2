"""Operators of a forward pass whose cost is a constant plus a rate per token: everything but attention.

Kernels are counted as engines launch them today: query, key and value in one product, residual additions
inside the norms, rotary embedding together with the write of the KV cache, gate and up in one product.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from hasten.latency.parallelism import Parallelism
from hasten.latency.work import Collective, Kernel, Message
from hasten.models.shape import LayerGroup, ModelShape

Unit = Literal["token", "row", "group"]
"""What an operator is counted in: tokens of this rank, rows whose logits are wanted, tokens of all ranks."""

EXPERT_FIXED = 3.0
EXPERT_COMPUTE_SHARE = 0.5
"""Fixed time, in kernel_seconds, and share of a large product's FLOP/s of a grouped product over experts.

Fitted with the rest of an expert layer to the bf16 tables of vLLM in AIConfigurator 0.12.0 (Apache-2.0; H100,
H200, B200, L40S, RTX PRO 6000, 1 to 16,384 tokens, balanced routing): per device 0.4 to 0.6 and 8 to 16
kernel_seconds per layer fit best, with mean absolute errors of 20 to 33 %.
"""

SAMPLER_LAUNCHES = 5
SAMPLER_PASSES = 3
"""Kernels of the sampler, and how often they read or write the fp32 logits: round figures, not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Equal kernels of one pass on one device, summed over their launches.

    ``flops`` and ``activation_bytes`` are per unit; ``weight_bytes`` are read once per pass. With experts
    (``routed_share`` < 1: the share of all experts that one token visits) only those that some token visits
    are read: with E experts and k visited per token, E (1 - (1 - k/E)^tokens) of them on average.
    """

    name: str
    unit: Unit = "token"
    launches: int = 1
    fixed: float = 1.0
    compute_share: float = 1.0
    dtype: str = "bf16"
    flops: float = 0.0
    weight_bytes: float = 0.0
    activation_bytes: float = 0.0
    routed_share: float = 1.0

    def weights_read(self, units: Any) -> Any:
        """Bytes of weights that ``units`` tokens read; a number or an array, as ``units`` is."""
        if self.routed_share == 1.0:
            return self.weight_bytes
        return self.weight_bytes * (1.0 - (1.0 - self.routed_share) ** units)

    def kernel(self, units: float) -> Kernel:
        """The kernels of a pass over ``units`` tokens or rows."""
        return Kernel(
            name=self.name,
            launches=self.launches,
            fixed=self.fixed,
            compute_share=self.compute_share,
            dtype=self.dtype,
            flops=self.flops * units,
            weight_bytes=self.weights_read(units),
            activation_bytes=self.activation_bytes * units,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRate:
    """``count`` equal messages of a pass, whose payload is ``bytes`` per unit."""

    name: str
    kind: Collective
    unit: Unit = "token"
    count: int = 1
    bytes: float = 0.0
    devices: int = 2
    spans_ranks: bool = False

    def message(self, units: float) -> Message:
        """The messages of a pass over ``units`` tokens or rows."""
        return Message(
            name=self.name,
            kind=self.kind,
            count=self.count,
            bytes=self.bytes * units,
            devices=self.devices,
            spans_ranks=self.spans_ranks,
        )


@dataclass(frozen=True, slots=True)
class Operators:
    """Lists the operators of a model on one device of a parallel group."""

    model: ModelShape
    parallelism: Parallelism
    kv_element_bytes: float

    def all(self) -> tuple[Operator, ...]:
        """Operators of one pass, layer groups first to last, then the head and the sampler."""
        found = [self._embedding()]
        for group in self.model.layers:
            found += self._linears(group)
            found += self._small(group)
            found += self._feed_forward_small(group)
        found += self._outer()
        return tuple(found)

    @property
    def _dtype(self) -> str:
        return "fp32" if self.model.dtype_bytes == 4 else "bf16"

    def _embedding(self) -> Operator:
        return Operator(name="embedding", activation_bytes=2.0 * self.model.hidden * self.model.dtype_bytes)

    def _linears(self, group: LayerGroup) -> Iterator[Operator]:
        tp, ep = self.parallelism.tp, self.parallelism.ep
        for linear in group.linears(self.model.hidden):
            local = linear.sharded(tp, ep)
            bits = self.model.weight_bits(group, linear)
            is_routed = linear.copies > 1
            # With whole experts on ep devices, each device computes its share of the (token, expert) pairs.
            visits = linear.active / ep if is_routed else 1.0
            stored = local.weights * bits / 8 + local.biases * self.model.dtype_bytes
            dtype = self._compute_dtype(bits)
            if dtype != self._dtype:
                yield Operator(
                    name=f"quantise for {linear.name}",
                    unit=self._expert_unit if is_routed else "token",
                    launches=group.count,
                    activation_bytes=group.count * visits * local.n_in * (self.model.dtype_bytes + 1.0),
                )
            yield Operator(
                name=linear.name,
                unit=self._expert_unit if is_routed else "token",
                launches=group.count,
                fixed=EXPERT_FIXED if is_routed else 1.0,
                compute_share=EXPERT_COMPUTE_SHARE if is_routed else 1.0,
                dtype=dtype,
                flops=group.count * 2.0 * visits * local.n_in * local.n_out,
                weight_bytes=group.count * stored,
                activation_bytes=group.count * visits * (local.n_in + local.n_out) * self.model.dtype_bytes,
                routed_share=linear.active / linear.copies if is_routed else 1.0,
            )

    def _compute_dtype(self, weight_bits: float) -> str:
        """Dtype of the products: that of the activations when weights and activations are both quantised."""
        quantisation = self.model.quantisation
        if quantisation is None or weight_bits >= 8 * self.model.dtype_bytes:
            return self._dtype
        return {8: "fp8", 4: "fp4"}.get(int(quantisation.activation_bits), self._dtype)

    @property
    def _expert_unit(self) -> Unit:
        return "group" if self.parallelism.is_lockstep else "token"

    def _small(self, group: LayerGroup) -> Iterator[Operator]:
        """Norms, and the rotary embedding with the write of new keys and values."""
        size, tp = self.model.dtype_bytes, self.parallelism.tp
        attention = group.attention
        kv_elements = attention.kv_elements_per_device(tp)
        heads = attention.heads / tp
        # A fused norm reads and writes both the residual and the normed tensor.
        yield Operator(
            name="norm",
            launches=group.count * group.norms,
            activation_bytes=group.count * group.norms * 4.0 * self.model.hidden * size,
        )
        rotated = heads * (attention.qk_rope_head_dim or attention.head_dim) + kv_elements
        written = kv_elements * self.kv_element_bytes
        yield Operator(
            name="rotary and cache write",
            launches=group.count,
            activation_bytes=group.count * (2.0 * rotated * size + written),
        )
        if attention.kind == "mla":
            latents = attention.q_lora_rank + attention.kv_lora_rank
        elif attention.qk_norm:
            latents = int(heads * attention.head_dim) + kv_elements // 2
        else:
            return
        yield Operator(
            name="query and key norm",
            launches=2 * group.count,
            activation_bytes=group.count * 2.0 * latents * size,
        )

    def _feed_forward_small(self, group: LayerGroup) -> Iterator[Operator]:
        """Activation functions; for experts also routing and the sum of their outputs."""
        size, tp, ep = self.model.dtype_bytes, self.parallelism.tp, self.parallelism.ep
        ffn, count = group.ffn, group.count

        def activation(name: str, width: float, unit: Unit) -> Operator:
            moved = count * ffn.matrices * width * size  # gated: two halves read, one written
            return Operator(name=name, unit=unit, launches=count, activation_bytes=moved)

        if not ffn.is_mixture:
            yield activation("activation", ffn.intermediate / tp, "token")
            return
        if ffn.shared_intermediate:
            yield activation("shared activation", ffn.shared_intermediate / tp, "token")
        unit = self._expert_unit
        pairs = ffn.top_k / ep
        width = ffn.intermediate if ep > 1 else ffn.intermediate / tp
        yield activation("expert activation", pairs * width, unit)
        yield Operator(
            name="expert routing",
            unit=unit,
            launches=2 * count,
            activation_bytes=count * 2.0 * ffn.experts * 4,
        )
        yield Operator(
            name="expert sum",
            unit=unit,
            launches=count,
            activation_bytes=count * (pairs + 1.0) * self.model.hidden * size,
        )

    def _outer(self) -> Iterator[Operator]:
        """Final norm, output head and sampler."""
        size = self.model.dtype_bytes
        yield Operator(name="final norm", activation_bytes=4.0 * self.model.hidden * size)
        head = self.model.head
        local = head.sharded(self.parallelism.tp)
        stored = local.weights * size
        quantisation = self.model.quantisation
        if quantisation is not None and quantisation.lm_head and not self.model.tied_embeddings:
            stored = quantisation.bytes_of(local)
        yield Operator(
            name="lm_head",
            unit="row",
            dtype=self._compute_dtype(8 * stored / local.weights),
            flops=2.0 * local.n_in * local.n_out,
            weight_bytes=stored,
            activation_bytes=(local.n_in + local.n_out) * size,
        )
        yield Operator(
            name="sampler",
            unit="row",
            launches=SAMPLER_LAUNCHES,
            activation_bytes=SAMPLER_PASSES * 4.0 * self.model.vocab,
        )

    def messages(self) -> tuple[MessageRate, ...]:
        """Messages of one pass: two all-reduces per layer, experts' exchange in lock-step, stages' sends."""
        found: list[MessageRate] = []
        tp, pp, dp = self.parallelism.tp, self.parallelism.pp, self.parallelism.dp
        row = self.model.hidden * self.model.dtype_bytes
        layers = self.model.num_layers
        if tp > 1:
            found.append(
                MessageRate(name="all-reduce", kind="all_reduce", count=2 * layers + 1, bytes=row, devices=tp)
            )
            logits = self.model.vocab * self.model.dtype_bytes
            found.append(MessageRate(name="logits", kind="all_gather", unit="row", bytes=logits, devices=tp))
        if self.parallelism.is_lockstep:
            for group in self.model.layers:
                if group.ffn.is_mixture:
                    found += self._exchange(group, dp, row)
        if pp > 1:
            # A stage passes on the hidden state and the residual.
            found.append(
                MessageRate(
                    name="send", kind="send", count=pp - 1, bytes=2 * row, devices=2, spans_ranks=True
                )
            )
        return tuple(found)

    def _exchange(self, group: LayerGroup, dp: int, row: float) -> Iterator[MessageRate]:
        """Ranks gather all tokens with their router logits and scatter the sums back (vLLM's default)."""
        logits = group.ffn.experts * self.model.dtype_bytes
        for name, kind, size in (
            ("expert gather", "all_gather", row + logits),
            ("expert scatter", "reduce_scatter", row),
        ):
            yield MessageRate(
                name=name,
                kind=kind,  # type: ignore[arg-type]
                unit="group",
                count=group.count,
                bytes=size,
                devices=dp,
                spans_ranks=True,
            )
