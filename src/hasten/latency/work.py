"""Work of one step on one device: kernels with FLOPs and bytes, and messages. No seconds yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Collective = Literal["all_reduce", "all_gather", "reduce_scatter", "send"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """Equal kernels of one step, summed over ``launches``: FLOPs in ``dtype`` and bytes by what is read.

    ``fixed`` is the fixed time of one launch in units of the device's ``kernel_seconds``; ``compute_share``
    is the FLOP/s the kernel reaches when large, as a share of what a large matrix product reaches;
    ``slowdown`` multiplies the time of everything but the fixed part (mixed-batch attention).
    """

    name: str
    launches: int = 1
    fixed: float = 1.0
    compute_share: float = 1.0
    dtype: str = "bf16"
    flops: float = 0.0
    weight_bytes: float = 0.0
    kv_bytes: float = 0.0
    activation_bytes: float = 0.0
    slowdown: float = 1.0

    @property
    def bytes(self) -> float:
        """Bytes read and written in device memory."""
        return self.weight_bytes + self.kv_bytes + self.activation_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """``count`` equal transfers among ``devices`` devices.

    ``bytes`` is the payload of one: the tensor that every device holds after an all-reduce or an all-gather,
    or before a reduce-scatter; what one device sends to the next for a send.
    """

    name: str
    kind: Collective
    count: int
    bytes: float
    devices: int
    spans_ranks: bool = (
        False  # between data-parallel ranks or stages rather than inside a tensor-parallel group
    )


@dataclass(frozen=True, slots=True)
class Work:
    """All kernels and messages of one step on one device (under pipeline parallelism: of one micro-batch)."""

    kernels: tuple[Kernel, ...]
    messages: tuple[Message, ...] = ()

    @property
    def launches(self) -> int:
        """Kernels launched, collectives included."""
        return sum(each.launches for each in self.kernels) + sum(each.count for each in self.messages)

    @property
    def flops(self) -> float:
        """Floating-point operations, two per multiply-add."""
        return sum(each.flops for each in self.kernels)

    @property
    def bytes(self) -> float:
        """Bytes read and written in device memory."""
        return sum(each.bytes for each in self.kernels)
