"""Runs a batch on a model: computes its step, chooses the tokens."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Listed
from typing import Protocol

import torch

from hasten.core.batch import Batch
from hasten.core.request import Request
from hasten.engine.blocks import BlockTables
from hasten.engine.config import ModelConfig
from hasten.engine.inputs import StepBuilder
from hasten.engine.model import KVCache, StepInput
from hasten.engine.sampling import Sampled, choose_all
from hasten.engine.sequence import Sequence


class Model(Protocol):
    """What computes steps: the decoder on torch's operators, or on compiled kernels."""

    config: ModelConfig
    dtype_name: str  # of the weights
    kernels: str  # whose they are

    @property
    def device(self) -> torch.device: ...

    @property
    def kv_dtype(self) -> torch.dtype: ...

    def cache(self, num_blocks: int, block_size: int) -> KVCache: ...

    def forward(self, step: StepInput, cache: KVCache) -> torch.Tensor:
        """Compute one step: the logits of its rows [rows, vocab], fp32."""

    def largest(self, step: StepInput, cache: KVCache) -> list[int]:
        """Compute one step: the token of each row's largest logit."""


class TorchExecutor:
    """One model and its KV cache of `num_blocks` blocks of `block_size` tokens; `reason` says why this model."""

    def __init__(self, model: Model, num_blocks: int, block_size: int, *, reason: str = "") -> None:
        self.model = model
        self.reason = reason
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.cache = model.cache(num_blocks, block_size)
        self._inputs = StepBuilder(block_size)

    def run(
        self,
        batch: Batch,
        decodes: Listed[Request],
        sequences: Mapping[int, Sequence],
        tables: BlockTables,
    ) -> list[tuple[Sequence, Sampled]]:
        """Compute `batch`. Returns the new token of every sequence that samples one."""
        step, members = self._inputs.build(batch, decodes, sequences, tables)
        choosers = [member.chooser for member in members]
        if all(chooser.is_plain for chooser in choosers):
            found = [Sampled(token) for token in self.model.largest(step, self.cache)]
        else:
            answers = [() if member.chooser.is_plain else member.answer for member in members]
            found = choose_all(self.model.forward(step, self.cache), choosers, answers)
        return list(zip(members, found, strict=True))

    def forget(self, request: Request) -> None:
        """`request` ended."""
        self._inputs.forget(request)
