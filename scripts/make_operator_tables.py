"""Pack the operator tables of src/hasten/latency/tables/data from AIConfigurator's parquet files.

    scripts/make_operator_tables.py FOLDER    FOLDER holds one folder of parquet files per system

Kept: matrix products of bf16 and fp8, attention with 64 or 128 elements per head and no window (prefill of single
prompts, decode), expert layers with one expert-parallel rank, collectives. Times are stored as 1024 log2
(microseconds) in 16 bits, 0.07 % apart; where several kernels were timed, the fastest counts.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from make_tables import DATA, write

SYSTEMS = {
    "a100_sxm": "a100-sxm-80g",
    "h100_sxm": "h100-sxm",
    "h200_sxm": "h200-sxm",
    "b200_sxm": "b200-sxm",
    "l40s": "l40s",
    "rtx_pro_6000_server": "rtx-pro-6000",
}
SOURCE = "ai-dynamo/aiconfigurator 0.12.0 (PyPI aiconfigurator-core), NVIDIA; Apache-2.0"
DTYPES = {"bfloat16": "bf16", "fp8": "fp8"}
ROUTING = "power_law_1.01"
UNKNOWN = -32768


def rows(folder: Path, stem: str) -> list[dict[str, Any]]:
    """All rows of the file that starts with ``stem``."""
    (path,) = folder.glob(f"{stem}*.parquet")
    found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return found


def grid(times: dict[tuple[int, ...], float]) -> tuple[list[Any], Any]:
    """Axes and packed times of a table by whole numbers."""
    axes = [sorted({key[i] for key in times}) for i in range(len(next(iter(times))))]
    packed = np.full([len(axis) for axis in axes], UNKNOWN, dtype=np.int16)
    places = [{value: i for i, value in enumerate(axis)} for axis in axes]
    for key, milliseconds in times.items():
        at = tuple(place[value] for place, value in zip(places, key, strict=True))
        packed[at] = round(1024 * np.log2(milliseconds * 1e3))
    return [np.array(axis, dtype=np.int64) for axis in axes], packed


def store(arrays: dict[str, Any], name: str, times: dict[tuple[int, ...], float]) -> None:
    """Add a table: its times under ``name``, its axes under ``name.0``, ``name.1`` ..."""
    if not times:
        return
    axes, arrays[name] = grid(times)
    for i, axis in enumerate(axes):
        arrays[f"{name}.{i}"] = axis.astype(np.int32 if axis.max() < 2**31 else np.int64)


def fastest(
    found: dict[Any, dict[tuple[int, ...], float]], name: Any, key: tuple[int, ...], time: float
) -> None:
    """Keep the fastest of several kernels."""
    if time > 0.0:
        found[name][key] = min(time, found[name].get(key, time))


def products(folder: Path) -> dict[Any, dict[tuple[int, ...], float]]:
    """Matrix products by dtype: (m, n, k)."""
    found: dict[Any, dict[tuple[int, ...], float]] = defaultdict(dict)
    for row in rows(folder, "gemm"):
        if row["gemm_dtype"] in DTYPES:
            name = f"gemm-{DTYPES[row['gemm_dtype']]}"
            fastest(found, name, (row["m"], row["n"], row["k"]), row["latency"])
    return found


def attention(folder: Path, stem: str) -> dict[Any, dict[tuple[int, ...], float]]:
    """Prefill (heads, KV heads, tokens) or decode (heads, KV heads, sequences, context), by head size and cache."""
    found: dict[Any, dict[tuple[int, ...], float]] = defaultdict(dict)
    is_prefill = stem == "context_attention"
    for row in rows(folder, stem):
        if row["head_dim"] not in (64, 128) or row.get("window_size") or row["attn_dtype"] != "bfloat16":
            continue
        if (is_prefill and row["batch_size"] != 1) or row["kv_cache_dtype"] not in DTYPES:
            continue
        heads, shared = row["num_heads"], row["num_key_value_heads"]
        last = (row["isl"],) if is_prefill else (row["batch_size"], row["isl"] + row["step"])
        kind = "prefill" if is_prefill else "decode"
        name = f"{kind}-{row['head_dim']}-{DTYPES[row['kv_cache_dtype']]}"
        fastest(found, name, (heads, shared, *last), row["latency"])
    return found


def experts(folder: Path) -> dict[Any, dict[tuple[int, ...], float]]:
    """Expert layers by dtype, hidden size, experts and visited per token: (width on one device, tokens)."""
    found: dict[Any, dict[tuple[int, ...], float]] = defaultdict(dict)
    for row in rows(folder, "moe"):
        if row["moe_dtype"] in DTYPES and row["moe_ep_size"] == 1 and row["distribution"] == ROUTING:
            name = (
                f"experts-{DTYPES[row['moe_dtype']]}-{row['hidden_size']}-{row['num_experts']}-{row['topk']}"
            )
            width = row["inter_size"] // row["moe_tp_size"]
            fastest(found, name, (width, row["num_tokens"]), row["latency"])
    return found


def collectives(folder: Path) -> dict[Any, dict[tuple[int, ...], float]]:
    """Collectives by kind: (devices, bytes). All-reduce: the engine's own in a graph, or NCCL."""
    found: dict[Any, dict[tuple[int, ...], float]] = defaultdict(dict)
    for row in rows(folder, "custom_allreduce"):
        if row["backend"] == "vllm_graph":
            fastest(found, "all_reduce", (row["num_gpus"], 2 * row["message_size"]), row["latency"])
    for row in rows(folder, "nccl"):
        if row["nccl_dtype"] == "half" and row["op_name"] in ("all_reduce", "all_gather", "reduce_scatter"):
            fastest(found, row["op_name"], (row["num_gpus"], 2 * row["message_size"]), row["latency"])
    return found


def main() -> int:
    """Write one file per system; print sizes in bytes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for system, device in SYSTEMS.items():
        place = folder / system
        arrays: dict[str, Any] = {}
        parts = [
            products(place),
            attention(place, "context_attention"),
            attention(place, "generation_attention"),
        ]
        for part in (*parts, experts(place), collectives(place)):
            for name, times in part.items():
                store(arrays, name, times)
        versions = sorted(path.stem for path in place.glob("*.parquet"))
        about = {"device": device, "engine": "vllm", "files": versions, "source": SOURCE}
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
        print(device, write(DATA / f"operators-{device}.npz", arrays))
    shutil.copyfile(folder / "LICENSE", DATA / "LICENSE-aiconfigurator.txt")
    return 0


if __name__ == "__main__":
    sys.exit(main())
