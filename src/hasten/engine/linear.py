"""Linear layers on torch's own operators: y = x W^T + b with weights of several types behind one call."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Linear(Protocol):
    """Called with states [rows, in], gives [rows, out]. `dtype_name` says what the weights are."""

    @property
    def dtype_name(self) -> str: ...

    def __call__(self, states: Tensor) -> Tensor: ...


MakeLinear = Callable[[Tensor, Tensor | None], Linear]
"""From weight [out, in] and bias to a layer."""


class PlainLinear:
    """Weights in the type they come in, and so are the activations."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight = weight
        self._bias = bias

    @property
    def dtype_name(self) -> str:
        """As torch calls it."""
        return str(self._weight.dtype).removeprefix("torch.")

    def __call__(self, states: Tensor) -> Tensor:
        """The product."""
        return functional.linear(states, self._weight, self._bias)


class HalfLinear:
    """fp16 weights packed for FBGEMM, fp32 activations: half the memory traffic of fp32, on CPUs without fp16 maths."""

    dtype_name = "float16"

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch announces the end of its quantised tensors
            self._packed = torch.ops.quantized.linear_prepack_fp16(
                weight.float(), None if bias is None else bias.float()
            )

    def __call__(self, states: Tensor) -> Tensor:
        """The product."""
        return torch.ops.quantized.linear_dynamic_fp16(states, self._packed)  # type: ignore[no-any-return]


class Int8Linear:
    """int8 weights, a scale per output; activations rounded to 8 bits row by row, so no row sees its company.

    Sums of products are exact integers, so the batch changes no bit.
    """

    dtype_name = "int8"

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        wide = weight.float()
        self._scale = wide.abs().amax(dim=1).clamp_min(1e-30) / 127
        rounded = (wide / self._scale[:, None]).round_().to(torch.int8)
        self._zeros = torch.zeros(weight.shape[0], dtype=torch.int32)
        self._ones = torch.ones(weight.shape[0])
        self._packed = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._bias = bias

    def __call__(self, states: Tensor) -> Tensor:
        """The product. Codes lie in 1..255 around 128: oneDNN is slow with signed activations."""
        factor = 127.0 / states.abs().amax(dim=-1, keepdim=True).clamp_min(1e-30)
        codes = (states * factor).round_().add_(128.0).to(torch.uint8)
        sums = torch.ops.onednn.qlinear_pointwise(
            *(codes, 1.0, 128, self._packed, self._ones, self._zeros, None),
            *(1.0, 0, torch.float32, "none", [], ""),
        )
        product: Tensor = sums * (self._scale / factor)
        return product if self._bias is None else product.add_(self._bias)
