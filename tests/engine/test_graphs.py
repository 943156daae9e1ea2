"""Decode steps in fixed memory: padding changes no result, whatever the steps before were."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.engines import BLOCK, Harness, some_prompts, tiny_decoder, tiny_weights

from hasten.deployment import Deployment
from hasten.engine.graphs import (
    NARROWEST,
    SIZES,
    Capture,
    GraphedDecoder,
    Run,
    cuda_capture,
    size_for,
    width_for,
)
from hasten.engine.model import Decoder, StepInput


def eagerly(run: Run) -> Run:
    """A capture that repeats the function: what a graph does, without one."""
    run()
    return run


def graphed(capture: Capture = eagerly) -> GraphedDecoder:
    return GraphedDecoder(tiny_decoder(), capture)


@given(st.integers(1, 300))
def test_sizes_hold_what_they_are_for(count: int) -> None:
    size = size_for(count)
    if size is None:
        assert count > SIZES[-1]
    else:
        assert size >= count
        assert size - count < 8
        assert size_for(size) == size


def test_the_simulator_knows_the_sizes() -> None:
    on_gpu = Deployment.of("llama-3.1-8b", "h100-sxm", engine="hasten")
    assert on_gpu.limits.graph_sizes == SIZES
    assert Deployment.of("llama-3.1-8b", "cpu", engine="hasten").limits.graph_sizes == ()


@given(st.integers(1, 1 << 20))
def test_widths_are_few_and_close(tokens: int) -> None:
    width = width_for(tokens)
    assert width >= tokens
    assert width == NARROWEST or width < 1.5 * tokens
    assert width_for(width) == width
    assert len({width_for(each) for each in range(1, 8192, 31)}) <= 13


@settings(max_examples=15)
@given(
    st.lists(st.tuples(st.integers(1, 11), st.integers(1, 150)), min_size=1, max_size=6), st.integers(0, 9)
)
def test_padding_changes_no_logits(shapes: list[tuple[int, int]], seed: int) -> None:
    """Steps of any sizes one after the other, on two caches of the same random content."""
    plain, padded = tiny_decoder(), graphed()
    blocks = 220
    caches = plain.cache(blocks, BLOCK), padded.cache(blocks, BLOCK)
    numbers = torch.Generator().manual_seed(seed)
    for name in ("keys", "values"):
        content = torch.randn(getattr(caches[0], name).shape, generator=numbers)
        getattr(caches[0], name).copy_(content)
        getattr(caches[1], name)[:, :, :-1].copy_(content)
    for rows, longest in shapes:
        at = torch.randint(0, longest, (rows,), generator=numbers)
        table = torch.randperm(blocks * BLOCK, generator=numbers)[: rows * longest].view(rows, longest)
        step = StepInput(
            torch.randint(2, 90, (rows,), generator=numbers),
            at,
            table[torch.arange(rows), at],
            torch.arange(rows),
            num_decodes=rows,
            decode_slots=table,
        )
        expected = plain.forward(step, caches[0])
        torch.testing.assert_close(padded.forward(step, caches[1]), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(caches[1].keys[:, :, :-1], caches[0].keys, rtol=1e-5, atol=1e-5)


def answers(decoder: Decoder | GraphedDecoder, **limits: int) -> list[list[int]]:
    harness = Harness(decoder=decoder, max_num_batched_tokens=40, max_num_seqs=16, **limits)
    return harness.answers(some_prompts(12, seed=5), max_tokens=20)


def test_an_engine_on_graphs_answers_the_same() -> None:
    """Prefills in chunks, and preemptions."""
    made = graphed()
    assert answers(made, num_blocks=40) == answers(tiny_decoder(), num_blocks=40)
    assert made.failure is None


def test_a_graph_is_captured_once_per_shape() -> None:
    shapes = []

    def counted(run: Run) -> Run:
        shapes.append(run().shape[0])
        return run

    answers(graphed(counted))
    assert len(shapes) == len(set(shapes)) > 1  # one width here
    assert set(shapes) <= set(SIZES)


def test_what_cannot_be_captured_runs_eagerly() -> None:
    tried = []

    def broken(run: Run) -> Run:
        tried.append(run)
        if len(tried) > 1:
            raise RuntimeError("no\n memory")
        return run

    made = graphed(broken)
    assert answers(made) == answers(tiny_decoder())
    assert len(tried) == 2
    assert made.failure == "no memory"


def test_another_cache_gets_graphs_of_its_own() -> None:
    made = graphed()
    assert answers(made) == answers(made)


@pytest.mark.gpu
def test_cuda_graphs_answer_as_eager_steps_do() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    config, weights = tiny_weights()
    there = {name: weight.cuda() for name, weight in weights.items()}
    decoder = Decoder(config, there)
    made = GraphedDecoder(decoder, cuda_capture())
    assert answers(made) == answers(decoder)
    assert made.failure is None
