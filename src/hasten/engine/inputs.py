"""From what the core decided to the input of a step. What is known of sequences that decode is kept, not built anew."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Listed

import numpy as np
import torch

from hasten.core.batch import Batch
from hasten.core.request import Request
from hasten.engine.blocks import BlockTables
from hasten.engine.model import ChunkInput, StepInput
from hasten.engine.sequence import Sequence

_Numbers = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


class StepBuilder:
    """Builds the inputs of one model's steps, in host memory that the next `build` overwrites."""

    def __init__(self, block_size: int) -> None:
        self._size = block_size
        self._table = _SlotTable(block_size)
        self._decodes: list[Request] = []
        self._members: list[Sequence] = []
        self._entry: _Numbers = np.zeros(0, dtype=np.int64)  # where each of them is in the table
        self._step: StepInput | None = None  # of the step before, if nothing but decodes was in it
        self._longest = 0  # columns of the table that a step reads
        self._reserve(64)

    def build(
        self,
        batch: Batch,
        decodes: Listed[Request],
        sequences: Mapping[int, Sequence],
        tables: BlockTables,
    ) -> tuple[StepInput, list[Sequence]]:
        """The input of `batch`, and the sequences that sample a token in it, in the order of its `rows`."""
        count = len(decodes)
        total = count + sum(chunk.tokens for chunk in batch.prefills)
        if total > self._numbers.shape[1]:
            self._reserve(total)
        if decodes != self._decodes:
            self._enter(decodes, sequences, tables)
        self._decode(tables)
        if not batch.prefills:
            if self._step is None:
                self._step = self._input(total, self._arange[:count])
            self._step.decode_slots = self._table.columns(self._longest)
            return self._step, self._members
        self._step = None
        chunks, rows, members = self._prefill(batch, count, sequences, tables)
        step = self._input(total, torch.tensor(rows, dtype=torch.int64))
        step.chunks = chunks
        step.decode_slots = self._table.columns(self._longest) if count else None
        return step, members

    def forget(self, request: Request) -> None:
        """`request` ended."""
        self._table.forget(request.id)

    def _reserve(self, tokens: int) -> None:
        """Room for steps of `tokens`."""
        self._numbers = np.zeros((3, max(tokens, 64)), dtype=np.int64)
        self._tokens, self._positions, self._slots = self._numbers
        self._tensors = torch.from_numpy(self._numbers)
        self._arange = torch.arange(self._numbers.shape[1])
        self._step = None

    def _input(self, total: int, rows: torch.Tensor) -> StepInput:
        tokens, positions, slots = self._tensors[:, :total]
        return StepInput(
            *(tokens, positions, slots, rows),
            num_decodes=len(self._decodes),
            decode_rows=torch.from_numpy(self._entry),
        )

    def _enter(
        self, decodes: Listed[Request], sequences: Mapping[int, Sequence], tables: BlockTables
    ) -> None:
        """Others decode than in the step before."""
        self._step = None
        self._decodes = list(decodes)
        self._members = [sequences[request.id] for request in decodes]
        rows = [self._table.row(request.id, tables.blocks_of(request)) for request in decodes]
        self._entry = np.array(rows, dtype=np.int64)

    def _decode(self, tables: BlockTables) -> None:
        """The rows of who decodes: one token each, the last that is known."""
        count = len(self._decodes)
        if not count:
            self._longest = 0
            return
        at, table = self._positions[:count], self._table
        self._tokens[:count] = [member.tokens[-1] for member in self._members]
        at[:] = [len(member.tokens) for member in self._members]
        at -= 1
        for place in np.flatnonzero(table.known[self._entry] <= at).tolist():
            request = self._decodes[place]
            table.row(request.id, tables.blocks_of(request))
        self._slots[:count] = table.slots[self._entry, at]
        self._longest = (int(at.max()) // self._size + 1) * self._size

    def _prefill(
        self, batch: Batch, row: int, sequences: Mapping[int, Sequence], tables: BlockTables
    ) -> tuple[list[ChunkInput], list[int], list[Sequence]]:
        """The chunks, whose rows begin with `row`; then the rows that sample and their sequences, decodes too."""
        chunks, rows, members = [], list(range(row)), list(self._members)
        offsets = np.arange(self._size)
        for chunk in batch.prefills:
            start, stop = chunk.context, chunk.context + chunk.tokens
            sequence = sequences[chunk.request.id]
            blocks = np.asarray(tables.blocks_of(chunk.request), dtype=np.int64)
            places = (blocks[:, None] * self._size + offsets).reshape(-1)[:stop]
            end = row + chunk.tokens
            self._tokens[row:end] = sequence.tokens[start:stop]
            self._positions[row:end] = np.arange(start, stop)
            self._slots[row:end] = places[start:]
            chunks.append(ChunkInput(row, end, start, torch.from_numpy(places)))
            row = end
            if chunk.is_last:
                rows.append(row - 1)
                members.append(sequence)
        return chunks, rows, members


class _SlotTable:
    """The KV slots of sequences that decode, a row for each; rows grow with them. `known` slots of each row."""

    def __init__(self, block_size: int) -> None:
        self._size = block_size
        self._offsets = np.arange(block_size, dtype=np.int64)
        self.slots: _Numbers = np.zeros((8, 8 * block_size), dtype=np.int64)
        self.known: _Numbers = np.zeros(8, dtype=np.int64)
        self._rows: dict[int, int] = {}  # request -> row
        self._sources: dict[int, list[int]] = {}
        self._spare = list(range(8))
        self._columns: torch.Tensor | None = None

    def row(self, name: int, blocks: list[int]) -> int:
        """The row of request `name`, with all its `blocks` entered."""
        if self._sources.get(name) is not blocks:  # new, or back from a preemption
            self.forget(name)
            self._rows[name] = self._take()
            self._sources[name] = blocks
        row = self._rows[name]
        entered, tokens = int(self.known[row]), len(blocks) * self._size
        if entered < tokens:
            if tokens > self.slots.shape[1]:
                self._grow(1, tokens)
            fresh = np.array(blocks[entered // self._size :], dtype=np.int64)
            self.slots[row, entered:tokens] = (fresh[:, None] * self._size + self._offsets).reshape(-1)
            self.known[row] = tokens
        return row

    def forget(self, name: int) -> None:
        """Free the row of a request, if it has one."""
        row = self._rows.pop(name, None)
        if row is not None:
            del self._sources[name]
            self.known[row] = 0
            self._spare.append(row)

    def columns(self, count: int) -> torch.Tensor:
        """The first `count` columns of all rows: a view, good until the table grows."""
        if self._columns is None or self._columns.shape[1] != count:
            self._columns = torch.from_numpy(self.slots[:, :count])
        return self._columns

    def _take(self) -> int:
        if not self._spare:
            rows = self.slots.shape[0]
            self._grow(0, rows + 1)
            self._spare = list(range(rows, self.slots.shape[0]))
        return self._spare.pop()

    def _grow(self, axis: int, least: int) -> None:
        shape = list(self.slots.shape)
        shape[axis] = max(least, 2 * shape[axis])
        slots, known = np.zeros(shape, dtype=np.int64), np.zeros(shape[0], dtype=np.int64)
        slots[: self.slots.shape[0], : self.slots.shape[1]] = self.slots
        known[: len(self.known)] = self.known
        self.slots, self.known, self._columns = slots, known, None
