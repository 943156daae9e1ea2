"""Write benchmarks/data/petshop-rca.npz from the PetShop root-cause data set.

    git clone https://github.com/amazon-science/petshop-root-cause-analysis   # commit 1c5992dc46a0
    python scripts/make_petshop.py petshop-root-cause-analysis/dataset

Kept: mean latency and availability of every component, the call graphs, targets and root causes of all 68 issues.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np

OUT = Path(__file__).resolve().parent.parent / "benchmarks" / "data" / "petshop-rca.npz"
SCENARIOS = ("high_traffic", "low_traffic", "temporal_traffic1", "temporal_traffic2")
KEPT = (("latency", "Average"), ("availability", "Average"))


def frame(path: Path, nodes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Times (s) and values: row, node, kept metric; NaN where there is none."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    columns = {key: at for at, key in enumerate(zip(*(row[1:] for row in rows[:3]), strict=True), start=1)}
    values = np.full((len(rows) - 4, len(nodes), len(KEPT)), np.nan, dtype=np.float32)
    for node, name in enumerate(nodes):
        for place, (metric, statistic) in enumerate(KEPT):
            at = columns.get((name, metric, statistic))
            if at is not None:
                values[:, node, place] = [float(row[at]) if row[at] else np.nan for row in rows[4:]]
    return np.array([float(row[0]) for row in rows[4:]]), values


def main() -> int:
    """Read the data set named on the command line, write the file."""
    root = Path(sys.argv[1])
    arrays: dict[str, np.ndarray] = {}
    for scenario in SCENARIOS:
        with (root / scenario / "graph.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        nodes = rows[0][1:]
        arrays[f"{scenario}/nodes"] = np.array(nodes)
        arrays[f"{scenario}/graph"] = np.array([[float(cell) for cell in row[1:]] for row in rows[1:]]) > 0
        normal = root / scenario / "noissue" / "metrics.csv"
        if normal.exists():
            arrays[f"{scenario}/normal"] = frame(normal, nodes)[1]
        for split in ("train", "test"):
            found = sorted((root / scenario / split).glob("issue_*"), key=lambda path: int(path.name[6:]))
            for number, folder in enumerate(found):
                times, values = frame(folder / "metrics.csv", nodes)
                target = json.loads((folder / "target.json").read_text(encoding="utf-8"))
                key = f"{scenario}/{split}/{number}"
                arrays[key] = values
                arrays[f"{key}/seconds_to_alarm"] = target["target"]["timestamp"] - times
                words = (target["target"]["node"], target["target"]["metric"], target["root_cause"]["node"])
                arrays[f"{key}/words"] = np.array(words)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(OUT, **arrays)
    return 0


if __name__ == "__main__":
    sys.exit(main())
