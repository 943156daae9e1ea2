"""Step-time lookups per second of the compiled model, in bulk, for data sheet, measured and pool step times.

python benchmarks/lookups.py
"""

from __future__ import annotations

import platform
import time

from hasten.core.batch import Chunk
from hasten.core.request import Request
from hasten.deployment import Deployment

DEPLOYMENTS = (
    ("llama-3.1-8b", "h100-sxm", "analytical"),
    ("llama-3.1-8b", "h100-sxm", "table"),
    ("llama-3.1-8b", "rtx-pro-6000", "auto"),
    ("llama-3.1-8b", "mi300x", "pool"),
)
LOOKUPS = 80_000
REPEATS = 15


def main() -> None:
    """Print lookups per second, the best of a few repeats, for decode-only and mixed steps."""
    print(f"Python {platform.python_version()}, {platform.machine()}, {LOOKUPS:,} lookups, best of {REPEATS}")
    batches = [(n, n * context) for n in (1, 8, 64, 128) for context in (100, 1000, 4000, 16_000)]
    chunks = [Chunk(Request(0, 0.0, 1, 1), 256, 128, True)]
    for model, device, source in DEPLOYMENTS:
        cost = Deployment.of(model, device, step_times=source).cost
        decode, mixed = cost.decode_line, cost.mixed
        best = [0.0, 0.0]
        for _ in range(REPEATS):
            start = time.process_time()
            for _ in range(LOOKUPS // len(batches)):
                for n, total in batches:
                    decode(n, total)
            middle = time.process_time()
            for _ in range(LOOKUPS // len(batches)):
                for n, total in batches:
                    mixed(chunks, n, total)
            rates = LOOKUPS / (middle - start), LOOKUPS / (time.process_time() - middle)
            best = [max(pair) for pair in zip(best, rates, strict=True)]
        print(f"{model} on {device}, {source}: decode {best[0] / 1e6:.1f} M/s, mixed {best[1] / 1e6:.2f} M/s")


if __name__ == "__main__":
    main()
