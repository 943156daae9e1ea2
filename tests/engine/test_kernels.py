"""The compiled kernels and the linear layers: equal to torch's operators, and no row sees its company."""

import itertools
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.engine.checkpoints import SHAPES, write_checkpoint
from tests.engine.engines import BLOCK, Harness, some_prompts, tiny_weights
from tests.engine.test_logits import paged_logits

from hasten.engine import arithmetic, native
from hasten.engine.arithmetic import CompiledLinear, choose
from hasten.engine.checkpoint import open_weights
from hasten.engine.compiled import KINDS, CompiledDecoder
from hasten.engine.config import ModelConfig
from hasten.engine.linear import HalfLinear, Int8Linear, PlainLinear
from hasten.engine.model import ChunkInput, Decoder, StepInput
from hasten.engine.sampling import largest
from hasten.errors import InputError

CPU = torch.device("cpu")
NEAR = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.1, "int8": 0.25}  # of random logits' spread
needs_kernels = pytest.mark.skipif(native.kernels().library is None, reason=native.kernels().reason)


@needs_kernels
@pytest.mark.parametrize(("name", "changes"), SHAPES, ids=[name for name, _ in SHAPES])
def test_logits_equal_those_on_torch(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    """Paged, chunked and batched, for every shape that is checked against transformers."""
    config = write_checkpoint(tmp_path, changes)
    weights = open_weights(tmp_path, config, dtype=torch.float32, device=CPU)
    exact = paged_logits(Decoder(config, weights))
    for dtype in KINDS:
        for ours, theirs in zip(paged_logits(CompiledDecoder(config, weights, dtype)), exact, strict=True):
            error = (ours - theirs).abs()
            assert float(error.mean() / theirs.std()) < NEAR[dtype], dtype
            if dtype == "float32":
                assert float(error.max()) < 1e-4


def _tokens(config: ModelConfig, count: int) -> list[int]:
    numbers = random.Random(7)
    return [numbers.randrange(config.vocab) for _ in range(count)]


@needs_kernels
@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("block", [4, 16])
def test_chunks_and_company_change_no_bit(dtype: str, block: int) -> None:
    config, weights = tiny_weights()
    model = CompiledDecoder(config, weights, dtype)
    tokens = _tokens(config, 150)
    place = random.Random(2).sample(range(20 * 16 // block), 150 // block + 1)
    slots = torch.tensor([number * block + offset for number in place for offset in range(block)])[:150]
    far = torch.arange(160) + 20 * 16  # another sequence's

    def whole(cuts: list[int], company: bool) -> torch.Tensor:
        cache = model.cache(40 * 16 // block, block)
        found = []
        for start, stop in itertools.pairwise(cuts):
            rows = list(range(start, stop))
            chunks = [ChunkInput(0, len(rows), start, slots[:stop].contiguous())]
            given, positions, fills = [tokens[row] for row in rows], list(rows), slots[start:stop].tolist()
            if company:  # the other sequence's tokens come after
                chunks.append(ChunkInput(len(rows), len(rows) + 9, 0, far[:9].contiguous()))
                given, positions = given + tokens[:9], positions + list(range(9))
                fills += far[:9].tolist()
            step = StepInput(
                torch.tensor(given),
                torch.tensor(positions),
                torch.tensor(fills),
                torch.arange(len(rows)),
                chunks=chunks,
            )
            found.append(model.forward(step, cache))
        return torch.cat(found)

    expected = whole([0, 150], False)
    assert torch.equal(whole([0, 150], True), expected)
    assert torch.equal(whole([0, 1, 18, 64, 65, 129, 149, 150], True), expected)


@needs_kernels
@pytest.mark.parametrize("dtype", KINDS)
def test_greedy_tokens_do_not_depend_on_anything(dtype: str) -> None:
    prompts = some_prompts(16, seed=11)
    decoder = CompiledDecoder(*tiny_weights(), dtype)
    alone = []
    harness = Harness(prefix_caching=False, decoder=decoder)
    for prompt in prompts:
        alone += harness.answers([prompt], 20)
    assert len({tuple(answer) for answer in alone}) > 10
    together = Harness(decoder=decoder)
    assert together.answers(prompts, 20) == alone
    assert together.answers(prompts, 20) == alone
    assert together.engine.scheduler.prompt_tokens_cached > 10 * BLOCK
    tight = Harness(num_blocks=30, max_num_seqs=12, max_num_batched_tokens=13, decoder=decoder)
    assert tight.answers(prompts, 20) == alone
    assert tight.engine.scheduler.num_preemptions > 0


@needs_kernels
@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("vocab", [70, 320])
def test_the_largest_logit_is_the_first_of_equals(dtype: str, vocab: int) -> None:
    """For every number of rows; many tokens share one embedding, whose copies lie in other panels and other threads."""
    config, weights = tiny_weights()
    table = weights["model.embed_tokens.weight"]
    shared = table[torch.randint(0, 5, (vocab,), generator=torch.Generator().manual_seed(4))]
    weights |= {"model.embed_tokens.weight": shared, "lm_head.weight": shared}
    model = CompiledDecoder(replace(config, vocab=vocab), weights, dtype, threads=3)
    tokens = torch.arange(40) % vocab
    places = torch.arange(40)
    for wanted in (1, 2, 7, 40):
        step = StepInput(tokens, places, places, places[:wanted], chunks=[ChunkInput(0, 40, 0, places)])
        found = model.largest(step, model.cache(3, 16))
        assert found == largest(model.forward(step, model.cache(3, 16)))
    assert max(found) < 20  # of `vocab`: an embedding's first copy


@needs_kernels
def test_tokens_that_the_model_does_not_know() -> None:
    config, weights = tiny_weights()
    model = CompiledDecoder(config, weights, "float32")
    place = torch.zeros(1, dtype=torch.int64)
    for token in (-1, config.vocab):
        step = StepInput(torch.tensor([token]), place, place, place, chunks=[ChunkInput(0, 1, 0, place)])
        with pytest.raises(IndexError, match=rf"token {token} lies outside \[0, {config.vocab}\)"):
            model.forward(step, model.cache(1, 16))


def _linear(kind: str, weight: torch.Tensor, bias: torch.Tensor | None) -> Any:
    if kind.startswith("compiled"):
        if native.kernels().library is None:
            pytest.skip(native.kernels().reason)
        return CompiledLinear(weight, kind.split("-")[1], bias)
    return {"torch-int8": Int8Linear, "torch-float16": HalfLinear, "torch-float32": PlainLinear}[kind](
        weight, bias
    )


@pytest.mark.parametrize("kind", [f"compiled-{dtype}" for dtype in KINDS] + ["torch-int8", "torch-float16"])
@pytest.mark.parametrize(("outputs", "inputs"), [(70, 33), (128, 64), (5, 7)])
def test_a_linear_layer_is_near_the_exact_product(kind: str, outputs: int, inputs: int) -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(outputs, inputs, generator=generator)
    bias = torch.randn(outputs, generator=generator)
    states = torch.randn(11, inputs, generator=generator)
    exact = states.double() @ weight.double().T + bias
    error = (_linear(kind, weight, bias)(states) - exact).abs().max() / exact.std()
    assert (
        float(error) < {"float32": 1e-6, "float16": 5e-3, "bfloat16": 3e-2, "int8": 5e-2}[kind.split("-")[1]]
    )


@pytest.mark.parametrize("kind", ["compiled-int8", "compiled-float32", "torch-int8"])
def test_no_row_sees_its_company(kind: str) -> None:
    """A loud row beside it changes no bit of a quiet one, in batches of every size."""
    generator = torch.Generator().manual_seed(1)
    linear = _linear(kind, torch.randn(96, 40, generator=generator), None)
    row = torch.randn(1, 40, generator=generator)
    alone = linear(row)
    for count in range(1, 20):
        others = torch.randn(count, 40, generator=generator) * 1000
        assert torch.equal(linear(torch.cat((others, row)))[-1:], alone)


def test_int8_is_the_same_on_either_kernels() -> None:
    generator = torch.Generator().manual_seed(1)
    weight, states = torch.randn(96, 40, generator=generator), torch.randn(9, 40, generator=generator)
    weight[3] = 0.0
    states[4] = 0.0
    ours, theirs = (_linear(kind, weight, None)(states) for kind in ("compiled-int8", "torch-int8"))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert float(ours[4].abs().max()) == float(ours[:, 3].abs().max()) == 0.0


def test_without_a_compiler_torch_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native.shutil, "which", lambda name: None)
    absent = native.kernels.__wrapped__()
    assert absent.library is None
    monkeypatch.setattr(native, "kernels", lambda: absent)
    config, _ = tiny_weights()
    assert choose(config, CPU, dtype="int8").kernels == "torch"
    with pytest.raises(
        InputError, match=r"compiled kernels are not to be had here: no .*: give --kernels torch"
    ):
        choose(config, CPU, kernels="compiled")


def test_a_compiler_that_fails_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(native, "COMPILERS", ("false",))
    monkeypatch.setattr(native.platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = native.kernels.__wrapped__()
    assert found.library is None
    assert "false can't build them" in found.reason
    assert not list((tmp_path / "hasten").iterdir())  # nothing half-built stays


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({"float32": 1.0, "float16": 0.95, "bfloat16": 2.0, "int8": 0.93}, "float32"),
        ({"float32": 1.0, "float16": 0.5, "bfloat16": 0.5, "int8": 0.49}, "float16"),
        ({"float32": 1.0, "float16": 0.5, "bfloat16": 0.5, "int8": 0.2}, "int8"),
    ],
)
def test_a_narrower_type_must_be_clearly_faster(
    seconds: dict[str, float], best: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arithmetic, "_seconds", lambda config, dtype, kernels: seconds[dtype])
    chosen = choose(tiny_weights()[0], CPU, dtype="auto", kernels="torch")
    assert (chosen.dtype, chosen.kernels) == (best, "torch")
    assert chosen.reason.startswith("the fastest here, measured")


def test_it_can_be_measured() -> None:
    config, _ = tiny_weights()
    assert choose(config, CPU).dtype in KINDS
    assert choose(config, CPU, kernels="torch").dtype in KINDS
    assert choose(config, CPU, dtype="bfloat16").reason.startswith("as asked")


def test_cuda_takes_no_cpu_kernels() -> None:
    config, _ = tiny_weights()
    with pytest.raises(InputError, match="int8 weights run on a CPU only"):
        choose(config, torch.device("cuda"), dtype="int8")
    assert choose(config, torch.device("cuda")).dtype == "float32"
