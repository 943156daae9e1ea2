"""`hasten serve` with steps of a planted duration: what queues, batches, front end, client and probing add to a step.

    python benchmarks/timed_serve.py DIR [flags of `hasten serve`]
    python benchmarks/truth.py --planted

A step lasts what the data sheet of the built-in CPU says of the checkpoint in DIR under the COEFFICIENTS below, kept by
sleeping: it computes nothing, so that the pace of the machine hardly matters, and a calibration that finds the
coefficients is right. Every token is the same.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from hasten.calibration.model import blank
from hasten.cli import main
from hasten.deployment import Deployment
from hasten.engine import build
from hasten.engine.config import ModelConfig
from hasten.engine.model import KVCache, StepInput
from hasten.latency.calibration import Coefficients

COEFFICIENTS = Coefficients(
    memory=1.5, kv=1.3, compute=3.0, step_seconds=0.020, mixed_seconds=0.004, sequence_seconds=0.0003
)
TOKEN = 65


class Planted:
    """Stands where a model stands, on the deployment of `checkpoint`."""

    dtype_name = "float32"
    kernels = "none: steps of a planted duration"
    device = torch.device("cpu")
    kv_dtype = torch.float32

    def __init__(self, checkpoint: Path, config: ModelConfig) -> None:
        deployment = Deployment.of(str(checkpoint), "cpu", engine="hasten")
        calibration = replace(blank(deployment), coefficients=COEFFICIENTS)
        self.config = config
        self._model = replace(deployment, calibration=calibration).latency

    def cache(self, num_blocks: int, block_size: int) -> KVCache:
        """No KV is kept."""
        return KVCache(self.config, 1, dtype=self.kv_dtype, device=self.device)

    def largest(self, step: StepInput, cache: KVCache) -> list[int]:
        """One token per row, after the time that the step takes."""
        begin = time.perf_counter()
        chunks = [(chunk.stop - chunk.start, chunk.context) for chunk in step.chunks]
        context = int(step.positions[: step.num_decodes].sum())
        lasts = self._model.step_time(chunks, step.num_decodes, context).seconds
        time.sleep(max(0.0, lasts - (time.perf_counter() - begin)))
        return [TOKEN] * step.rows.numel()

    def forward(self, step: StepInput, cache: KVCache) -> torch.Tensor:
        """The same as logits."""
        scores = torch.zeros(step.rows.numel(), self.config.vocab)
        scores[:, self.largest(step, cache)] = 1.0
        return scores


def planted(config: ModelConfig, *_: object, **__: object) -> Planted:
    """In place of `make_decoder`."""
    return Planted(Path(sys.argv[1]), config)


if __name__ == "__main__":
    build.make_decoder = planted  # type: ignore[assignment]
    sys.exit(main(["serve", *sys.argv[1:]]))
