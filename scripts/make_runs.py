"""Pack the recorded runs of src/hasten/accuracy/runs from the upstream files.

    scripts/make_runs.py FOLDER    FOLDER holds `real_runs` and `workloads` of LLMServingSim (see the README there)

Times become seconds relative to the first arrival; token ids never enter, only ids of their 16-token blocks.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from make_tables import write

RUNS = Path(__file__).resolve().parent.parent / "src" / "hasten" / "accuracy" / "runs"
COMMIT = "5daddb21a545658d5150b535712d0494584b5278"

#: Name here -> (folder upstream, workload, model, device).
UPSTREAM = {
    "llama-3.1-8b-rtx-4090": (
        "RTX4090/Llama-3.1-8B",
        "sharegpt-llama-3.1-8b-300-sps10",
        "llama-3.1-8b",
        "rtx-4090",
    ),
    "llama-3.1-8b-rtx-pro-6000": (
        "RTXPRO6000/Llama-3.1-8B",
        "sharegpt-llama-3.1-8b-300-sps10",
        "llama-3.1-8b",
        "rtx-pro-6000",
    ),
    "qwen3-30b-a3b-rtx-pro-6000-dp2": (
        "RTXPRO6000/Qwen3-30B-A3B-Instruct-2507",
        "sharegpt-qwen3-30b-a3b-300-sps10",
        "qwen3-30b-a3b-2507",
        "rtx-pro-6000",
    ),
}


def about(folder: Path, run: str, model: str, device: str) -> dict[str, Any]:
    """What was run and where the record comes from."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    given = meta["engine_kwargs"]
    dp = given["data_parallel_size"]
    keep = ("max_num_seqs", "max_num_batched_tokens", "max_model_len")
    return {
        "model": model,
        "device": device,
        "engine": f"vllm-{meta['vllm_version'].rpartition('.')[0]}",
        "tp": given["tensor_parallel_size"],
        "dp": dp,
        "ep": dp if given["enable_expert_parallel"] else 1,
        "settings": {name: given[name] for name in keep if given[name] is not None},
        "kv_cache_tokens": meta.get("kv_cache", {}).get("num_kv_tokens"),
        "recorded": meta["started_at"],
        "origin": f"casys-kaist/LLMServingSim, commit {COMMIT}, bench/{run}; MIT",
        "rival": "LLMServingSim 2.0",
    }


def columns(folder: Path, workload: Path) -> dict[str, Any]:
    """Arrays of one run: integers in microseconds, tokens and block ids (as differences)."""
    rows = [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]
    blocks = [json.loads(line)["block16_ids"] for line in workload.read_text().splitlines()]
    start = min(row["arrival_time"] for row in rows)
    # Two clocks, wall and monotonic: the request drained fastest sets the difference.
    shift = min(row["queued_ts"] - row["arrival_time"] for row in rows)
    found: dict[str, Any] = {"arrival_us": micro([row["arrival_time"] - start for row in rows])}
    for name in ("queued", "scheduled", "first_token", "last_token"):
        found[f"{name}_us"] = micro([row[f"{name}_ts"] - shift - start for row in rows])
    found["prompt_tokens"] = np.array([row["input_toks"] for row in rows], dtype=np.int32)
    found["output_tokens"] = np.array([row["output_toks"] for row in rows], dtype=np.int32)
    found["num_blocks"] = np.array([len(ids) for ids in blocks], dtype=np.int32)
    flat = np.array([each for ids in blocks for each in ids], dtype=np.int64)
    found["block_steps"] = np.diff(flat, prepend=0).astype(np.int32)
    with (folder / "llmservingsim_prediction.csv").open(newline="") as file:
        rival = {int(row["request id"]): row for row in csv.DictReader(file)}
    for name, key in (("rival_ttft_us", "TTFT"), ("rival_e2e_us", "latency"), ("rival_end_us", "end_time")):
        found[name] = np.array([round(int(rival[i][key]) / 1000) for i in range(len(rows))], dtype=np.int64)
    return found


def micro(seconds: list[float]) -> Any:
    """Whole microseconds."""
    return np.round(np.array(seconds) * 1e6).astype(np.int64)


def main() -> int:
    """Write every run; print its size in bytes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for name, (run, workload, model, device) in UPSTREAM.items():
        source = folder / "real_runs" / run
        facts = json.dumps(about(source, run, model, device)).encode()
        arrays = columns(source, folder / "workloads" / f"{workload}.jsonl")
        arrays["about"] = np.frombuffer(facts, dtype=np.uint8)
        print(name, write(RUNS / f"{name}.npz", arrays))
    shutil.copyfile(folder / "LICENSE.txt", RUNS / "LICENSE-llmservingsim.txt")
    return 0


if __name__ == "__main__":
    sys.exit(main())
