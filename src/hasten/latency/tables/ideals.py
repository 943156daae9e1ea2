"""What the data sheet makes of the shapes of an operator table: the seconds they are compared with, and their floor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hasten.hardware import Device

ELEMENT_BYTES = {"bf16": 2.0, "fp8": 1.0}
SMALL = 5e-6  # seconds: about what the smallest kernels of the tables take
SMALL_MESSAGE = 20e-6  # seconds: the same for messages among devices
LINK_SHARE = 0.3  # of the memory bandwidth: only the shape of the curve matters
EXPERT_SHARE = 0.5  # of a large product's FLOP/s that grouped products reach

#: Shares of the data sheet that large kernels reach: round figures; the measured ratio corrects them.
MEMORY_SHARE, COMPUTE_SHARE, ATTENTION_SHARE = 0.85, 0.8, 0.5


@dataclass(frozen=True)
class Ideals:
    """Data sheet seconds of kernels on ``device`` by shape; arguments may be arrays that broadcast."""

    device: Device

    def of(self, name: str) -> tuple[Any, Any]:
        """The ideal and the floor of the table of this name, as functions of its axes."""
        kind, *rest = name.split("-")
        if kind == "gemm":
            dtype = rest[0]
            return (
                lambda m, n, k: self.product(dtype, m, n, k),
                lambda m, n, k: self.product_floor(dtype, m, n, k),
            )
        if kind == "prefill":
            size = float(rest[0])
            return (
                lambda heads, kv, tokens: self.prefill(size, heads, kv, tokens),
                lambda heads, kv, tokens: self._pairs(size, heads, tokens) / self.device.peak_flops("bf16"),
            )
        if kind == "decode":
            size, element = float(rest[0]), ELEMENT_BYTES[rest[1]]
            return (
                lambda heads, kv, n, context: self.decode(size, element, (heads, kv, n, context)),
                lambda heads, kv, n, context: (
                    2.0 * size * element * np.minimum(kv, heads) * n * context / self.device.memory_bandwidth
                ),
            )
        if kind == "experts":
            shape = tuple(float(each) for each in rest[1:])
            return (
                lambda width, tokens: self.experts(rest[0], shape, width, tokens),
                lambda width, tokens: self.experts_floor(rest[0], shape, width, tokens),
            )
        per_byte = 1.0 / (LINK_SHARE * self.device.memory_bandwidth)
        return (
            lambda devices, size: SMALL_MESSAGE + per_byte * size + 0.0 * devices,
            lambda devices, size: 0.0 * size,
        )

    def product(self, dtype: str, m: Any, n: Any, k: Any) -> Any:
        """Seconds of a product of [m, k] by [k, n]."""
        moved = ELEMENT_BYTES[dtype] * (m * k + n * k) + 2.0 * m * n
        arithmetic = 2.0 * m * n * k / (COMPUTE_SHARE * self.device.peak_flops(dtype))
        return SMALL + np.maximum(moved / (MEMORY_SHARE * self.device.memory_bandwidth), arithmetic)

    def product_floor(self, dtype: str, m: Any, n: Any, k: Any) -> Any:
        """Weights at the full bandwidth, arithmetic at the peak."""
        reading = ELEMENT_BYTES[dtype] * n * k / self.device.memory_bandwidth
        return np.maximum(reading, 2.0 * m * n * k / self.device.peak_flops(dtype))

    def _pairs(self, size: float, heads: Any, tokens: Any) -> Any:
        return 2.0 * heads * size * tokens * (tokens + 1.0)

    def prefill(self, size: float, heads: Any, kv_heads: Any, tokens: Any) -> Any:
        """Seconds of causal attention of one prompt."""
        moved = 4.0 * size * tokens * (heads + np.minimum(kv_heads, heads))
        arithmetic = self._pairs(size, heads, tokens) / (ATTENTION_SHARE * self.device.peak_flops("bf16"))
        return 2.0 * SMALL + np.maximum(moved / (MEMORY_SHARE * self.device.memory_bandwidth), arithmetic)

    def decode(self, size: float, element: float, shape: tuple[Any, Any, Any, Any]) -> Any:
        """Seconds of attention of n sequences of one new token over cached elements of so many bytes."""
        heads, kv_heads, n, context = shape
        cached = 2.0 * element * size * np.minimum(kv_heads, heads) * n * context
        moved = cached + 4.0 * size * heads * n
        return 2.0 * SMALL + moved / (MEMORY_SHARE * self.device.memory_bandwidth)

    def experts(self, dtype: str, shape: tuple[float, ...], width: Any, tokens: Any) -> Any:
        """Seconds of a layer's experts, (hidden, experts, visited per token), so wide on one device."""
        hidden, experts, visits = shape
        visited = experts * (1.0 - (1.0 - visits / experts) ** tokens)
        weights = 3.0 * hidden * width
        reading = ELEMENT_BYTES[dtype] * weights * visited / (MEMORY_SHARE * self.device.memory_bandwidth)
        peak = EXPERT_SHARE * COMPUTE_SHARE * self.device.peak_flops(dtype)
        return 2.0 * SMALL + np.maximum(reading, 2.0 * weights * visits * tokens / peak)

    def experts_floor(self, dtype: str, shape: tuple[float, ...], width: Any, tokens: Any) -> Any:
        """The experts of one token read at the full bandwidth, arithmetic at the peak."""
        hidden, _, visits = shape
        weights = 3.0 * hidden * width * visits
        reading = ELEMENT_BYTES[dtype] * weights / self.device.memory_bandwidth
        return np.maximum(reading, 2.0 * weights * tokens / self.device.peak_flops(dtype))
