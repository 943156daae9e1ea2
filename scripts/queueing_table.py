"""Write the tables of docs/design/queueing-checks.md: the simulator against queueing theory.

    scripts/queueing_table.py            200,000 and 48,000 requests a run: a minute
    scripts/queueing_table.py --check    exit 1 when the page is not up to date

Both parts follow "A Queueing Theoretic Perspective on Low-Latency LLM Inference with Variable Token Length" (WiOpt
2024, arXiv:2407.05347): one server whose service time grows with the answer, and three ways to serve batches.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pages import filled, table

from hasten.core.limits import Limits
from hasten.core.scheduler import Scheduler
from hasten.latency import LinearCost, StepCost, TableCost
from hasten.policies import load_policy
from hasten.sim.recorder import Recorder
from hasten.sim.replica import Replica
from hasten.sim.simulation import Simulation
from hasten.sim.source import source_of
from hasten.workload import Workload

PAGE = Path(__file__).resolve().parent.parent / "docs" / "design" / "queueing-checks.md"

SECONDS_PER_TOKEN = 0.0225  # LLaMA-2-7b-chat, as the paper measured it
NO_LIMIT = 0
TOKEN_LIMITS = {800: 5.65, 1000: 9.01, 1600: 22.34, 2400: 42.31, 3000: 55.37, NO_LIMIT: 95.7}  # mean wait, s
TOKEN_RATE = 1 / 40  # requests/s

BATCH_RATES = (0.05, 0.1, 0.2)  # requests/s
DISCIPLINES = {
    "dynamic": "static:batch_size=64",
    "fixed 4": "static:batch_size=4,wait=inf",
    "fixed 8": "static:batch_size=8,wait=inf",
    "fixed 16": "static:batch_size=16,wait=inf",
    "elastic": "static:batch_size=64,hold=false",
    "continuous": "fcfs",
}
REFERENCE = {  # mean response in seconds at each of BATCH_RATES; nan: unstable
    "dynamic": (43.0, 51.6, 57.2),
    "fixed 4": (66.6, 82.2, math.nan),
    "fixed 8": (108.0, 73.5, 105.0),
    "fixed 16": (191.0, 116.0, 78.6),
    "elastic": (37.8, 41.9, 44.5),
}


# ---- distributions and formulas -------------------------------------------------------------------------


def lognormal_tokens(limit: int = NO_LIMIT, mu: float = 7.0, sigma: float = 0.7) -> np.ndarray:
    """P(n = 0), P(n = 1), ... of lognormal answers, rounded up; above `limit` tokens they are cut to it."""
    most = limit or 200_000  # P(n > 200,000) is 1e-13
    at_most = [0.0] + [
        0.5 * math.erfc((mu - math.log(tokens)) / (sigma * math.sqrt(2.0))) for tokens in range(1, most + 1)
    ]
    chances = np.diff(at_most, prepend=0.0)
    chances[-1] += 1.0 - at_most[-1]
    return chances


def constant_tokens(tokens: int) -> np.ndarray:
    """P(n = 0), P(n = 1), ... of answers of exactly `tokens` tokens."""
    return np.eye(1, tokens + 1, tokens)[0]


def geometric_tokens(mean: float) -> np.ndarray:
    """P(n = 0), P(n = 1), ... of geometric answers: exponential service, rounded up to tokens."""
    counts = np.arange(int(40 * mean))
    chances = np.where(counts > 0, (1.0 - 1.0 / mean) ** (counts - 1.0) / mean, 0.0)
    return chances / chances.sum()


def pollaczek_khinchine(chances: np.ndarray, rate: float) -> float:
    """Mean wait in seconds before service in M/G/1: rate * E[S^2] / (2 (1 - rho))."""
    service = np.arange(len(chances)) * SECONDS_PER_TOKEN
    first, second = float(chances @ service), float(chances @ service**2)
    return rate * second / (2.0 * (1.0 - rate * first))


# ---- through the simulator ------------------------------------------------------------------------------


def batch_cost(k1: float, k2: float, k3: float, k4: float) -> TableCost:
    """A batch of b requests whose longest answer has L tokens lasts k1 b + k2 + (k3 b + k4) L seconds."""
    sizes = range(BATCH_LIMIT + 1)
    return TableCost(
        [[(k3 * size + k4, 0.0, math.inf)] for size in sizes],
        [0.0] * (BATCH_LIMIT + 1),
        [(k1 + k3) * size + k2 + k4 for size in sizes],  # the step that computes the prompts, one token each
        rates=[],
    )


BATCH_LIMIT = 64
BATCH_COST = batch_cost(0.0, 0.05, 0.0002, 0.0225)
BATCH_TOKEN_LIMIT = 1600


@dataclass(frozen=True)
class Estimate:
    """A mean in seconds with its standard error, by batch means."""

    mean: float
    error: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} ± {self.error:.2f}"


def estimate(values: np.ndarray, batches: int = 25) -> Estimate:
    """The mean of a correlated sequence; batches of consecutive values are taken as independent."""
    parts = [float(part.mean()) for part in np.array_split(values, batches)]
    return Estimate(float(values.mean()), float(np.std(parts, ddof=1)) / math.sqrt(batches))


def workload(chances: np.ndarray, rate: float, requests: int, seed: int) -> Workload:
    """Poisson arrivals at `rate` requests/s, one prompt token, answers drawn from `chances`."""
    rng = np.random.default_rng(seed)
    return Workload(
        arrival=np.cumsum(rng.exponential(1.0 / rate, requests)),
        prompt_tokens=np.ones(requests, np.int64),
        output_tokens=np.searchsorted(np.cumsum(chances), rng.random(requests), side="right").clip(
            max=len(chances) - 1
        ),
    )


def played(work: Workload, cost: StepCost, schedule: str, max_num_seqs: int) -> dict[str, np.ndarray]:
    """Waits and responses in seconds, in order of arrival, of one replica without memory limits."""
    recorder = Recorder()
    truth: dict[int, int] = {}
    limits = Limits(
        num_blocks=1 << 30, max_num_seqs=max_num_seqs, max_model_len=1 << 30, prefix_caching=False
    )
    replica = Replica(0, Scheduler(limits, load_policy("schedule", schedule)), cost, recorder, truth)
    Simulation(source_of(work), [replica], recorder, truth, route=load_policy("route", "round_robin")).run()
    columns = recorder.request_columns()
    order = np.argsort(columns["id"])
    return {
        "wait": columns["scheduled"][order] - work.arrival,
        "response": columns["finish"][order] - work.arrival,
    }


def single_server_waits(chances: np.ndarray, rate: float, requests: int, seed: int) -> np.ndarray:
    """Waits in seconds with one sequence at a time and SECONDS_PER_TOKEN per step."""
    work = workload(chances, rate, requests, seed)
    return played(work, LinearCost(SECONDS_PER_TOKEN), "fcfs", max_num_seqs=1)["wait"]


def batch_responses(discipline: str, rate: float, requests: int, seed: int) -> np.ndarray:
    """Responses in seconds under a batching discipline, at most 64 at a time; answers of at most 1600 tokens."""
    work = workload(lognormal_tokens(BATCH_TOKEN_LIMIT), rate, requests, seed)
    return played(work, BATCH_COST, DISCIPLINES[discipline], max_num_seqs=BATCH_LIMIT)["response"]


# ---- the page -------------------------------------------------------------------------------------------


def single_server_table(requests: int) -> str:
    """Waits of a single server against Pollaczek-Khinchine."""
    rows = []
    cases = {"M/D/1, rho 0.7": (constant_tokens(100), 0.7), "M/M/1, rho 0.7": (geometric_tokens(400.0), 0.7)}
    for seed, (name, (chances, load)) in enumerate(cases.items(), start=1):
        rate = load / (SECONDS_PER_TOKEN * float(chances @ np.arange(len(chances))))
        rows.append([name, "-", *_single_server_row(chances, rate, requests, seed)])
    for seed, (limit, card) in enumerate(TOKEN_LIMITS.items(), start=11):
        chances = lognormal_tokens(limit)
        cut = 1.0 - float(lognormal_tokens()[: limit + 1].sum()) if limit else 0.0
        name = f"M/G/1, at most {limit} tokens ({cut:.1%} cut)" if limit else "M/G/1, no limit"
        rows.append([name, f"{card:g}", *_single_server_row(chances, TOKEN_RATE, requests, seed)])
    return table(["queue", "reference, s", "formula, s", "simulated wait, s", "deviation, s.e."], rows)


def _single_server_row(chances: np.ndarray, rate: float, requests: int, seed: int) -> list[str]:
    formula = pollaczek_khinchine(chances, rate)
    found = estimate(single_server_waits(chances, rate, requests, seed))
    return [f"{formula:.2f}", str(found), f"{(found.mean - formula) / found.error:+.1f}"]


def batch_table(requests: int) -> str:
    """Responses of the batching disciplines against the reference simulation."""
    rows = []
    for name in DISCIPLINES:
        row = [name]
        for number, rate in enumerate(BATCH_RATES):
            reference = REFERENCE[name][number] if name in REFERENCE else None
            found = estimate(batch_responses(name, rate, requests, seed=2))
            if reference is None:
                row.append(str(found))
            elif math.isnan(reference):
                row.append("grows with the run (unstable)")
            else:
                row.append(f"{found} ({reference:g})")
        rows.append(row)
    return table(["discipline", *(f"{rate:g} requests/s" for rate in BATCH_RATES)], rows)


def main() -> int:
    """Rewrite the page, or check it; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 when out of date")
    options = parser.parse_args()
    old = PAGE.read_text(encoding="utf-8")
    new = filled(old, "single server table", single_server_table(200_000))
    new = filled(new, "batch table", batch_table(48_000))
    if options.check:
        print("up to date" if new == old else f"{PAGE.name} is out of date: run scripts/queueing_table.py")
        return int(new != old)
    PAGE.write_text(new, encoding="utf-8")
    print(f"{PAGE.name}: {'changed' if new != old else 'unchanged'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
