"""Rebuild the traces shipped in src/hasten/workload/samples from their upstream files.

Example: python scripts/make_samples.py DOWNLOADS    (a folder with the files of the samples README, gzipped or not)
"""

import argparse
import gzip
import hashlib
import io
import json
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

SAMPLES = Path(__file__).parent.parent / "src" / "hasten" / "workload" / "samples"
AZURE = "github.com/Azure/AzurePublicDataset commit b469a113, CC-BY 4.0; Patel et al., Splitwise, ISCA 2024"
MOONCAKE = "github.com/kvcache-ai/Mooncake commit 3b5a5941, Apache-2.0; Qin et al., FAST 2025"
UPSTREAM = {
    "azure-conv": ("AzureLLMInferenceTrace_conv.csv", f"Azure LLM conversation trace 2023 ({AZURE})"),
    "azure-code": ("AzureLLMInferenceTrace_code.csv", f"Azure LLM code trace 2023 ({AZURE})"),
    "mooncake-conversation": ("conversation_trace.jsonl", f"Mooncake conversation trace ({MOONCAKE})"),
}


def main() -> int:
    """Write every sample and report its size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the upstream files are")
    folder = parser.parse_args().folder
    for name, (file, origin) in UPSTREAM.items():
        content = upstream_bytes(folder, file)
        columns = mooncake_columns(content) if file.endswith(".jsonl") else azure_columns(content)
        columns["about"] |= {"origin": origin, "file": file, "sha256": hashlib.sha256(content).hexdigest()}
        size = write(SAMPLES / f"{name}.npz", columns)
        sys.stdout.write(f"{name}: {len(columns['prompt'])} rows, {size} bytes\n")
    return 0


def upstream_bytes(folder: Path, file: str) -> bytes:
    """The upstream file, uncompressed, wherever it lies under the folder."""
    found = sorted([*folder.rglob(file), *folder.rglob(f"{file}.gz")])
    if not found:
        raise SystemExit(f"{folder}: no {file} or {file}.gz below it: download it first")
    return gzip.decompress(found[0].read_bytes()) if found[0].suffix == ".gz" else found[0].read_bytes()


def azure_columns(content: bytes) -> dict[str, Any]:
    """Microsecond ticks since the first row, and both lengths."""
    rows = [line.split(",") for line in content.decode().splitlines()[1:]]
    moments = [datetime.fromisoformat(row[0][:26]).replace(tzinfo=UTC) for row in rows]
    micros = np.array([(moment - moments[0]).days * 86_400_000_000 for moment in moments], dtype=np.int64)
    micros += [
        (moment - moments[0]).seconds * 1_000_000 + (moment - moments[0]).microseconds for moment in moments
    ]
    lengths = np.array([(int(row[1]), int(row[2])) for row in rows])
    about = {"format": "azure", "ticks_per_second": 1_000_000, "block_tokens": 0, "start": rows[0][0]}
    return {
        "about": about,
        "ticks": steps(micros),
        "prompt": small(lengths[:, 0]),
        "output": small(lengths[:, 1]),
    }


def mooncake_columns(content: bytes) -> dict[str, Any]:
    """Millisecond ticks, both lengths, and block ids as differences."""
    rows = [json.loads(line) for line in content.splitlines()]
    ids = np.array([block for row in rows for block in row["hash_ids"]], dtype=np.int64)
    about = {"format": "mooncake", "ticks_per_second": 1000, "block_tokens": 512}
    return {
        "about": about,
        "ticks": steps(np.array([row["timestamp"] for row in rows])),
        "prompt": small(np.array([row["input_length"] for row in rows])),
        "output": small(np.array([row["output_length"] for row in rows])),
        "num_blocks": small(np.array([len(row["hash_ids"]) for row in rows])),
        "block_steps": steps(ids),
    }


def steps(values: np.ndarray) -> np.ndarray:
    """First value and differences, in the smallest integer type."""
    return small(np.diff(values, prepend=0))


def small(values: np.ndarray) -> np.ndarray:
    """The same integers in the smallest type that holds them."""
    for kind in (np.uint8, np.uint16, np.int32, np.uint32):
        limits = np.iinfo(kind)
        if limits.min <= values.min() and values.max() <= limits.max:
            return values.astype(kind)
    return values.astype(np.int64)


def write(path: Path, columns: dict[str, Any]) -> int:
    """A compressed npz with fixed dates, so that the same input gives the same bytes; returns its size."""
    about = np.frombuffer(json.dumps(columns["about"], sort_keys=True).encode(), dtype=np.uint8)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, values in {**columns, "about": about}.items():
            buffer = io.BytesIO()
            np.save(buffer, values, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, buffer.getvalue(), compresslevel=9)
    return path.stat().st_size


if __name__ == "__main__":
    sys.exit(main())
