"""Pack measured latencies of neural architectures (benchmarks/data/architectures-*.npz) from HELP's tables as CSV.

    scripts/make_architectures.py FOLDER    FOLDER holds <space>_latency_ms.csv.gz and splits.json

Kept: the architectures and devices of the split (rows that are trained on, asked about or used as references).
Latencies are stored as 1024 log2 (microseconds) in 16 bits, 0.07 % apart.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from make_tables import write

DATA = Path(__file__).resolve().parent.parent / "benchmarks" / "data"
SOURCE = "HayeonLee/HELP, commit 45f70eb92d0d735970a33b608d1544ad3c52f285, data/; MIT"
CELL = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def choices(space: str, text: str) -> list[int]:
    """The choice made at every place of an architecture."""
    if space == "nasbench201":
        return [CELL.index(name) for name in re.findall(r"(\w+)~\d", text)]
    return [int(each) for each in text.split("-")]


def main() -> int:
    """Write one file per search space; print sizes in bytes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    splits = json.loads((folder / "splits.json").read_text(encoding="utf-8"))
    DATA.mkdir(exist_ok=True)
    for space in ("nasbench201", "fbnet"):
        split = splits[space]
        with gzip.open(folder / f"{space}_latency_ms.csv.gz", "rt", newline="") as file:
            head, *rows = csv.reader(file)
        devices = [*split["meta_train"], *split["meta_valid"], *split["meta_test"]]
        wanted = sorted(
            {*range(*split["arch_train"]), *range(*split["arch_query"]), *split["reference_arch_idx"]}
        )
        times = np.array([[float(rows[i][head.index(device)]) for device in devices] for i in wanted])
        about: dict[str, Any] = {"space": space, "devices": devices, "source": SOURCE, "split": split}
        arrays = {
            "rows": np.array(wanted, dtype=np.int32),
            "choices": np.array([choices(space, rows[i][0]) for i in wanted], dtype=np.int8),
            "latencies": np.round(1024 * np.log2(np.maximum(times, 1e-3) * 1e3)).astype(np.int16),
            "about": np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
        }
        print(space, write(DATA / f"architectures-{space}.npz", arrays))
    shutil.copyfile(folder / "LICENSE", DATA / "LICENSE-help.txt")
    return 0


if __name__ == "__main__":
    sys.exit(main())
