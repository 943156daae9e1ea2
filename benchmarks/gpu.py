"""Decode tokens per second on a GPU: our engine with graphs and without, transformers, and the memory floor.

    pip install -e .[engine,reference]
    python benchmarks/gpu.py [--shapes llama-1b,llama-8b] [--timings timings.csv]

Random weights in bf16, 176 prompt tokens and 32 more, as `engine.py` does on a CPU; the scheduler is included. The
floor: weights that a step reads, and the KV of its mean context, over what the device's memory is measured to copy.
--timings writes the time of each step that was measured, for `hasten calibrate MODEL --device NAME timings.csv`.

--device cpu and --shapes tiny try the script where there is no GPU; their numbers say nothing.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from pathlib import Path
from typing import Any

import torch
from engine_peers import generated, random_model

from engine import LLAMA, OUTPUT, PROMPT, configured, random_weights, serve
from hasten.engine.arithmetic import Arithmetic, make_decoder
from hasten.engine.checkpoint import expected
from hasten.engine.config import ModelConfig

BATCHES = (1, 8, 32, 128)
ROUNDS = 3  # the best counts
SHAPES: dict[str, dict[str, Any]] = {
    "llama-1b": LLAMA
    | {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32}
    | {"num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256, "max_position_embeddings": 2048}
    | {"tie_word_embeddings": True, "rms_norm_eps": 1e-5, "rope_theta": 500000.0},
    "llama-8b": LLAMA
    | {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32}
    | {"num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256, "max_position_embeddings": 2048}
    | {"tie_word_embeddings": False, "rms_norm_eps": 1e-5, "rope_theta": 500000.0},
    "tiny": LLAMA
    | {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    | {"num_key_value_heads": 2, "head_dim": 16, "vocab_size": 40960, "max_position_embeddings": 2048}
    | {"tie_word_embeddings": True, "rms_norm_eps": 1e-5, "rope_theta": 10000.0},
}


def bandwidth(device: torch.device) -> float:
    """Bytes per second that a copy reads and writes."""
    size = 1 << (30 if device.type == "cuda" else 26)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target, best = torch.empty_like(source), float("inf")
    for _ in range(10):
        wait(device)
        start = time.perf_counter()
        target.copy_(source)
        wait(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size / best


def wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def step_bytes(config: ModelConfig, batch: int) -> int:
    """What a decode step in bf16 has to read: the weights, without the embedding unless it is the head, and KV."""
    weights = sum(torch.Size(shape).numel() for shape in expected(config).values())
    if not config.tied:
        weights -= config.vocab * config.hidden
    return 2 * (weights + batch * (PROMPT + OUTPUT // 2) * config.kv_elements)


def ours(
    config: ModelConfig, device: torch.device, *, eager: bool
) -> tuple[dict[int, float], dict[int, float]]:
    """Seconds of a decode step, and of a prefill of all prompts, by batch."""
    weights = random_weights(config, dtype=torch.bfloat16, device=device)
    model = make_decoder(config, weights, Arithmetic("bfloat16", "torch", ""), positions=2048, eager=eager)
    del weights
    decode = dict.fromkeys(BATCHES, float("inf"))
    prefill = dict(decode)
    for batch in BATCHES:
        serve(model, batch, OUTPUT)  # kernels are chosen, graphs captured
        for _ in range(ROUNDS):
            begun, ran, _ = serve(model, batch, OUTPUT)
            decode[batch] = min(decode[batch], ran / OUTPUT)
            prefill[batch] = min(prefill[batch], begun)
    return decode, prefill


@torch.inference_mode()
def theirs(shape: str, device: torch.device) -> dict[int, float]:
    """Seconds of a decode step by transformers in bf16, with its own KV cache, greedy."""
    model, found = random_model(SHAPES[shape], dtype=torch.bfloat16, device=device), {}
    for batch in BATCHES:
        best = float("inf")
        for _ in range(ROUNDS):
            _, seconds = generated(model, batch, PROMPT, OUTPUT, lambda: wait(device))
            best = min(best, seconds / OUTPUT)
        found[batch] = best
    return found


def measure(shape: str, device: torch.device, speed: float) -> list[dict[str, float]]:
    """Print the table of a shape. Returns the steps that were timed with graphs, as `hasten calibrate` reads them."""
    config = configured(SHAPES[shape] | {"dtype": "bfloat16"})
    columns: dict[str, dict[int, float]] = {}
    columns["graphs"], prefill = ours(config, device, eager=False)
    columns["eager"], _ = ours(config, device, eager=True)
    columns["transformers"] = theirs(shape, device)
    floor = {batch: step_bytes(config, batch) / speed for batch in BATCHES}
    print(f"{shape}, decode, tokens/s (share of the memory floor)")
    print(f"{'batch':>6}{'floor':>12}" + "".join(f"{name:>20}" for name in columns))
    for batch in BATCHES:
        cells = [
            f"{batch / found[batch]:>12,.0f} ({floor[batch] / found[batch]:>4.0%})".rjust(20)
            for found in columns.values()
        ]
        print(f"{batch:>6}{batch / floor[batch]:>12,.0f}" + "".join(cells))
    print(flush=True)
    context = PROMPT + OUTPUT // 2
    decodes = [
        {"decodes": batch, "context": context, "prefill_tokens": 0, "ms": 1e3 * seconds}
        for batch, seconds in columns["graphs"].items()
    ]
    return [*decodes, {"decodes": 0, "context": 0, "prefill_tokens": PROMPT, "ms": 1e3 * prefill[1]}]


def main() -> int:
    """Measure every shape."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shapes", default="llama-1b,llama-8b", help=f"from {','.join(SHAPES)}")
    parser.add_argument("--timings", type=Path, help="write step times here (.csv), of one shape")
    args = parser.parse_args()
    shapes = args.shapes.split(",")
    if args.timings is not None and len(shapes) > 1:
        parser.error("--timings belong to one shape: give --shapes one name")
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("no GPU here: --device cpu --shapes tiny tries the script")
    speed = bandwidth(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}: {speed / 1e9:,.0f} GB/s copied; torch {torch.__version__}\n")
    for shape in shapes:
        rows = measure(shape, device, speed)
    if args.timings is not None:
        with args.timings.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
