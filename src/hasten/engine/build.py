"""From a checkpoint directory and a few settings to an engine that can run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from hasten.core.limits import Limits
from hasten.engine.arithmetic import choose, make_decoder
from hasten.engine.checkpoint import open_weights
from hasten.engine.config import ModelConfig, load_config
from hasten.engine.driver import Engine
from hasten.engine.executor import TorchExecutor
from hasten.engine.policies import Policies
from hasten.engine.recording import Recorder, RecordingFile
from hasten.errors import InputError

CPU_SHARE = 0.25  # of the machine's memory, at most, for the KV cache
CUDA_SHARE = 0.9  # of what is free once the weights are loaded


@dataclass(frozen=True)
class EngineOptions:
    """How to serve a checkpoint. None means: chosen from model and machine, as `build_engine` says."""

    directory: Path
    device: str | None = None  # cuda when there is one
    dtype: str | None = None  # the fastest on a CPU, measured; the checkpoint's own on CUDA
    kernels: str | None = None  # "compiled" on a CPU with a C++ compiler, else "torch"
    max_model_len: int | None = None
    max_num_seqs: int = 64
    max_num_batched_tokens: int = 1024
    block_size: int = 16
    kv_cache_gib: float | None = None
    prefix_caching: bool = True
    policies: Mapping[str, str | None] = field(default_factory=dict)
    seed: int = 0
    threads: int | None = None  # torch's own choice
    eager: bool = False  # no graphs of decode steps, on CUDA


def build_engine(options: EngineOptions, *, record: Path | None = None) -> Engine:
    """Load the weights, size the KV cache, start nothing. What it will do is written to `record`.

    Raises InputError for what can't be used.
    """
    config = load_config(options.directory)
    device = _device(options.device)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    arithmetic = choose(config, device, dtype=options.dtype, kernels=options.kernels)
    context = min(options.max_model_len or config.max_context, config.max_context)
    weights = open_weights(options.directory, config, dtype=arithmetic.loaded, device=device)
    model = make_decoder(config, weights, arithmetic, positions=context, eager=options.eager)
    del weights  # the decoder keeps what it needs, packed
    blocks = _num_blocks(options, config, device, model.kv_dtype, context)
    limits = Limits(
        blocks,
        block_size=options.block_size,
        max_num_seqs=options.max_num_seqs,
        max_num_batched_tokens=max(options.max_num_batched_tokens, options.max_num_seqs),
        max_model_len=context,
        prefix_caching=options.prefix_caching,
    )
    policies = Policies.named(options.policies, options.seed)
    recorder = None
    if record is not None:
        settings = {"policies": dict(options.policies), "seed": options.seed}
        file = RecordingFile(record, limits, settings)
        recorder = Recorder(file.add, file.close)
    executor = TorchExecutor(model, blocks, options.block_size, reason=arithmetic.reason)
    return Engine(executor, limits, policies, recorder=recorder)


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device {name!r} is unknown: give cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not torch.cuda.is_available()):
        raise InputError(f"device {name!r} is not there: give cpu")
    return device


def _num_blocks(
    options: EngineOptions, config: ModelConfig, device: torch.device, dtype: torch.dtype, context: int
) -> int:
    """Blocks of the KV cache: what every slot could use, cut to the memory there is."""
    block_bytes = config.kv_elements * dtype.itemsize * options.block_size
    per_sequence = -(-context // options.block_size)
    if options.kv_cache_gib is not None:
        room = options.kv_cache_gib * 2**30
    elif device.type == "cuda":
        room = torch.cuda.mem_get_info(device)[0] * CUDA_SHARE
    else:
        room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * CPU_SHARE
    blocks = int(room // block_bytes)
    if blocks < 1:
        raise InputError(
            f"{room / 2**30:.3f} GiB for the KV cache hold no block of {block_bytes:,} bytes: raise kv_cache_gib"
        )
    return min(blocks, per_sequence * options.max_num_seqs)
