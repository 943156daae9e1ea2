"""Greedy tokens do not depend on company, chunks, cache hits or preemptions."""

import pytest
from tests.engine.engines import BLOCK, Harness, some_prompts

from hasten.engine.policies import Policies
from hasten.policies import policy_names

PROMPTS = some_prompts(32, seed=11)
TOKENS = 24


@pytest.fixture(scope="module")
def alone() -> list[list[int]]:
    """Every answer, computed with nobody else in the engine and without a cache."""
    answers = []
    harness = Harness(prefix_caching=False)
    for prompt in PROMPTS:
        answers += harness.answers([prompt], TOKENS)
    assert len({tuple(answer) for answer in answers}) > 20  # the model says different things
    return answers


def test_in_a_batch_of_32(alone: list[list[int]]) -> None:
    harness = Harness(max_num_seqs=32)
    assert harness.answers(PROMPTS, TOKENS) == alone
    assert harness.engine.steps == TOKENS


def test_with_chunked_prefill(alone: list[list[int]]) -> None:
    harness = Harness(max_num_seqs=8, max_num_batched_tokens=13)
    assert harness.answers(PROMPTS, TOKENS) == alone
    assert harness.engine.steps > 100


def test_with_prefix_hits(alone: list[list[int]]) -> None:
    harness = Harness()
    harness.answers([prompt[: len(prompt) // 2] for prompt in PROMPTS], 3)
    assert harness.answers(PROMPTS, TOKENS) == alone
    assert harness.engine.scheduler.prompt_tokens_cached > 20 * BLOCK
    again = harness.engine.scheduler.prompt_tokens_cached
    assert harness.answers(PROMPTS, TOKENS) == alone
    assert harness.engine.scheduler.prompt_tokens_cached > again + 60 * BLOCK


def test_with_a_prefix_shared_in_the_same_step(alone: list[list[int]]) -> None:
    harness = Harness()
    twice = [prompt for prompt in PROMPTS[:10] for _ in range(2)]
    assert harness.answers(twice, TOKENS) == [answer for answer in alone[:10] for _ in range(2)]
    assert harness.engine.scheduler.prompt_tokens_cached > 0


@pytest.mark.parametrize("caching", [True, False])
def test_with_preemption(caching: bool, alone: list[list[int]]) -> None:
    harness = Harness(num_blocks=30, max_num_seqs=12, max_num_batched_tokens=64, prefix_caching=caching)
    assert harness.answers(PROMPTS, TOKENS) == alone
    assert harness.engine.scheduler.num_preemptions > 5


@pytest.mark.parametrize("name", policy_names("schedule"))
def test_under_every_schedule_policy(name: str, alone: list[list[int]]) -> None:
    policies = Policies.named({"schedule": name, "length": "mean"})
    harness = Harness(num_blocks=40, max_num_seqs=10, max_num_batched_tokens=48, policies=policies)
    assert harness.answers(PROMPTS, TOKENS) == alone
