"""Rebuild the closed-loop points shipped in src/hasten/accuracy/points from silicon_sample.csv.

Example: python scripts/make_points.py silicon_sample.csv
"""

import argparse
import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path

POINTS = Path(__file__).resolve().parent.parent / "src" / "hasten" / "accuracy" / "points" / "inferencex.csv"

#: Models whose shape ships with the package, by their name upstream.
MODELS = {
    "meta-llama/Llama-3.1-70B": "llama-3.1-70b",
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "nvidia/Llama-3.1-8B-Instruct-FP8": "llama-3.1-8b",
    "Qwen/Qwen3-32B": "qwen3-32b",
    "Qwen/Qwen3-235B-A22B-FP8": "qwen3-235b-a22b",
    "openai/gpt-oss-120b": "gpt-oss-120b",
    "deepseek-ai/DeepSeek-V3": "deepseek-v3",
    "deepseek-ai/DeepSeek-R1": "deepseek-r1",
}
#: Deployments whose KV type is known from the benchmark's own scripts and does not contradict the queues measured.
FP8_KV = {("llama-3.1-70b", "b200-sxm", "vllm")}
#: Lengths are drawn evenly from this share of the stated ones upwards (InferenceX); NVIDIA's own runs fix them.
DRAWN, FIXED = 0.8, 1.0

COLUMNS = (
    "mode",
    "engine",
    "version",
    "model",
    "device",
    "precision",
    "kv_dtype",
    "tp",
    "ep",
    "decode_workers",
    "prefill_workers",
    "prefill_tp",
    "prefill_ep",
    "input_tokens",
    "output_tokens",
    "shortest_share",
    "concurrency",
    "ttft_ms",
    "tpot_ms",
    "measured",
)


def whole(text: str) -> int:
    """A number of a column that may be empty; 0 then."""
    return int(float(text or 0))


def points(path: Path) -> Iterator[tuple[str, ...]]:
    """Rows to keep: a known model, no data-parallel attention, each measurement once."""
    seen = set()
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            made = point(row)
            if made is not None and made not in seen:
                seen.add(made)
                yield made


def point(row: dict[str, str]) -> tuple[str, ...] | None:
    """One row in our columns; None when it can't be described by them."""
    model, is_split = MODELS.get(row["model_path"]), row["mode"] == "disagg"
    side = "decode_" if is_split else ""
    tp = whole(row[f"{side}tp_size"])
    sizes = [whole(row[f"{part}{kind}_size"]) for part in (side,) for kind in ("attention_dp", "pp")]
    if is_split:
        sizes += [whole(row["prefill_attention_dp_size"]), whole(row["prefill_pp_size"])]
    concurrency = whole(row["silicon_concurrency"] or row["batch_size"])
    if model is None or tp < 1 or max(sizes) > 1 or concurrency < 1:
        return None
    source = row["silicon_data_source"]
    date = re.search(r"measured=(\d{4}-\d\d-\d\d)", source)
    device = row["system"].replace("_", "-")
    is_drawn = "db-dump" in source or re.search(r"source_file=\d{4}-\d\d-\d\d\.csv", source)
    return (
        row["mode"],
        row["backend"],
        row["backend_version"],
        model,
        device,
        row["precision"],
        "fp8" if (model, device, row["backend"]) in FP8_KV else "auto",
        str(tp),
        str(expert_split(row, side)),
        str(whole(row["decode_num_workers"])),
        str(whole(row["prefill_num_workers"])),
        str(whole(row["prefill_tp_size"]) if is_split else 0),
        str(expert_split(row, "prefill_") if is_split else 0),
        row["isl"],
        row["osl"],
        str(DRAWN if is_drawn else FIXED),
        str(concurrency),
        f"{float(row['silicon_ttft_ms']):.5g}",
        f"{float(row['silicon_tpot_ms']):.5g}",
        date.group(1) if date else "",
    )


def expert_split(row: dict[str, str], side: str) -> int:
    """Over how many devices experts are spread: all of a worker, or none."""
    tp = whole(row[f"{side}tp_size"])
    return tp if tp > 1 and whole(row[f"{side}moe_ep_size"]) == tp else 1


def main() -> int:
    """Write the points, sorted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="silicon_sample.csv of aiconfigurator-core 0.12.0")
    rows = sorted(points(parser.parse_args().file))
    with POINTS.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    sys.stdout.write(f"{POINTS.name}: {len(rows)} points, {POINTS.stat().st_size} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
