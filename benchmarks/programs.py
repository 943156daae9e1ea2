"""Simulator speed with agents, prefix cache and prefill/decode pools: calls per CPU second on one core.

    python benchmarks/programs.py

Agents of three kinds on replicas behind prefix_affinity, and the Azure conversation trace on two pools. Each line is
the best of three runs, report left out; results of jumping and stepping are compared in the tests.
"""

from __future__ import annotations

import platform
import sys
from time import process_time

import hasten as hs
from hasten.disaggregation import Disaggregated
from hasten.sim.run import simulate
from hasten.workload import Workload, parse_workload

AGENTS = (
    ("agents:kind=bfcl,rate=6,n=1000", 2),
    ("agents:kind=lats,rate=0.5,n=60", 2),
    ("agents:kind=swe,rate=0.3,n=100", 4),
)


def speed(deployment: hs.Deployment | Disaggregated, work: Workload, route: str) -> tuple[float, hs.Report]:
    """Calls per CPU second, and what the run came to."""
    best = 0.0
    for _ in range(3):
        start = process_time()
        report = simulate(deployment, work, route=route)
        best = max(best, len(work) / (process_time() - start))
    return best, report


def main() -> None:
    """Print one line per workload."""
    print(f"Python {platform.python_version()}, {platform.machine()}, seed 0, hasten {hs.__version__}")
    print(f"{'workload':34} {'calls':>7} {'calls/s':>8} {'prompt cached':>14}")
    for text, replicas in AGENTS:
        work = parse_workload(text)
        deployment = hs.Deployment.of("llama-3.1-8b", "h100-sxm", replicas=replicas)
        rate, report = speed(deployment, work, "prefix_affinity")
        print(f"{text:34} {len(work):7,} {rate:8,.0f} {report.prefix_hit_share:14.0%}")
    work = parse_workload("azure-conv", rate=20)
    two = hs.Deployment.of("llama-3.1-8b", "h100-sxm", replicas=2)
    rate, _ = speed(Disaggregated.of(two, two, "infiniband-ndr"), work, "round_robin")
    print(f"{'azure-conv, 2 + 2 replicas':34} {len(work):7,} {rate:8,.0f} {'-':>14}")


if __name__ == "__main__":
    sys.exit(main())
