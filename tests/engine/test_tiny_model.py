"""The trained tiny model: the engine computes what the script trained, and its perplexities are pinned."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.tooling.scripts import ROOT, load

from hasten.engine import native
from hasten.engine.arithmetic import choose, make_decoder
from hasten.engine.checkpoint import open_weights
from hasten.engine.config import ModelConfig, load_config
from hasten.engine.executor import Model
from hasten.engine.model import ChunkInput, Decoder, StepInput
from hasten.engine.tokenizer import Tokenizer

BLOCK = 16
CPU = torch.device("cpu")
CHECKPOINT = ROOT / "tests" / "data" / "tiny-python"
needs_checkpoint = pytest.mark.skipif(
    not CHECKPOINT.exists(), reason="no checkpoint: python scripts/train_tiny.py tests/data/tiny-python"
)
plain = load("tiny_model")


def engine_logits(model: Model, tokens: torch.Tensor) -> torch.Tensor:
    """Logits of every position of one row, computed as one prefill chunk."""
    length = len(tokens)
    cache = model.cache(-(-length // BLOCK), BLOCK)
    places = torch.arange(length)
    chunk = ChunkInput(0, length, 0, places)
    return model.forward(StepInput(tokens, places, places, places, chunks=[chunk]), cache)


def perplexity(model: Model, stream: torch.Tensor) -> float:
    """Per token of `stream`, in windows that begin with nothing before them."""
    nats = []
    for at in range(0, len(stream) - 1, plain.WINDOW):
        row = stream[at : at + plain.WINDOW + 1]
        scores = torch.log_softmax(engine_logits(model, row[:-1]), dim=1)
        nats.append(-scores.gather(1, row[1:, None]))
    return math.exp(torch.cat(nats).mean())


def decoder(folder: Path) -> tuple[ModelConfig, Decoder]:
    config = load_config(folder)
    return config, Decoder(config, open_weights(folder, config, dtype=torch.float32, device=CPU))


def test_the_engine_computes_what_the_script_trains(tmp_path: Path) -> None:
    """The same logits from both, with random weights in every place."""
    generator = torch.Generator().manual_seed(1)
    weights = {
        name: value + 0.1 * torch.randn(value.shape, generator=generator)
        for name, value in plain.initial_weights(0).items()
    }
    (tmp_path / "config.json").write_text(json.dumps(plain.CONFIG))
    model = Decoder(load_config(tmp_path), weights)
    tokens = torch.randint(0, plain.CONFIG["vocab_size"], (70,), generator=generator)
    wanted = plain.logits(weights, plain.hidden_states(weights, tokens[None])[-1])[0]
    assert (engine_logits(model, tokens) - wanted).abs().max() < 1e-3
    assert wanted.std() > 1.0


def test_perplexity_of_knowing_nothing() -> None:
    """Weights that give every token the same score: the perplexity is the size of the vocabulary, at every exit."""
    weights = plain.initial_weights(0)
    weights["model.norm.weight"] = torch.zeros(plain.HIDDEN)
    found = plain.measure(weights, [np.arange(300), np.arange(300)])
    assert found.pop("tokens") == 599
    assert list(found.values()) == pytest.approx([plain.CONFIG["vocab_size"]] * len(found), rel=1e-4)


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CHECKPOINT / "figures.json").read_text())
    return found


@pytest.fixture(scope="module")
def modules() -> list[np.ndarray]:
    tokenizer = Tokenizer(CHECKPOINT)
    lines = (CHECKPOINT / "held-out.jsonl").read_text().splitlines()
    return [np.array([0, *tokenizer.encode(json.loads(line)["text"])]) for line in lines]


@needs_checkpoint
def test_it_is_small_and_looks_far_back() -> None:
    config, _ = decoder(CHECKPOINT)
    weights = open_weights(CHECKPOINT, config, dtype=torch.float32, device=CPU)
    assert 3e6 < sum(each.numel() for each in weights.values()) < 10e6
    assert config.max_context >= 1024
    assert sum(path.stat().st_size for path in CHECKPOINT.iterdir()) <= 12e6


@needs_checkpoint
def test_its_perplexities_are_pinned(figures: dict[str, Any], modules: list[np.ndarray]) -> None:
    """Every exit's, on held-out modules; what other machines round differently stays far within half a percent."""
    weights = dict(open_weights(CHECKPOINT, load_config(CHECKPOINT), dtype=torch.float32, device=CPU))
    found = plain.measure(weights, modules)
    pinned = {name: figures["sample"][name] for name in found}
    assert found == pytest.approx(pinned, rel=5e-3)


@needs_checkpoint
def test_the_engine_is_as_good(figures: dict[str, Any], modules: list[np.ndarray]) -> None:
    _, model = decoder(CHECKPOINT)
    stream = torch.from_numpy(np.concatenate(modules))[: 4 * plain.WINDOW + 1]
    weights = dict(open_weights(CHECKPOINT, load_config(CHECKPOINT), dtype=torch.float32, device=CPU))
    wanted = plain.measure(weights, [stream.numpy()])[f"exit after layer {plain.LAYERS}"]
    assert perplexity(model, stream) == pytest.approx(wanted, rel=1e-3)


@needs_checkpoint
@pytest.mark.parametrize("kernels", ["compiled", "torch"])
def test_int8_costs_less_than_a_percent(kernels: str, modules: list[np.ndarray]) -> None:
    if kernels == "compiled" and native.kernels().library is None:
        pytest.skip(native.kernels().reason)
    stream = torch.from_numpy(np.concatenate(modules))[: 4 * plain.WINDOW + 1]
    config, exact = decoder(CHECKPOINT)
    chosen = choose(config, CPU, dtype="int8", kernels=kernels)
    weights = open_weights(CHECKPOINT, config, dtype=chosen.loaded, device=CPU)
    quantised = make_decoder(config, weights, chosen, positions=plain.WINDOW)
    assert perplexity(quantised, stream) == pytest.approx(perplexity(exact, stream), rel=0.01)


@needs_checkpoint
def test_it_has_learned_something(figures: dict[str, Any]) -> None:
    """Far better than unigrams, better with more context, and better the later it exits."""
    for part in (figures["sample"], figures["held_out"]):
        exits = [part[f"exit after layer {number + 1}"] for number in range(plain.LAYERS)]
        assert exits[-1] < part["unigram"] / 10
        assert exits == sorted(exits, reverse=True)
        assert part["last 512 tokens of a window"] < part["first 128 tokens of a window"]
