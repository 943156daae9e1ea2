"""Pack operator tables of devices of which products alone were timed: A6000, RTX 3090 (LLMServingSim) and A40 (Vidur).

    scripts/make_product_tables.py --layers FOLDER --vidur FOLDER

FOLDER holds `profiles_v0` of LLMServingSim and `compute` of Vidur (see src/hasten/latency/tables/data/README.md). Kept
are matrix products (16 bits) at the shapes of a few models; norms and other small kernels are those of another
framework, and the attention of A6000 does not say whether its contexts are one sequence's or the sum. Token counts are
thinned by a fixed rule: all up to 16, then every eighth up to 256, then every 64th.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from make_operator_tables import store
from make_tables import DATA, LAYERS_SOURCE, write

VIDUR_SOURCE = (
    "microsoft/vidur, commit 7d47513363ec447a741ac5e47241580b47724fbf, data/profiling/compute/a40; MIT"
)
LLAMA = "meta-llama/Llama-3.1-8B"
HIDDEN, INNER, VOCAB, KV_WIDTH = 4096, 14336, 128256, 1024  # of that model

#: Layer -> (outputs, inputs).
PRODUCTS = {
    "q_proj": (HIDDEN, HIDDEN),
    "k_proj": (KV_WIDTH, HIDDEN),
    "gate_proj": (INNER, HIDDEN),
    "down_proj": (HIDDEN, INNER),
    "lm_head": (VOCAB, HIDDEN),
}

Times = dict[tuple[int, ...], list[float]]


def is_kept(tokens: int) -> bool:
    """Whether a token count is kept."""
    return tokens <= 16 or (tokens <= 256 and tokens % 8 == 0) or tokens % 64 == 0


def rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def layers(path: Path) -> Times:
    """Products (m, n, k) of one model's layers, in milliseconds."""
    found: Times = defaultdict(list)
    for row in rows(path):
        tokens = int(row["input"])
        if row["layer_name"] in PRODUCTS and is_kept(tokens):
            found[(tokens, *PRODUCTS[row["layer_name"]])].append(float(row["latency(ns)"]) * 1e-6)
    return found


def vidur(folder: Path) -> Times:
    """Products (m, n, k) of the models timed, by how many devices share them, in milliseconds."""
    found: Times = defaultdict(list)
    for path in sorted(folder.glob("*/*/mlp.csv")):
        for row in rows(path):
            tokens, tp = int(row["num_tokens"]), int(row["num_tensor_parallel_workers"])
            if not is_kept(tokens):
                continue
            hidden, heads, shared = (int(row[name]) for name in ("n_embd", "n_head", "n_kv_head"))
            inner = int(row["n_expanded_embd"]) // tp
            size = hidden // heads
            shapes = {
                "attn_pre_proj": ((heads + 2 * max(shared, tp)) // tp * size, hidden),
                "attn_post_proj": (hidden, hidden // tp),
                "mlp_up_proj": ((2 if row["use_gated_mlp"] == "True" else 1) * inner, hidden),
                "mlp_down_proj": (hidden, inner),
            }
            for name, shape in shapes.items():
                found[(tokens, *shape)].append(float(row[f"time_stats.{name}.median"]))
    return found


def main() -> int:
    """Write one file per device; print sizes in bytes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--layers", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--vidur", type=Path, required=True, metavar="FOLDER")
    args = parser.parse_args()
    found = {}
    for name, device in (("A6000", "a6000"), ("RTX3090", "rtx-3090")):
        times = layers(args.layers / "profiles_v0" / name / LLAMA / "tp1" / "layers.csv")
        found[device] = times, f"{LAYERS_SOURCE.replace('profiler/perf', f'older profiler, {name}')}"
    found["a40"] = vidur(args.vidur / "compute" / "a40"), VIDUR_SOURCE
    for device, (times, source) in found.items():
        arrays: dict[str, Any] = {}
        store(arrays, "gemm-bf16", {shape: statistics.median(each) for shape, each in times.items()})
        about = {"device": device, "engine": "vllm", "source": source}
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
        print(device, write(DATA / f"operators-{device}.npz", arrays))
    shutil.copyfile(args.vidur / "LICENSE.txt", DATA / "LICENSE-vidur.txt")
    return 0


if __name__ == "__main__":
    sys.exit(main())
