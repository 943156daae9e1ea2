"""Simulate every published closed-loop point and write docs/accuracy-points.csv: what tables and plots are made from.

scripts/closed_loop_points.py            write (about five minutes on one core)
scripts/closed_loop_points.py --check    simulate every 60th point again; exit 1 when the file says otherwise
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Iterator
from pathlib import Path

from hasten.accuracy.closed_loop import Point, by_group, load_points, simulate_point
from hasten.accuracy.judging import why_not
from hasten.accuracy.spread import seen
from hasten.accuracy.ten_points import SAMPLES, held_out

FILE = Path(__file__).resolve().parent.parent / "docs" / "accuracy-points.csv"

COLUMNS = (
    "model",
    "device",
    "engine",
    "precision",
    "mode",
    "split",
    "input_tokens",
    "output_tokens",
    "users",
    "left_out",
    "ttft_measured_ms",
    "ttft_ms",
    "tpot_measured_ms",
    "tpot_ms",
    "ttft_prefill_share",
    "tpot_prefill_share",
    "ttft_after_ten_ms",
    "tpot_after_ten_ms",
)
EVERY = 60
TOLERANCE = 2e-3


def row_of(point: Point) -> dict[str, str]:
    """One row, without the calibration; figures stay empty where the point can't be simulated."""
    reason = why_not(point)
    row = {
        **dict(zip(("model", "device", "engine", "precision"), point.group, strict=True)),
        "mode": point.mode,
        "split": f"tp{point.tp}" + (f" ep{point.ep}" if point.ep > 1 else ""),
        "input_tokens": str(point.input_tokens),
        "output_tokens": str(point.output_tokens),
        "users": str(point.concurrency),
        "left_out": reason or "",
        "ttft_measured_ms": number(point.ttft * 1e3),
        "tpot_measured_ms": number(point.tpot * 1e3),
    }
    if reason is None:
        base = simulate_point(point)
        row |= {"ttft_ms": number(base.ttft * 1e3), "tpot_ms": number(base.tpot * 1e3)}
        if not point.is_split:
            found = seen(point, base)
            row |= {
                "ttft_prefill_share": f"{found.ttft_share:.3f}",
                "tpot_prefill_share": f"{found.tpot_share:.3f}",
            }
    return row


def number(value: float) -> str:
    """Five digits, or nothing."""
    return f"{value:.5g}" if math.isfinite(value) else ""


def rows() -> Iterator[dict[str, str]]:
    """Every point, group by group."""
    for group, points in by_group(load_points()).items():
        found = {id(point): row_of(point) for point in points}
        usable = [each for each in points if not each.is_split and not found[id(each)]["left_out"]]
        if group[2] == "vllm" and len(usable) >= 2 * SAMPLES:
            for each in held_out(usable, draw=0):
                found[id(each.point)] |= {
                    "ttft_after_ten_ms": number(each.ttft * 1e3),
                    "tpot_after_ten_ms": number(each.tpot * 1e3),
                }
        print(f"{group}: {len(usable)} of {len(points)} scored", file=sys.stderr, flush=True)
        yield from found.values()


def differences() -> list[str]:
    """Points whose simulation no longer says what the file says."""
    stored = read()
    points = [each for _, points in by_group(load_points()).items() for each in points]
    found = []
    for point, old in list(zip(points, stored, strict=True))[::EVERY]:
        if not old["ttft_ms"]:
            continue
        new = simulate_point(point)
        found += [
            f"{point.group} tp{point.tp} {point.concurrency} users: {kind} has changed"
            for kind in ("ttft", "tpot")
            if abs(getattr(new, kind) * 1e3 / float(old[f"{kind}_ms"]) - 1.0) > TOLERANCE
        ]
    return found


def read() -> list[dict[str, str]]:
    """The rows of the file."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write() -> int:
    """Simulate everything and write the file; the number of points."""
    made = list(rows())
    with FILE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(made)
    return len(made)


def main() -> int:
    """Write the file, or check a sample of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="simulate a sample, exit 1 when it differs")
    if parser.parse_args().check:
        found = differences()
        print("\n".join(found) if found else "a sample of the points is up to date")
        return int(bool(found))
    print(f"{FILE.name}: {write()} points")
    return 0


if __name__ == "__main__":
    sys.exit(main())
