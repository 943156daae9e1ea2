"""Engines over tiny random models, for tests: no files, no tokenizer."""

import itertools
import random
from functools import cache
from typing import Any

import torch

from hasten.core.limits import Limits
from hasten.core.request import Request
from hasten.engine.blocks import BlockNames
from hasten.engine.checkpoint import expected
from hasten.engine.config import ModelConfig
from hasten.engine.driver import Engine
from hasten.engine.executor import Model, TorchExecutor
from hasten.engine.model import Decoder
from hasten.engine.policies import Policies
from hasten.engine.recording import Recorder, Recording
from hasten.engine.sampling import Chooser, SamplingParams
from hasten.engine.sequence import Output, Sequence

GREEDY = SamplingParams(temperature=0.0, ignore_eos=True)
BLOCK = 8
VOCAB = 96
END = 1


def tiny_weights(layers: int = 2, seed: int = 3) -> tuple[ModelConfig, dict[str, torch.Tensor]]:
    config = ModelConfig(
        "LlamaForCausalLM",
        32,
        48,
        4,
        2,
        head_dim=8,
        vocab=VOCAB,
        windows=(None,) * layers,
        max_context=512,
        eos=(END,),
    )
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.ones(shape) if "norm" in name else torch.randn(shape, generator=generator) * 0.25
        for name, shape in expected(config).items()
    }
    return config, weights


@cache
def tiny_decoder(layers: int = 2, seed: int = 3) -> Decoder:
    return Decoder(*tiny_weights(layers, seed))


class Harness:
    """An engine, and a way to ask it for tokens."""

    def __init__(
        self,
        *,
        num_blocks: int = 400,
        policies: Policies | None = None,
        record: bool = False,
        decoder: Model | None = None,
        **limits: Any,
    ) -> None:
        made = Limits(num_blocks, block_size=BLOCK, **{"max_model_len": 512, "max_num_seqs": 64} | limits)
        self.executor = TorchExecutor(decoder or tiny_decoder(), num_blocks, BLOCK)
        self.recording = Recording(made) if record else None
        recorder = None if self.recording is None else Recorder(self.recording.turns.append)
        self.engine = Engine(self.executor, made, policies, recorder=recorder)
        self.outputs: dict[int, list[Output]] = {}
        self._ids = itertools.count()

    def submit(
        self, prompt: list[int], max_tokens: int = 16, params: SamplingParams = GREEDY, **fields: Any
    ) -> Sequence:
        """Queue a prompt."""
        number = next(self._ids)
        names = BlockNames(BLOCK)
        request = Request(
            number,
            0.0,
            len(prompt),
            max_tokens,
            block_ids=names.of(prompt),
            block_tokens=BLOCK,
            **fields,
        )
        ends = () if params.ignore_eos else (END, *params.stop_token_ids)
        told = self.outputs[number] = []
        sequence = Sequence(
            request,
            list(prompt),
            Chooser(params, prompt, ends, seed=number),
            told.append,
            ends=frozenset(ends),
            names=names,
        )
        self.engine.submit(sequence)
        return sequence

    def finish(self) -> None:
        """Run until all is done, checking the physical blocks after every turn."""
        while self.engine.num_unfinished or self.engine.scheduler.in_flight:
            if not self.engine.turn():
                self.engine.wait(0.01)
            self.engine.tables.check()

    def answers(self, prompts: list[list[int]], max_tokens: int = 16, **fields: Any) -> list[list[int]]:
        """The answers to `prompts`, sent all at once."""
        sequences = [self.submit(prompt, max_tokens, **fields) for prompt in prompts]
        self.finish()
        return [sequence.answer for sequence in sequences]


def some_prompts(count: int, seed: int, low: int = 3, high: int = 60) -> list[list[int]]:
    """Random prompts."""
    numbers = random.Random(seed)
    return [[numbers.randrange(2, VOCAB) for _ in range(numbers.randint(low, high))] for _ in range(count)]
