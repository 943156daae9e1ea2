"""Plain against compiled, in one run: the same bits, and how many times as fast.

    pip install -e .[compiled]
    python benchmarks/compiled.py [--requests 200000] [--rounds 3]

Copies the sources to a temporary folder, compiles the hot path there (scripts/compile.py), and simulates the workload
of benchmarks/simulator.py with either, in turn, each in a process of its own. The digests of all request records and
token gaps must be equal to the bit. Speeds are medians, in requests per CPU second on one core.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

CHILD = """
import hashlib, sys
from time import process_time
sys.path.insert(0, "benchmarks")
from simulator import deployment, rising
from hasten.sim.run import simulate
work, placed = rising(int(sys.argv[1])), deployment()
_ = placed.cost
began = process_time()
report = simulate(placed, work)
seconds = process_time() - began
digest = hashlib.sha256()
records = report.records
for column in (records.id, records.scheduled, records.first_token, records.finish, records.preemptions):
    digest.update(column.tobytes())
for column in (records.gaps.first, records.gaps.increment, records.gaps.count, records.gaps.weight):
    digest.update(column.tobytes())
print(seconds, digest.hexdigest())
"""


def run(folder: Path, requests: int) -> tuple[float, str]:
    """CPU seconds and digest of one simulation with the sources in `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    command = [sys.executable, "-c", CHILD, str(requests)]
    out = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True
    ).stdout
    seconds, digest = out.split()
    return float(seconds), digest


def main() -> int:
    """Measure both, print the table, return 1 when a bit differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("src", "scripts", "benchmarks"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("*.so", "*.pyd"))
        subprocess.run([sys.executable, "scripts/compile.py"], cwd=folder, check=True, stdout=sys.stderr)
        plain, compiled = [], []
        for _ in range(args.rounds):
            plain.append(run(ROOT, args.requests))
            compiled.append(run(folder, args.requests))
    slow = statistics.median(seconds for seconds, _ in plain)
    fast = statistics.median(seconds for seconds, _ in compiled)
    same = len({digest for _, digest in (*plain, *compiled)}) == 1
    print(f"plain     {args.requests / slow:>9,.0f} requests per CPU second")
    print(f"compiled  {args.requests / fast:>9,.0f} requests per CPU second, {slow / fast:.1f} times plain")
    print(f"results   {'equal to the bit' if same else 'DIFFER'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
