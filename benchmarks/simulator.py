"""Simulator speed: a million requests made of the Azure conversation trace at rising rate, on 4 x H100.

    python benchmarks/simulator.py                    # the million, plain Python (or compiled, if built)
    python benchmarks/simulator.py --stepping         # and the ratios to stepping, in the same run
    python benchmarks/simulator.py --scaling          # 10^4 to 10^6 requests: is time linear?

Stepping is timed twice: the simulator's own mode, which takes every step but keeps the sequences that decode as one
group, and `hasten.testing.walking`, which visits every running request in every step, as engines and other simulators
do. The walk is slow, so it plays WALKED requests at the same rates: ten repetitions of the beginning of the trace,
which are jumped over too, for the ratio.

Speed is requests per second of the simulation itself (`Simulation.run`), on one core; reading the trace and the
statistics of the report are timed apart. Each line names machine, Python, version and seed.
"""

from __future__ import annotations

import argparse
import platform
import resource
import sys
from collections.abc import Callable
from time import perf_counter, process_time

import numpy as np

import hasten.core.scheduler
from hasten.deployment import Deployment
from hasten.sim.run import simulate
from hasten.testing.walking import walk
from hasten.workload import Workload

WALKED = 20_000
LOWEST, HIGHEST = 10.0, 80.0  # req/s at the first and the last repetition, 4 replicas together


def rising(num: int, times: int = 0) -> Workload:
    """`num` requests: the trace again and again, each time faster, from LOWEST to HIGHEST req/s.

    `times` repetitions of its beginning; 0: as many of the whole as it takes.
    """
    trace = Workload.from_trace("azure-conv")
    if times:
        trace = trace.head(-(-num // times))
    times = -(-num // len(trace))
    rates = np.linspace(LOWEST, HIGHEST, times)
    parts = [trace.scaled(rate=float(rate)) for rate in rates]
    return parts[0].concat(*parts[1:]).head(num) if times > 1 else parts[0].head(num)


def deployment() -> Deployment:
    """Llama-3.1-8B on 4 x H100 SXM under the reference engine profile, prefix cache on."""
    return Deployment.of("llama-3.1-8b", "h100-sxm", replicas=4, prefix_caching=True)


DEPLOYMENT = deployment()
_ = DEPLOYMENT.cost  # compiled once, for all runs


def jump(work: Workload) -> int:
    """Steps that the simulator jumps over or takes."""
    return _simulated(work, stepping=False)


def step(work: Workload) -> int:
    """Steps that the simulator's stepping mode takes."""
    return _simulated(work, stepping=True)


def _simulated(work: Workload, *, stepping: bool) -> int:
    report = simulate(DEPLOYMENT, work, stepping=stepping)
    return sum(replica.steps for replica in report.stats.replicas) if report.stats else 0


def step_by_request(work: Workload) -> int:
    """Steps of the reference that visits every running request."""
    profile = DEPLOYMENT.profile
    _, steps = walk(
        work,
        DEPLOYMENT.scheduler_limits,
        DEPLOYMENT.cost,
        depth=profile.loop_depth,
        replicas=DEPLOYMENT.replicas,
        front_end=(profile.front_end_seconds, profile.front_end_seconds_per_prompt_token),
    )
    return steps


def measure(name: str, play: Callable[[Workload], int], work: Workload) -> float:
    """Play once, print a line, return requests per CPU second."""
    began, cpu = perf_counter(), process_time()
    steps = play(work)
    wall, cpu = perf_counter() - began, process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{name:18s} {len(work):>9,} requests  {wall:7.2f} s wall  {cpu:7.2f} s cpu  {len(work) / cpu:>9,.0f} "
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
            measure("jump-ahead", jump, rising(num))
        return
    work = rising(args.requests)
    fast = measure("jump-ahead", jump, work)
    if args.stepping:
        slow = measure("own stepping", step, work)
        print(f"jump-ahead over its own stepping mode: {fast / slow:.1f}x")
        part = rising(WALKED, 10)
        fast = measure("jump-ahead", jump, part)
        slow = measure("request by request", step_by_request, part)
        print(f"jump-ahead over stepping request by request: {fast / slow:.1f}x")


if __name__ == "__main__":
    sys.exit(main())
