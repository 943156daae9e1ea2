"""Simulator speed: a million requests made of the Azure conversation trace at rising rate, on 4 x H100.

    python benchmarks/simulator.py                    # the million, plain Python (or compiled, if built)
    python benchmarks/simulator.py --stepping         # and the ratio to stepping, in the same run
    python benchmarks/simulator.py --scaling          # 10^4 to 10^6 requests: is time linear?

Speed is requests per second of the simulation itself (`Simulation.run`), on one core; reading the trace and the
statistics of the report are timed apart. Each line names machine, Python, version and seed.
"""

from __future__ import annotations

import argparse
import platform
import resource
import sys
from time import perf_counter, process_time

import numpy as np

import hasten.core.scheduler
from hasten.deployment import Deployment
from hasten.sim.run import simulate
from hasten.workload import Workload

LOWEST, HIGHEST = 10.0, 80.0  # req/s at the first and the last repetition, 4 replicas together


def rising(num: int) -> Workload:
    """`num` requests: the trace again and again, each time faster, from LOWEST to HIGHEST req/s."""
    trace = Workload.from_trace("azure-conv")
    times = -(-num // len(trace))
    rates = np.linspace(LOWEST, HIGHEST, times)
    parts = [trace.scaled(rate=float(rate)) for rate in rates]
    return parts[0].concat(*parts[1:]).head(num) if times > 1 else parts[0].head(num)


def deployment() -> Deployment:
    """Llama-3.1-8B on 4 x H100 SXM under the reference engine profile, prefix cache on."""
    return Deployment.of("llama-3.1-8b", "h100-sxm", replicas=4, prefix_caching=True)


def measure(work: Workload, *, stepping: bool = False) -> float:
    """Simulate once, print a line, return requests per second."""
    placed = deployment()
    _ = placed.cost  # compiled once per deployment, for all runs
    began, cpu = perf_counter(), process_time()
    report = simulate(placed, work, stepping=stepping)
    wall, cpu = perf_counter() - began, process_time() - cpu
    steps = sum(replica.steps for replica in report.stats.replicas) if report.stats else 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    name = "stepping" if stepping else "jump-ahead"
    print(
        f"{name:10s} {len(work):>9,} requests  {wall:7.2f} s wall  {cpu:7.2f} s cpu  {len(work) / cpu:>9,.0f} "
        f"requests per CPU second  {steps / cpu:>11,.0f} steps per CPU second  peak {peak:5.0f} MB",
        flush=True,
    )
    return len(work) / cpu


def main() -> None:
    """Run what the flags ask for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--stepping", action="store_true", help="also step, and print the ratio")
    parser.add_argument("--scaling", action="store_true", help="10^4, 10^5, 10^6 requests")
    args = parser.parse_args()
    compiled = not (hasten.core.scheduler.__file__ or "").endswith(".py")
    print(
        f"# {'compiled' if compiled else 'plain'} Python {platform.python_version()}, {platform.machine()}, 1 core"
    )
    if args.scaling:
        for num in (10_000, 100_000, 1_000_000):
            measure(rising(num * 1))
        return
    work = rising(args.requests)
    fast = measure(work)
    if args.stepping:
        slow = measure(work, stepping=True)
        print(f"ratio to stepping: {fast / slow:.1f}x")


if __name__ == "__main__":
    sys.exit(main())
