"""One forward pass of a model on one device of a parallel group: the step in, its Work out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from hasten.latency.attention import ATTENTION_FIXED, AttentionCost, attention_cost
from hasten.latency.operators import MessageRate, Operator, Operators
from hasten.latency.parallelism import Parallelism
from hasten.latency.work import Kernel, Work
from hasten.models.shape import Attention, ModelShape


@dataclass(frozen=True)
class ForwardPass:
    """Costs of a pass: operators and messages that grow with tokens, and attention that grows with contexts.

    Under pipeline parallelism this is the whole model as one micro-batch meets it, stage after stage; a cycle
    of pp stages lasts that long when all stages are busy (see `micro_batches`).
    """

    operators: tuple[Operator, ...]
    messages: tuple[MessageRate, ...]
    attentions: tuple[AttentionCost, ...]
    stages: int = 1

    def micro_batches(self, sequences: int) -> int:
        """Micro-batches of a cycle: one per stage, as far as there are sequences to share out."""
        return max(1, min(self.stages, sequences))

    @property
    def attention_launches(self) -> int:
        """Attention kernels of one pass."""
        return sum(each.layers for each in self.attentions)

    @property
    def row_launches(self) -> int:
        """Kernels and messages of the output head and the sampler, which engines keep outside graphs."""
        kernels = sum(each.launches for each in self.operators if each.unit == "row")
        return kernels + sum(each.count for each in self.messages if each.unit == "row")

    @property
    def launches(self) -> int:
        """Kernels and messages of one pass."""
        kernels = sum(each.launches for each in self.operators) + self.attention_launches
        return kernels + sum(each.count for each in self.messages)

    def work(
        self,
        prefills: Sequence[tuple[int, int]],
        decodes: int,
        decode_context: int,
        *,
        padded_tokens: int | None = None,
        group_tokens: int | None = None,
        sigma: float = 0.0,
        decode_factor: float = 1.0,
    ) -> Work:
        """Work of a step: prefill chunks as (tokens, context), decodes and the sum of their contexts.

        The head runs for one row per sequence: engines compute (and drop) the logits of a partial chunk too.
        ``padded_tokens`` is what the dense layers of a micro-batch run on (default: its share of the tokens),
        ``group_tokens`` the tokens of all data-parallel ranks in lock-step (default: this rank's), ``sigma``
        the share of the packing of query heads that decode attention loses beside a prefill, ``decode_factor``
        multiplies the time of decode attention.
        """
        sequences = decodes + len(prefills)
        parts = self.micro_batches(sequences)
        tokens = -(-(decodes + sum(new for new, _ in prefills)) // parts)
        units = {
            "token": tokens if padded_tokens is None else padded_tokens,
            "row": -(-sequences // parts),
            "group": tokens if group_tokens is None else -(-group_tokens // parts),
        }
        share = 1.0 / parts
        kernels = [operator.kernel(units[operator.unit]) for operator in self.operators]
        kernels.append(Kernel(name="attention", launches=self.attention_launches, fixed=ATTENTION_FIXED))
        for attention in self.attentions:
            kernels += [attention.prefill(new, context, share) for new, context in prefills]
            if decodes:
                slowdown = attention.mixed_slowdown(sigma) if prefills else 1.0
                kernels.append(attention.decode(decodes, decode_context, share, decode_factor * slowdown))
        messages = tuple(each.message(units[each.unit]) for each in self.messages)
        return Work(tuple(kernels), messages)


@lru_cache(maxsize=256)
def forward_pass(
    model: ModelShape, parallelism: Parallelism, *, kv_dtype_bytes: float | None = None
) -> ForwardPass:
    """The pass of ``model`` on one device; ``kv_dtype_bytes`` overrides the bytes of a cached element.

    Raises InputError when the model can't be split this way.
    """
    parallelism.check(model)
    kv_element_bytes = model.kv_element_bytes(kv_dtype_bytes)
    operators = Operators(model, parallelism, kv_element_bytes)
    layers: dict[Attention, int] = {}
    for group in model.layers:
        layers[group.attention] = layers.get(group.attention, 0) + group.count
    attentions = tuple(
        attention_cost(
            attention,
            parallelism.tp,
            layers=count,
            kv_element_bytes=kv_element_bytes,
            dtype_bytes=model.dtype_bytes,
        )
        for attention, count in layers.items()
    )
    return ForwardPass(operators.all(), operators.messages(), attentions, parallelism.pp)
