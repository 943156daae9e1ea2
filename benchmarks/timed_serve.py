"""`hasten serve` with steps of a planted duration: what queues, batches, front end and client add to a step.

    python benchmarks/timed_serve.py DIR [flags of `hasten serve`]
    python benchmarks/truth.py --planted --shares 0.5,0.95 --seconds 60

A step of n sequences and p prefill tokens lasts 20 ms + n x 0.3 ms + p x 0.2 ms, kept by sleeping: it computes nothing,
so that the machine's other work hardly matters. Every token is the same.
"""

from __future__ import annotations

import sys
import time

import torch

from hasten.cli import main
from hasten.engine import build
from hasten.engine.config import ModelConfig
from hasten.engine.model import KVCache, StepInput

STEP, SEQUENCE, PREFILL = 0.020, 0.0003, 0.0002  # seconds: of any step, per sequence, per prefill token
TOKEN = 65


class Planted:
    """Stands where a model stands."""

    dtype_name = "float32"
    kernels = "none: steps of a planted duration"
    device = torch.device("cpu")
    kv_dtype = torch.float32

    def __init__(self, config: ModelConfig) -> None:
        self.config = config

    def cache(self, num_blocks: int, block_size: int) -> KVCache:
        """No KV is kept."""
        return KVCache(self.config, 1, dtype=self.kv_dtype, device=self.device)

    def largest(self, step: StepInput, cache: KVCache) -> list[int]:
        """One token per row, after the time that the step takes."""
        sequences = step.num_decodes + len(step.chunks)
        prefill = step.tokens.numel() - step.num_decodes
        time.sleep(STEP + SEQUENCE * sequences + PREFILL * prefill)
        return [TOKEN] * step.rows.numel()

    def forward(self, step: StepInput, cache: KVCache) -> torch.Tensor:
        """The same as logits."""
        scores = torch.zeros(step.rows.numel(), self.config.vocab)
        scores[:, self.largest(step, cache)] = 1.0
        return scores


def planted(config: ModelConfig, *_: object, **__: object) -> Planted:
    """In place of `make_decoder`."""
    return Planted(config)


if __name__ == "__main__":
    build.make_decoder = planted  # type: ignore[assignment]
    sys.exit(main(["serve", *sys.argv[1:]]))
