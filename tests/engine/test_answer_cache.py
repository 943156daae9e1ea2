"""Answers stay in the prefix cache: the next turn of a chat finds them, in the engine as in the core."""

import json
import random
from pathlib import Path

import pytest
from tests.engine.checkpoints import write_servable
from tests.engine.engines import BLOCK, Harness, some_prompts
from tests.engine.serving import running
from tests.engine.test_driver import is_clean

from hasten.core.policy import SchedulingPolicy
from hasten.core.request import Request
from hasten.core.scheduler import Scheduler
from hasten.engine.blocks import BlockNames
from hasten.engine.policies import Policies


def test_names_do_not_depend_on_how_a_row_grew() -> None:
    tokens = some_prompts(1, seed=2, low=100, high=100)[0]
    whole = BlockNames(BLOCK).of(tokens)
    assert len(whole) == 100 // BLOCK
    growing = BlockNames(BLOCK)
    numbers = random.Random(1)
    for cut in sorted(numbers.randrange(100) for _ in range(12)):
        assert growing.of(tokens[:cut]) == whole[: cut // BLOCK]
    assert BlockNames(BLOCK).of([*tokens[:50], 1, *tokens[51:]])[:7] == (
        *whole[:6],
        pytest.approx(0, abs=2**128),
    )
    assert BlockNames(BLOCK, "salt").of(tokens)[0] != whole[0]


@pytest.mark.parametrize("length", [3, 8, 20, 23])
def test_the_next_turn_finds_prompt_and_answer(length: int) -> None:
    """The last token of an answer has no KV yet; all full blocks before it are found, and answers stay the same."""
    harness = Harness()
    prompt = some_prompts(1, seed=5, low=length, high=length)[0]
    first = harness.submit(prompt, 30)
    harness.finish()
    following = [*prompt, *first.answer, 7, 9, 11]
    second = harness.submit(following, 10)
    harness.finish()
    assert second.request.cached == (length + 29) // BLOCK * BLOCK
    fresh = Harness(prefix_caching=False)
    assert fresh.answers([following], 10) == [second.answer]
    assert is_clean(harness)


def test_the_core_alone_finds_as_much_as_the_engine() -> None:
    """A simulated request whose names go on over its answer leaves behind what a served one does."""
    prompt = some_prompts(1, seed=5, low=21, high=21)[0]
    harness = Harness()
    first = harness.submit(prompt, 30)
    harness.finish()
    following = [*prompt, *first.answer, 7, 9, 11]
    second = harness.submit(following, 10)
    harness.finish()
    scheduler = Scheduler(harness.engine.scheduler.limits, SchedulingPolicy())
    found = []
    for row, tokens in ((prompt, 30), (following, 10)):
        names = BlockNames(BLOCK).of(following)
        request = Request(len(found), 0.0, len(row), tokens, block_ids=names, block_tokens=BLOCK)
        request.names_answer = True
        assert scheduler.add(request, 0.0)
        while scheduler.schedule(0.0) is not None:
            scheduler.complete(0.0)
        found.append(request.cached)
    assert found == [first.request.cached, second.request.cached] == [0, 48]


@pytest.mark.parametrize("schedule", ["fcfs", "static:batch_size=4", "prefill_first"])
def test_long_chats_under_pressure(schedule: str) -> None:
    """Chats grow turn by turn in a cache that is too small for them: hits, evictions, preemptions, departures."""
    policies = Policies.named({"schedule": schedule})
    harness = Harness(num_blocks=48, max_num_seqs=8, max_num_batched_tokens=48, policies=policies)
    plain = Harness(prefix_caching=False)
    numbers = random.Random(3)
    chats = some_prompts(6, seed=4, low=3, high=30)
    for _ in range(4):
        wanted = [numbers.randint(4, 30) for _ in chats]
        sequences = [harness.submit(chat, tokens) for chat, tokens in zip(chats, wanted, strict=True)]
        leaver = harness.submit(chats[0], 40)
        for _ in range(6):
            harness.engine.turn()
        harness.engine.cancel(leaver)
        harness.finish()
        for chat, tokens, sequence in zip(chats, wanted, sequences, strict=True):
            assert plain.answers([chat], tokens) == [sequence.answer]
        chats = [
            [*sequence.tokens, *some_prompts(1, seed=len(sequence.tokens))[0][:5]] for sequence in sequences
        ]
    assert harness.engine.scheduler.prompt_tokens_cached > 20 * BLOCK
    assert is_clean(harness)


def test_a_chat_over_http_hits_its_own_answer(tmp_path: Path) -> None:
    write_servable(tmp_path)
    with running(tmp_path) as server:
        messages = [{"role": "user", "content": "hello, who are you, and what do you do all day?"}]
        body = {"messages": messages, "max_tokens": 60, "temperature": 0.0, "ignore_eos": True}
        logit_bias = {
            str(token): 100 for token in range(65, 91)
        }  # letters, so that text and tokens are the same
        first = json.loads(server.ask("POST", "/v1/chat/completions", {**body, "logit_bias": logit_bias})[2])
        answer = first["choices"][0]["message"]
        messages += [
            {"role": "assistant", "content": answer["content"]},
            {"role": "user", "content": "go on"},
        ]
        second = json.loads(server.ask("POST", "/v1/chat/completions", {**body, "messages": messages})[2])
        before = first["usage"]["prompt_tokens"]
        assert second["usage"]["prompt_tokens_details"]["cached_tokens"] == (before + 59) // 16 * 16 > before
        assert server.idle()
