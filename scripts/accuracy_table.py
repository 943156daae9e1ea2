"""Write the tables and plots of docs/accuracy.md: recorded runs replayed, published points, layers left out.

scripts/accuracy_table.py            write, published points as simulated before (docs/accuracy-points.csv)
scripts/accuracy_table.py --points   simulate all of them anew first: minutes
scripts/accuracy_table.py --check    exit 1 when the page is not up to date
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import closed_loop_points
import closed_loop_tables
import numpy as np
from pages import agree, filled, table

from hasten.accuracy.layers import left_out
from hasten.accuracy.parts import parts_of
from hasten.accuracy.recorded import Floats, Latencies, RecordedRun, load_run, run_names
from hasten.accuracy.replay import Replay, replay
from hasten.latency.tables import profile_paths
from hasten.latency.tables.offsets import find_offsets

PAGE = Path(__file__).resolve().parent.parent / "docs" / "accuracy.md"

FITTED_UNTIL = 15.0
FIGURES = (
    "ttft mean",
    "ttft p50",
    "ttft p90",
    "ttft p99",
    "tpot mean",
    "tpot p99",
    "e2e mean",
    "e2e p99",
    "throughput",
)


def cells(found: Replay, of: Latencies | None = None) -> list[str]:
    """Errors of all figures, then medians of the error of one request."""
    errors = found.errors(of)
    each = [f"{found.per_request(kind, of):.1%}" for kind in ("ttft", "tpot", "e2e")]
    return [*(f"{errors[name]:+.1%}" for name in FIGURES), *each]


def replays(since: float) -> str:
    """Errors of every run by kind of step time."""
    rows = []
    for name in run_names():
        run = load_run(name)
        for label, found in kinds(run, since):
            rows.append([name, label, *cells(found)])
        rows.append([name, run.about["rival"], *cells(found, run.rival)])
    each = [f"{kind} of one request" for kind in ("ttft", "tpot", "e2e")]
    return table(["run", "prediction", *FIGURES, *each], rows)


def kinds(run: RecordedRun, since: float) -> Iterator[tuple[str, Replay]]:
    """Replays by where step times come from."""
    yield "data sheet", replay(run, since=since, step_times="analytical")
    deployment = run.deployment()
    offsets = find_offsets(deployment.device.name, deployment.profile.name)
    if offsets is not None and (offsets.every_step or offsets.mixed_step):
        model = deployment.latency
        none = replace(model, measured_offsets=replace(offsets, every_step=0.0, mixed_step=0.0))  # type: ignore[call-arg]
        yield "measured layers, no offsets", replay(run, since=since, cost=none.compile())
    yield "measured layers (default)", replay(run, since=since)


def parts() -> str:
    """Errors by part of the held-out part of every run."""
    rows = [
        [name, part.name, str(part.count), f"{part.median:+.1%}", f"{part.size:.1%}"]
        for name in run_names()
        for part in parts_of(replay(load_run(name), since=FITTED_UNTIL), FITTED_UNTIL)
    ]
    return table(["run", "part", "of", "median error", "without sign"], rows)


def left_out_errors(paths: list[Path], errors_of: Callable[[Path], dict[str, Floats]], head: str) -> str:
    """Errors at shapes that were left out, by file and kind of layer."""
    rows = []
    for path in paths:
        for kind, errors in errors_of(path).items():
            size = np.abs(errors)
            median, p95 = np.median(size), np.percentile(size, 95)
            name = path.stem.partition("-")[2]
            rows.append([name, kind, str(len(size)), f"{median:.1%}", f"{p95:.1%}"])
    return table([head, "what", "left out", "median error", "95th percentile"], rows)


def main() -> int:
    """Write the tables, or compare them with the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="exit 1 when the page is not up to date")
    parser.add_argument("--points", action="store_true", help="simulate all published points anew first")
    args = parser.parse_args()
    if args.points:
        closed_loop_points.write()
    old = page = PAGE.read_text(encoding="utf-8")
    points = closed_loop_tables.read()
    files = {
        closed_loop_tables.ERRORS: closed_loop_tables.errors_toml(points),
        **closed_loop_tables.plots(points),
    }
    for name, text in closed_loop_tables.tables(points).items():
        page = filled(page, name, text)
    page = filled(page, "part table", parts())
    page = filled(page, "recorded coverage table", closed_loop_tables.recorded_table())
    page = filled(page, "late table", replays(FITTED_UNTIL))
    page = filled(page, "whole table", replays(0.0))
    page = filled(page, "layer table", left_out_errors(profile_paths(), left_out, "profile"))
    if args.check:
        is_same = agree(page, old) and all(
            agree(text, path.read_text("utf-8")) for path, text in files.items()
        )
        print("up to date" if is_same else f"{PAGE.name} is out of date: run scripts/accuracy_table.py")
        return int(not is_same)
    for path, text in {PAGE: page, **files}.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
