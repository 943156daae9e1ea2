"""What is kept from step to step is what would be built anew."""

import random
from collections.abc import Mapping
from collections.abc import Sequence as Listed
from dataclasses import fields

import pytest
import torch
from tests.engine.engines import BLOCK, Harness, some_prompts

from hasten.core.batch import Batch
from hasten.core.request import Request
from hasten.engine.blocks import BlockTables
from hasten.engine.inputs import StepBuilder
from hasten.engine.model import StepInput
from hasten.engine.sequence import Sequence

CPU = torch.device("cpu")


class Doubting(StepBuilder):
    """Compares every step with the first of a builder that has seen nothing, and with what is asked for."""

    def __init__(self) -> None:
        super().__init__(BLOCK)
        self.kept = 0

    def build(
        self,
        batch: Batch,
        decodes: Listed[Request],
        sequences: Mapping[int, Sequence],
        tables: BlockTables,
    ) -> tuple[StepInput, list[Sequence]]:
        before = self._step
        step, members = super().build(batch, decodes, sequences, tables)
        fresh, same = StepBuilder(BLOCK).build(batch, decodes, sequences, tables)
        assert members == same
        ours, theirs = step.on(CPU), fresh.on(CPU)
        for name in ("tokens", "positions", "slots", "rows"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
        assert ours.num_decodes == theirs.num_decodes == len(decodes)
        for row, request in enumerate(decodes):
            at = int(ours.positions[row])
            blocks = tables.blocks_of(request)
            places = [block * BLOCK + offset for block in blocks for offset in range(BLOCK)][: at + 1]
            assert int(ours.tokens[row]) == sequences[request.id].tokens[at]
            assert ours.decode_slots is not None
            assert ours.decode_slots[row, : at + 1].tolist() == places
            assert int(ours.slots[row]) == places[at]
        for mine, other in zip(ours.chunks, theirs.chunks, strict=True):
            for field in fields(mine):
                assert torch.equal(
                    torch.as_tensor(getattr(mine, field.name)), torch.as_tensor(getattr(other, field.name))
                )
        self.kept += step is before
        return step, members


@pytest.mark.parametrize("num_blocks", [40, 400])
def test_kept_inputs_equal_fresh_ones(num_blocks: int) -> None:
    """Arrivals, ends, cancellations and, in 40 blocks, preemptions."""
    harness = Harness(num_blocks=num_blocks, max_num_seqs=12, max_num_batched_tokens=70)
    doubting = harness.executor._inputs = Doubting()
    numbers = random.Random(3)
    sequences = []
    for prompt in some_prompts(40, seed=12):
        sequences.append(harness.submit(prompt, numbers.randint(1, 60)))
        for _ in range(numbers.randint(0, 5)):
            harness.engine.turn()
        if numbers.random() < 0.2:
            harness.engine.cancel(numbers.choice(sequences))
    harness.finish()
    assert doubting.kept > 20
    assert (harness.engine.scheduler.num_preemptions > 0) == (num_blocks == 40)
