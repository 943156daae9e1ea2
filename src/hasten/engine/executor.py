"""Runs a batch on a model: builds the step's tensors, computes it, chooses the tokens."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Listed
from typing import Protocol

import numpy as np
import torch

from hasten.core.batch import Batch
from hasten.core.request import Request
from hasten.engine.blocks import BlockTables
from hasten.engine.config import ModelConfig
from hasten.engine.model import ChunkInput, KVCache, StepInput
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

    def forward(self, step: StepInput, cache: KVCache) -> torch.Tensor: ...


class TorchExecutor:
    """One model and its KV cache of `num_blocks` blocks of `block_size` tokens; `reason` says why this model."""

    def __init__(self, model: Model, num_blocks: int, block_size: int, *, reason: str = "") -> None:
        self.model = model
        self.reason = reason
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.cache = model.cache(num_blocks, block_size)
        self._tables = _TableRows(block_size)

    def run(
        self,
        batch: Batch,
        decodes: Listed[Request],
        sequences: Mapping[int, Sequence],
        tables: BlockTables,
    ) -> list[tuple[Sequence, Sampled]]:
        """Compute `batch`. Returns the new token of every sequence that samples one."""
        step = self._input(batch, decodes, sequences, tables)
        members = [sequences[request.id] for request in decodes]
        members += [sequences[chunk.request.id] for chunk in batch.prefills if chunk.is_last]
        logits = self.model.forward(step, self.cache)
        if not members:
            return []
        choosers = [member.chooser for member in members]
        answers = [() if member.params.is_plain else member.answer for member in members]
        return list(zip(members, choose_all(logits, choosers, answers), strict=True))

    def forget(self, request: Request) -> None:
        """`request` ended."""
        self._tables.forget(request.id)

    def _input(
        self,
        batch: Batch,
        decodes: Listed[Request],
        sequences: Mapping[int, Sequence],
        tables: BlockTables,
    ) -> StepInput:
        size = self.block_size
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        for request in decodes:
            known = sequences[request.id].tokens
            at = len(known) - 1
            tokens.append(known[at])
            positions.append(at)
            slots.append(tables.blocks_of(request)[at // size] * size + at % size)
        rows = list(range(len(decodes)))
        chunks: list[ChunkInput] = []
        for chunk in batch.prefills:
            start, stop = chunk.context, chunk.context + chunk.tokens
            blocks = np.asarray(tables.blocks_of(chunk.request), dtype=np.int64)
            places = (blocks[:, None] * size + np.arange(size)).reshape(-1)[:stop]
            row = len(tokens)
            chunks.append(ChunkInput(row, row + chunk.tokens, start, self._tensor(places)))
            tokens += sequences[chunk.request.id].tokens[start:stop]
            positions += range(start, stop)
            slots += places[start:].tolist()
            if chunk.is_last:
                rows.append(len(tokens) - 1)
        step = StepInput(
            self._tensor(tokens),
            self._tensor(positions),
            self._tensor(slots),
            self._tensor(rows),
            num_decodes=len(decodes),
            chunks=chunks,
        )
        if decodes:
            longest = max(positions[: len(decodes)]) // size + 1
            step.decode_slots = self._tensor(self._tables.slots(decodes, tables, longest))
        return step

    def _tensor(self, values: list[int] | np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> torch.Tensor:
        return torch.as_tensor(values, dtype=torch.int64, device=self.model.device)


class _TableRows:
    """Block tables of the sequences that decode as one matrix, extended rather than rebuilt."""

    def __init__(self, block_size: int) -> None:
        self._offsets = np.arange(block_size, dtype=np.int64)
        self._size = block_size
        self._matrix = np.zeros((8, 8), dtype=np.int64)
        self._rows: dict[int, list[int]] = {}  # request -> [row, blocks entered]
        self._sources: dict[int, list[int]] = {}
        self._spare = list(range(8))

    def slots(
        self, decodes: Listed[Request], tables: BlockTables, longest: int
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        """Slots of the first `longest` blocks of every sequence, [sequences, longest * block size]."""
        rows = [self._row(request.id, tables.blocks_of(request)) for request in decodes]
        blocks = self._matrix[rows, :longest]
        return (blocks[:, :, None] * self._size + self._offsets).reshape(len(rows), -1)

    def forget(self, name: int) -> None:
        """Free the row of a request."""
        entry = self._rows.pop(name, None)
        if entry is not None:
            del self._sources[name]
            self._matrix[entry[0]] = 0
            self._spare.append(entry[0])

    def _row(self, name: int, blocks: list[int]) -> int:
        entry = self._rows.get(name)
        if entry is None or self._sources[name] is not blocks:  # new, or back from a preemption
            self.forget(name)
            entry = self._rows[name] = [self._take(), 0]
            self._sources[name] = blocks
        row, entered = entry
        if entered < len(blocks):
            if len(blocks) > self._matrix.shape[1]:
                self._grow(1, len(blocks))
            self._matrix[row, entered : len(blocks)] = blocks[entered:]
            entry[1] = len(blocks)
        return row

    def _take(self) -> int:
        if not self._spare:
            rows = self._matrix.shape[0]
            self._grow(0, rows + 1)
            self._spare = list(range(rows, self._matrix.shape[0]))
        return self._spare.pop()

    def _grow(self, axis: int, least: int) -> None:
        shape = list(self._matrix.shape)
        shape[axis] = max(least, 2 * shape[axis])
        grown = np.zeros(shape, dtype=np.int64)
        grown[: self._matrix.shape[0], : self._matrix.shape[1]] = self._matrix
        self._matrix = grown
