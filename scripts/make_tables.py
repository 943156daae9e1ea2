"""Pack the measured tables of src/hasten/latency/tables/data from the upstream files.

    scripts/make_tables.py --layers FOLDER       FOLDER holds `profiles` of LLMServingSim (see the README there)

Times in the packed files are microseconds.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import zipfile
from collections import defaultdict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).resolve().parent.parent / "src" / "hasten" / "latency" / "tables" / "data"
LAYERS_SOURCE = (
    "casys-kaist/LLMServingSim, commit 5daddb21a545658d5150b535712d0494584b5278, profiler/perf; MIT"
)

#: Folder upstream -> (device, model with the same shape).
BUNDLES = {
    "RTX4090/meta-llama/Llama-3.1-8B": ("rtx-4090", "llama-3.1-8b"),
    "RTXPRO6000/meta-llama/Llama-3.1-8B": ("rtx-pro-6000", "llama-3.1-8b"),
    "RTXPRO6000/Qwen/Qwen3-32B": ("rtx-pro-6000", "qwen3-32b"),
    "RTXPRO6000/Qwen/Qwen3-30B-A3B-Instruct-2507": ("rtx-pro-6000", "qwen3-30b-a3b-2507"),
}

#: Chunks and contexts of the coarse grid, on which every combination was measured.
CHUNKS = (16, 32, 64, 128, 256, 512, 1024, 2048)
PASTS = (0, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
LONGEST_PAST = 2048  # tokens behind which a prefill still tells what decodes cost beside it


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def curves(path: Path, unit: str) -> dict[str, Any]:
    """Times of layers by tokens or sequences: one array per layer and the common axis."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for row in read(path):
        found[row["layer"]][int(row[unit])] = float(row["time_us"])
    axis = sorted(next(iter(found.values())))
    arrays: dict[str, Any] = {unit: np.array(axis, dtype=np.int32)}
    for layer, times in found.items():
        arrays[f"{unit}_{layer}"] = np.array([times[each] for each in axis], dtype=np.float32)
    return arrays


def attention(path: Path) -> dict[str, Any]:
    """Prefill by (chunk, past), decode by (n, context), and what decodes add beside a prefill.

    The last is the median over the prefills' past (up to LONGEST_PAST) of the time of the mixed batch minus
    that of the prefill alone; it hardly depends on that past.
    """
    times: dict[tuple[int, ...], float] = {}
    for row in read(path):
        key = tuple(int(row[name]) for name in ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode"))
        times[key] = float(row["time_us"])
    prefill = {(c, p): t for (c, p, n, _), t in times.items() if n == 0}
    decode = {(n, k): t for (c, _, n, k), t in times.items() if c == 0}
    beside: dict[tuple[int, int, int], list[float]] = defaultdict(list)
    for (c, p, n, k), t in times.items():
        if c and n and p <= LONGEST_PAST and (c, p) in prefill:
            beside[c, n, k].append(t - prefill[c, p])
    sequences = sorted({n for n, _ in decode})
    mixed_sequences = sorted({n for _, n, _ in beside})
    contexts = sorted({k for _, k in decode})
    return {
        "chunks": np.array(CHUNKS, dtype=np.int32),
        "pasts": np.array(PASTS, dtype=np.int32),
        "prefill": np.array([[prefill[c, p] for p in PASTS] for c in CHUNKS], dtype=np.float32),
        "decode_sequences": np.array(sequences, dtype=np.int32),
        "contexts": np.array(contexts, dtype=np.int32),
        "decode": np.array([[decode[n, k] for k in contexts] for n in sequences], dtype=np.float32),
        "mixed_sequences": np.array(mixed_sequences, dtype=np.int32),
        "mixed": mixed_grid(beside, mixed_sequences, contexts),
    }


def mixed_grid(
    beside: dict[tuple[int, int, int], list[float]], sequences: list[int], contexts: list[int]
) -> Any:
    """Extra time of n decodes at a context beside a chunk: [chunk, n, context], gaps filled.

    Contexts of the finer grid were measured with other chunks: interpolated over the log of the chunk, and
    beyond the largest of those over the log of the context.
    """
    grid = np.full((len(CHUNKS), len(sequences), len(contexts)), np.nan)
    for i, n in enumerate(sequences):
        for j, context in enumerate(contexts):
            known = sorted((c, np.median(t)) for (c, m, k), t in beside.items() if m == n and k == context)
            if not known:
                continue
            sizes = np.log2([c for c, _ in known])
            # A short prefill may hide behind the decodes: never less than nothing is added.
            values = np.interp(np.log2(CHUNKS), sizes, [max(0.01, t) for _, t in known])
            inside = np.log2(CHUNKS) <= sizes[-1]
            grid[inside, i, j] = values[inside]
    places = np.log2(contexts)
    for row in grid.reshape(-1, len(contexts)):
        gaps = np.isnan(row)
        row[gaps] = np.exp2(np.interp(places[gaps], places[~gaps], np.log2(row[~gaps])))
    return grid.astype(np.float32)


def experts(path: Path) -> dict[str, Any]:
    """Times of a layer's experts by tokens and experts visited; NaN where no such batch exists."""
    times = {(int(row["tokens"]), int(row["activated_experts"])): float(row["time_us"]) for row in read(path)}
    tokens, visited = sorted({t for t, _ in times}), sorted({e for _, e in times})
    return {
        "expert_tokens": np.array(tokens, dtype=np.int32),
        "expert_visited": np.array(visited, dtype=np.int32),
        "experts": np.array([[times.get((t, e), np.nan) for e in visited] for t in tokens], dtype=np.float32),
    }


def layers(folder: Path) -> None:
    """Pack every bundle of layer profiles."""
    for bundle, (device, model) in BUNDLES.items():
        for part in sorted((folder / "profiles" / bundle / "bf16").glob("tp*")):
            arrays = curves(part / "dense.csv", "tokens") | curves(part / "per_sequence.csv", "sequences")
            arrays |= attention(part / "attention.csv")
            if (part / "moe.csv").exists():
                arrays |= experts(part / "moe.csv")
            elif "a3b" in model:
                continue  # experts were profiled for tp 1 only
            about = {
                "device": device,
                "model": model,
                "tp": int(part.name.removeprefix("tp")),
                "dtype": "bf16",
                "engine": "vllm 0.19.0",
                "source": f"{LAYERS_SOURCE}: {bundle}",
            }
            arrays["about"] = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
            name = f"layers-{device}-{model}-{part.name}.npz"
            print(name, write(DATA / name, arrays))
    shutil.copyfile(folder / "LICENSE.txt", DATA / "LICENSE-llmservingsim.txt")


def write(path: Path, arrays: dict[str, Any]) -> int:
    """A compressed npz with fixed dates, so that the same input gives the same bytes; returns its size."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            buffer = BytesIO()
            np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue(), zipfile.ZIP_DEFLATED)
    return path.stat().st_size


def main() -> int:
    """Write what was asked for; print sizes in bytes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--layers", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    if args.layers:
        layers(args.layers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
