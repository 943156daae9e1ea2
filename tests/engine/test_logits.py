"""Logits against Hugging Face transformers, over a paged cache whose blocks lie in disorder."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.engine.checkpoints import SHAPES, TINY, write_checkpoint

from hasten.engine.checkpoint import open_weights
from hasten.engine.config import ModelConfig
from hasten.engine.model import ChunkInput, Decoder, KVCache, StepInput

CPU = torch.device("cpu")
BLOCK = 4
PROMPT = 90  # tokens: longer than every window and than llama3's original context


def decoder(directory: Path, config: ModelConfig) -> Decoder:
    return Decoder(config, open_weights(directory, config, dtype=torch.float32, device=CPU))


class Sequence:
    """One sequence with its blocks in random order."""

    def __init__(self, tokens: list[int], blocks: list[int]) -> None:
        self.tokens = tokens
        self.slots = [block * BLOCK + offset for block in blocks for offset in range(BLOCK)]

    def chunk(self, start: int, stop: int, row: int) -> ChunkInput:
        return ChunkInput(row, row + stop - start, start, torch.tensor(self.slots[:stop]))


def step(parts: list[tuple[Sequence, int, int]], decodes: list[tuple[Sequence, int]]) -> StepInput:
    """Decodes (sequence, position) first, then chunks (sequence, start, stop); logits of all rows."""
    tokens = [sequence.tokens[at] for sequence, at in decodes]
    positions = [at for _, at in decodes]
    slots = [sequence.slots[at] for sequence, at in decodes]
    chunks = []
    for sequence, start, stop in parts:
        chunks.append(sequence.chunk(start, stop, len(tokens)))
        tokens += sequence.tokens[start:stop]
        positions += range(start, stop)
        slots += sequence.slots[start:stop]
    longest = max((at + 1 for _, at in decodes), default=0)
    table = [(sequence.slots[: at + 1] + [0] * longest)[:longest] for sequence, at in decodes]
    return StepInput(
        torch.tensor(tokens),
        torch.tensor(positions),
        torch.tensor(slots),
        torch.arange(len(tokens)),
        num_decodes=len(decodes),
        decode_slots=torch.tensor(table) if decodes else None,
        chunks=chunks,
    )


def two_sequences(vocab: int) -> tuple[Sequence, Sequence]:
    numbers = random.Random(5)
    blocks = list(range(2 * (PROMPT // BLOCK + 1)))
    numbers.shuffle(blocks)
    half = len(blocks) // 2
    first, second = ([numbers.randrange(vocab) for _ in range(PROMPT)] for _ in range(2))
    return Sequence(first, blocks[:half]), Sequence(second, blocks[half:])


def paged_logits(model: Decoder) -> tuple[torch.Tensor, torch.Tensor]:
    """All logits of two sequences: prefilled in uneven chunks that share steps, the last tokens decoded together."""
    first, second = two_sequences(model.config.vocab)
    cache = model.cache(2 * (PROMPT // BLOCK + 1), BLOCK)
    rows: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])

    def run(given: StepInput, *owners: tuple[int, int]) -> None:
        logits = model.forward(given, cache)
        at = 0
        for owner, count in owners:
            rows[owner].append(logits[at : at + count])
            at += count

    run(step([(first, 0, 33)], []), (0, 33))
    run(step([(first, 33, 70), (second, 0, 80)], []), (0, 37), (1, 80))
    run(step([(second, 80, 85)], [(first, 70)]), (0, 1), (1, 5))
    for at in range(71, PROMPT):
        other = at + 14
        if other < PROMPT:
            run(step([], [(first, at), (second, other)]), (0, 1), (1, 1))
        else:
            run(step([], [(first, at)]), (0, 1))
    return torch.cat(rows[0]), torch.cat(rows[1])


@pytest.mark.parametrize(("name", "changes"), SHAPES, ids=[name for name, _ in SHAPES])
def test_logits_equal_those_of_transformers(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the reference implementation is not installed")
    config = write_checkpoint(tmp_path, changes, shards=2 if name == "qwen3" else 1)
    model = decoder(tmp_path, config)
    reference = getattr(transformers, config.architecture).from_pretrained(
        tmp_path, dtype=torch.float32, attn_implementation="eager"
    )
    reference.eval()
    for sequence, ours in zip(two_sequences(config.vocab), paged_logits(model), strict=True):
        with torch.inference_mode():
            theirs = reference(torch.tensor([sequence.tokens])).logits[0]
        assert float((ours - theirs).abs().max()) < 1e-3
        assert float(theirs.std()) > 0.1  # the comparison compares something


@pytest.mark.parametrize(("name", "changes"), SHAPES, ids=[name for name, _ in SHAPES])
def test_paging_and_chunking_change_nothing(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    config = write_checkpoint(tmp_path, changes)
    model = decoder(tmp_path, config)
    for sequence, ours in zip(two_sequences(config.vocab), paged_logits(model), strict=True):
        straight = Sequence(sequence.tokens, list(range(PROMPT // BLOCK + 1)))
        cache = KVCache(config, PROMPT + BLOCK, dtype=torch.float32, device=CPU)
        whole = model.forward(step([(straight, 0, PROMPT)], []), cache)
        assert float((ours - whole).abs().max()) < 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_types_stay_near_fp32(dtype: torch.dtype, tmp_path: Path) -> None:
    config = write_checkpoint(tmp_path)
    exact = paged_logits(decoder(tmp_path, config))[0]
    narrow = Decoder(config, open_weights(tmp_path, config, dtype=dtype, device=CPU))
    rounded = paged_logits(narrow)[0]
    error = float((exact - rounded).abs().mean() / exact.std())
    assert 0.0 < error < 0.1


def test_the_window_matters(tmp_path: Path) -> None:
    """The same weights with and without a window give other logits: the window is not ignored."""
    changes = dict(SHAPES)["mistral-window"]
    config = write_checkpoint(tmp_path, changes)
    narrow = paged_logits(decoder(tmp_path, config))[0]
    (tmp_path / "config.json").write_text(json.dumps(TINY | changes | {"sliding_window": None}))
    from hasten.engine.config import load_config

    wide = paged_logits(decoder(tmp_path, load_config(tmp_path)))[0]
    assert float((narrow[:9] - wide[:9]).abs().max()) < 1e-4
    assert float((narrow[20:] - wide[20:]).abs().max()) > 1e-2
