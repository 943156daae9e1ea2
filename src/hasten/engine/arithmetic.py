"""Which weights and whose kernels: as asked for, or the fastest that this machine has, by a short measurement."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from hasten.engine import native
from hasten.engine.checkpoint import DTYPES
from hasten.engine.compiled import KINDS, CompiledDecoder, packed
from hasten.engine.config import ModelConfig
from hasten.engine.executor import Model
from hasten.engine.graphs import GraphedDecoder
from hasten.engine.linear import HalfLinear, Int8Linear, MakeLinear, PlainLinear
from hasten.engine.model import Decoder
from hasten.errors import InputError

NARROW = ("float32", "float16", "bfloat16", "int8")  # the exact first
WORTH = 1.1  # a narrower type must be so many times as fast as a wider one
ROWS = 8  # sequences that decode in the measurement
COPIES = 4  # of a matrix, so that not all of it stays in a cache
# at least, of a measurement: small matrices take microseconds, and others use the machine too
PASSES, SECONDS = 5, 0.1


class Arithmetic(NamedTuple):
    """Weights of type `dtype`, on "compiled" kernels or on those of "torch"; `reason` says why."""

    dtype: str
    kernels: str
    reason: str

    @property
    def loaded(self) -> torch.dtype:
        """The type in which weights are read from the checkpoint."""
        narrow = self.dtype == "int8" or (self.kernels == "torch" and self.dtype == "float16")
        return torch.float32 if narrow else DTYPES[self.dtype]


def choose(
    config: ModelConfig, device: torch.device, *, dtype: str | None = None, kernels: str | None = None
) -> Arithmetic:
    """Settle what is None or "auto". Raises InputError for what this machine can't do."""
    dtype = None if dtype == "auto" else dtype
    kernels = None if kernels == "auto" else kernels
    if device.type != "cpu":
        if kernels == "compiled" or dtype == "int8":
            wrong = "int8 weights" if dtype == "int8" else "compiled kernels"
            raise InputError(f"{wrong} run on a CPU only: leave them out, or give --device cpu")
        return Arithmetic(dtype or config.dtype, "torch", "as asked" if dtype else "the checkpoint's")
    built, absence = _compiled(config)
    if kernels == "compiled" and not built:
        raise InputError(f"compiled kernels are not to be had here: {absence}: give --kernels torch")
    kernels = kernels or ("compiled" if built else "torch")
    missing = "" if kernels == "compiled" or built else f", {absence}"
    if dtype is not None:
        return Arithmetic(dtype, kernels, f"as asked{missing}")
    return _fastest(config, kernels, missing)


def make_decoder(
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    arithmetic: Arithmetic,
    *,
    positions: int,
    eager: bool = False,
) -> Model:
    """The decoder that computes so; on CUDA, decodes are graphs unless `eager`. `weights` are `arithmetic.loaded`."""
    if arithmetic.kernels == "compiled":
        return CompiledDecoder(config, weights, arithmetic.dtype, positions=positions)
    device = weights["model.norm.weight"].device.type
    linear = _torch_linear(arithmetic.dtype) if device == "cpu" else PlainLinear
    made = Decoder(config, weights, positions=positions, linear=linear)
    return GraphedDecoder(made) if device == "cuda" and not eager else made


def _compiled(config: ModelConfig) -> tuple[bool, str]:
    found = native.kernels()
    if found.library is None:
        return False, found.reason
    if config.head_dim > native.MAX_HEAD_DIM:
        return False, f"heads of {config.head_dim} exceed the kernels' {native.MAX_HEAD_DIM}"
    return True, ""


def _torch_linear(dtype: str) -> MakeLinear:
    made: dict[str, MakeLinear] = {"float16": HalfLinear, "int8": Int8Linear}
    return made.get(dtype, PlainLinear)


def _fastest(config: ModelConfig, kernels: str, missing: str) -> Arithmetic:
    """The dtype whose linear layers are fastest at `ROWS` rows, wider types preferred when they come close."""
    best, least = NARROW[0], float("inf")
    for dtype in NARROW:
        try:
            seconds = _seconds(config, dtype, kernels)
        except (RuntimeError, AttributeError):  # this build of torch lacks the operator
            continue
        if seconds * WORTH < least:
            best, least = dtype, seconds
    return Arithmetic(best, kernels, f"the fastest here, measured{missing}")


def _seconds(config: ModelConfig, dtype: str, kernels: str) -> float:
    """Least time of one pass over copies of the widest matrix of a layer."""
    shape = (2 * config.intermediate, config.hidden)
    states = torch.ones(ROWS, config.hidden)
    calls: list[Callable[[], object]]
    if kernels == "compiled":
        calls = [_compiled_call(torch.full(shape, 0.01), dtype, states) for _ in range(COPIES)]
    else:
        make, wide = _torch_linear(dtype), torch.bfloat16 if dtype == "bfloat16" else torch.float32
        calls = [_torch_call(make(torch.full(shape, 0.01, dtype=wide), None), states) for _ in range(COPIES)]
    least, passes, begin = float("inf"), 0, time.perf_counter()
    while passes < PASSES or time.perf_counter() - begin < SECONDS:
        start = time.perf_counter()
        for call in calls:
            call()
        least = min(least, time.perf_counter() - start)
        passes += 1
    return least


def _torch_call(linear: Callable[[Tensor], Tensor], states: Tensor) -> Callable[[], object]:
    if isinstance(linear, PlainLinear):
        states = states.to(DTYPES[linear.dtype_name])

    def call() -> Tensor:
        with torch.inference_mode():
            return linear(states)

    return call


def _compiled_call(weight: Tensor, dtype: str, states: Tensor) -> Callable[[], object]:
    linear = CompiledLinear(weight, dtype)
    return lambda: linear(states)


class CompiledLinear:
    """One linear layer on the compiled kernels, to be measured and tested; a decoder's lie inside its step."""

    def __init__(self, weight: Tensor, dtype: str, bias: Tensor | None = None) -> None:
        library = native.kernels().library
        if library is None:
            raise RuntimeError(native.kernels().reason)
        self._library = library
        data, scale = packed(weight, dtype, int(library.hasten_group()))
        self._kept = (data, scale, bias)
        self._matrix = native.Matrix(
            kind=KINDS[dtype],
            out=weight.shape[0],
            columns=weight.shape[1],
            data=data.data_ptr(),
            scale=None if scale is None else scale.data_ptr(),
            bias=None if bias is None else bias.data_ptr(),
        )

    def __call__(self, states: Tensor) -> Tensor:
        """The product of fp32 states [rows, in]."""
        states = states.contiguous()
        product = torch.empty(states.shape[0], self._matrix.out)
        self._library.hasten_linear(
            ctypes.byref(self._matrix),
            ctypes.c_void_p(states.data_ptr()),
            ctypes.c_int64(states.shape[0]),
            ctypes.c_void_p(product.data_ptr()),
            torch.get_num_threads(),
        )
        return product
