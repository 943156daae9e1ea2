"""What a search costs besides its simulations: per task, per candidate, per journal line; and how that grows.

    python benchmarks/sweep.py                   # all parts but Ray, a few minutes
    python benchmarks/sweep.py --ray local       # the cost of a task on a Ray cluster as well
    python benchmarks/sweep.py --quick           # small sizes, to see that it runs

Candidates are real devices with other prices and bandwidths, so that every one is a shape of its own. Empty tasks give
the cost of a task itself. Seconds are wall time of this machine; ratios between rows of one run are what to trust.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from hasten.core.request import SLO
from hasten.deployment import Deployment
from hasten.hardware import Device, load_device
from hasten.plan import Plan, plan
from hasten.plan.constraints import Constraints
from hasten.plan.journal import Journal
from hasten.plan.pool import Pool
from hasten.plan.probe import Outcome, Setting
from hasten.plan.result import Row, pareto_front
from hasten.plan.tasks import bound, weigh
from hasten.plan.workers import Task
from hasten.workload import Workload, parse_workload

LIMITS = SLO(ttft=1.0, tpot=0.05)
BASES = ("l40s", "a100-sxm-80g", "h100-sxm", "h200-sxm")


def traffic(requests: int, rate: float = 30.0) -> Workload:
    """Poisson arrivals of short chats."""
    spec = f"poisson:rate={rate},prompt=lognormal:400:0.5:2000,output=uniform:2:80,n={requests}"
    return parse_workload(spec, seed=1)


def devices(count: int) -> list[Device]:
    """`count` devices that differ in price (up to 30 %) and memory bandwidth (up to 20 %) from real ones."""
    draw = np.random.default_rng(0)
    made = []
    for number in range(count):
        base = load_device(BASES[number % len(BASES)])
        price, speed = draw.uniform(0.7, 1.3), draw.uniform(0.8, 1.2)
        one = replace(base, name=f"{base.name}-{number}", memory_bandwidth=base.memory_bandwidth * speed)
        made.append(one.with_price((base.price_per_hour or 1.0) * price))
    return made


def empty(setting: Setting, shape: int, *_: float) -> int:
    """A task that does nothing."""
    return shape


def kept(setting: Setting, shape: int, *_: float) -> Any:
    """A task that does nothing and returns what `weigh` returns."""
    return RESULT[0]


RESULT: list[Any] = []


@contextmanager
def pool(setting: Setting, where: str, path: Path | None = None) -> Iterator[Pool]:
    """Workers by name: "1", "2" processes, or a Ray address."""
    from hasten.plan.site import Site

    jobs = int(where) if where.isdigit() else None
    with (
        Site(setting, jobs=jobs, ray=None if jobs else where, journal=path) as site,
        site.pool(setting) as made,
    ):
        yield made


def per_task(
    setting: Setting, where: str, count: int, function: Callable[..., Any], path: Path | None
) -> float:
    """Microseconds per task that does nothing, after one that started the workers."""
    with pool(setting, where, path) as made:
        made.result((function, (-1, 0.5)))
        tasks: list[Task] = [(function, (number, 0.5)) for number in range(count)]
        began = perf_counter()
        for task in tasks:
            made.expect(task)
        for task in tasks:
            made.result(task)
        return (perf_counter() - began) / count * 1e6


def show_tasks(count: int, address: str | None) -> None:
    """The cost of a task itself, without and with a journal."""
    setting = Setting(traffic(240), Constraints(LIMITS), (Deployment.of("llama-3.1-8b", "l40s"),))
    RESULT[:] = [weigh(setting, 0, 8.0)]
    print(f"A task that does nothing, {count:,} of them, microseconds each")
    print(f"{'workers':<14}{'no journal':>12}{'journal':>12}{'bytes a line':>14}{'resume':>10}")
    for where in ("1", "2", *([address] if address else [])):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "journal.jsonl"
            bare = per_task(setting, where, count, empty, None)
            if where == "1":
                written = per_task(setting, where, count, kept, path)
                size = path.stat().st_size / count
                again = per_task(setting, where, count, kept, path)
                print(f"{where:<14}{bare:>12.0f}{written:>12.0f}{size:>14.0f}{again:>10.0f}")
            else:
                print(f"{where:<14}{bare:>12.0f}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        per_task(setting, "1", count, kept, path)
        began = perf_counter()
        with Journal(path, setting) as journal:
            print(f"opening a journal of {journal.found:,} results: {perf_counter() - began:.2f} s")
    with tempfile.TemporaryFile() as file:
        began = perf_counter()
        for _ in range(200):
            os.write(file.fileno(), b"x" * 1300)
            os.fsync(file.fileno())
        print(f"writing and fsync alone, 1,300 bytes: {(perf_counter() - began) / 200 * 1e6:.0f} us")


def show_candidates(sizes: list[int], requests: int) -> None:
    """Whole plans by the number of candidates: what the driver itself does, what the simulations take."""
    print(f"\nPlans on {requests:,} requests, one process")
    print(f"{'candidates':>10}{'tasks':>8}{'simulated s':>13}{'other s':>10}{'other ms each':>15}")
    for size in sizes:
        spent = [0.0]
        began = process_time()
        found = counted(size, requests, spent)
        other = process_time() - began - spent[0]
        print(f"{size:>10,}{found.simulations:>8,}{spent[0]:>13.1f}{other:>10.2f}{other / size * 1e3:>15.2f}")


def counted(size: int, requests: int, spent: list[float]) -> Plan:
    """A plan among `size` candidates; adds the CPU seconds of its tasks to `spent`."""
    from hasten.plan import pool as module

    plain = module.timed

    def measured(setting: Setting, task: Task) -> Any:
        began = process_time()
        done = plain(setting, task)
        spent[0] += process_time() - began
        return done

    module.timed = measured
    try:
        return plan("llama-3.1-8b", traffic(requests), LIMITS, devices=devices(size), tp=(1,), jobs=1)
    finally:
        module.timed = plain


def show_requests(sizes: list[int]) -> None:
    """What one candidate costs by the number of requests."""
    print("\nOne candidate by requests, CPU seconds")
    print(f"{'requests':>10}{'weigh':>10}{'verify':>10}")
    from hasten.plan.tasks import verify

    for size in sizes:
        setting = Setting(traffic(size), Constraints(LIMITS), (Deployment.of("llama-3.1-8b", "h100-sxm"),))
        weigh(setting, 0, 40.0)  # compiles step costs
        spent = []
        for work in (lambda s=setting: weigh(s, 0, 40.0), lambda s=setting: verify(s, 0, 2)):
            began = process_time()
            work()
            spent.append(process_time() - began)
        print(f"{size:>10,}{spent[0]:>10.2f}{spent[1]:>10.2f}")


def show_candidate(count: int) -> None:
    """What one of several different candidates costs on 2,000 requests: compiled, bounded, weighed."""
    shapes = tuple(Deployment.of("llama-3.1-8b", device) for device in devices(count))
    setting = Setting(traffic(2000), Constraints(LIMITS), shapes)
    stages: dict[str, list[float]] = {}
    for number, shape in enumerate(shapes):
        for name, work in (
            ("compile", lambda one=shape: one.cost),
            ("bound", lambda at=number: bound(setting, at)),
            ("weigh", lambda at=number: weigh(setting, at, bound(setting, at).rate)),
        ):
            began = process_time()
            work()
            stages.setdefault(name, []).append((process_time() - began) * 1e3)
    print(f"\nOne of {count} candidates on 2,000 requests, mean CPU ms")
    print(", ".join(f"{name} {sum(spent) / count:.1f}" for name, spent in stages.items()))


def show_front(sizes: list[int]) -> None:
    """The Pareto front of many rows."""
    print("\nPareto front, CPU seconds")
    shape = Deployment.of("llama-3.1-8b", "l40s")
    for size in sizes:
        draw = np.random.default_rng(0).uniform(0.5, 2.0, (size, 3))
        rows = [
            Row(
                deployment=replace(shape, price_per_hour_per_device=float(price)),
                outcome=Outcome(1.0, (), ttft=float(ttft), tpot=float(tpot)),
            )
            for price, ttft, tpot in draw
        ]
        began = process_time()
        front = pareto_front(rows)
        print(f"{size:>10,} rows, {len(front):>4} on the front: {process_time() - began:.2f}")


def main() -> None:
    """All parts, one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ray", metavar="ADDRESS", help="measure tasks on this Ray cluster too")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    args = parser.parse_args()
    quick = args.quick
    show_tasks(200 if quick else 3000, args.ray)
    show_requests([500, 2000] if quick else [500, 2000, 8000, 32000])
    show_candidate(4 if quick else 24)
    show_candidates([4, 8] if quick else [10, 100, 1000], 240)
    show_front([100, 200] if quick else [1000, 10_000, 100_000])


if __name__ == "__main__":
    main()
