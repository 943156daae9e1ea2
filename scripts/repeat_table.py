"""Write the table of repeated measurements in docs/accuracy-devices.md: how well another timing predicts a product.

    scripts/repeat_table.py FOLDER    FOLDER: `aiconfigurator_core/systems/data` of the wheel aiconfigurator-core 0.12.0

The same products were timed under the same vLLM with the same kernels on B200, on GB200 (the same chip on another
board) and on B300 (its successor, of the same bandwidth and 8-bit arithmetic). What they disagree on is scatter of the
measurement, which no table of B200's times can tell: beside it stands how well the shipped table does.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from make_operator_tables import DTYPES
from pages import filled, table

from hasten.accuracy.operators import PARTS, SCORED
from hasten.latency.tables import OperatorTables, operator_paths
from hasten.latency.tables.surface import SLOWER, Surface

PAGE = Path(__file__).resolve().parent.parent / "docs" / "accuracy-devices.md"
DEVICE = "b200-sxm"
REPEATS = {"B300": "b300_sxm", "GB200": "gb200"}
TIMES = "gemm/vllm/0.24.0/gemm_perf.parquet"

CLOSE = 0.15  # the aim: a time further off counts as missed
TOKENS = {
    "1": (1, 1),
    "2 to 256": (2, 256),
    "257 to 1,024": (257, 1024),
    "more": (1025, 1 << 20),
    "all": (1, 1 << 20),
}


def repeated(path: Path, dtype: str, axes: list[Any]) -> Any:
    """Seconds of the products of one type over the table's axes, NaN where there are none."""
    found = np.full([len(axis) for axis in axes], np.nan)
    places = [{int(size): i for i, size in enumerate(axis)} for axis in axes]
    for row in pq.read_table(path).to_pylist():
        at = tuple(place.get(row[name]) for place, name in zip(places, "mnk", strict=True))
        if DTYPES.get(row["gemm_dtype"]) == dtype and None not in at:
            found[at] = np.fmin(found[at], row["latency"] * 1e-3)
    return found


def predicted(surface: Surface, name: str) -> Any:
    """Seconds of the shapes that are left out and scored, each from those of the nine other parts; NaN elsewhere."""
    part = np.random.default_rng(zlib.crc32(name.encode())).integers(0, PARTS, surface.seconds.shape)
    found = np.full(surface.seconds.shape, np.nan)
    for each in SCORED:
        asked = surface.timed & (part == each)
        found[asked] = surface.completed(surface.timed & ~asked)[asked]
    grid = np.meshgrid(*surface.axes, indexing="ij", sparse=True)
    return surface.ideal(*grid) * np.exp(found)


def rows(folder: Path) -> list[list[str]]:
    """By type and tokens: errors of the shipped table, of each repeat, and who misses what."""
    tables = OperatorTables(next(path for path in operator_paths() if DEVICE in path.stem))
    found = []
    for dtype in DTYPES.values():
        name = f"gemm-{dtype}"
        surface = tables.surface(name)
        own = predicted(surface, name) / surface.seconds
        others = [
            repeated(folder / each / TIMES, dtype, surface.axes) / surface.seconds
            for each in REPEATS.values()
        ]
        tokens = np.broadcast_to(surface.axes[0][:, None, None], own.shape)
        for words, (low, high) in TOKENS.items():
            scored = (tokens >= low) & (tokens <= high) & ~np.isnan(sum([own, *others]))
            # Boards differ by a few per cent in clock: a repeat is taken at its own typical ratio.
            errors = [np.abs(own[scored] - 1.0)]
            errors += [np.abs(each[scored] / np.median(each[scored]) - 1.0) for each in others]
            confirmed = np.min(errors[1:], axis=0) <= CLOSE
            missed = errors[0] > CLOSE
            ratio = others[0][scored] / np.median(others[0][scored])
            shares = [ratio < 1.0 / SLOWER, ratio > SLOWER, missed, ~confirmed, missed & confirmed]
            figures = [*(np.percentile(each, 95) for each in errors), *(np.mean(each) for each in shares)]
            found.append([dtype, words, str(np.count_nonzero(scored)), *(f"{each:.1%}" for each in figures)])
    return found


def main() -> int:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    head = ["type", "tokens", "left out", "95th percentile", *(f"{each}'s times instead" for each in REPEATS)]
    head += ["30% longer than on B300", "30% shorter"]
    head += ["missed by more than 15%", "confirmed by neither repeat", "missed though confirmed"]
    text = table(head, rows(parser.parse_args().folder))
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), "repeat table", text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
