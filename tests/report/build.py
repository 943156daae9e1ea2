"""Small runs for tests of the report."""

from __future__ import annotations

from typing import Any

import numpy as np

from hasten.report.gaps import Gaps
from hasten.report.records import Records, Status
from hasten.report.report import Report


def served(*rows: tuple[float, float, float, int, int], **columns: Any) -> Records:
    """Records of served requests: (arrival, first token, finish, prompt tokens, output tokens)."""
    arrival, first, finish, prompt, output = zip(*rows, strict=True)
    return Records(
        arrival=arrival,
        first_token=first,
        finish=finish,
        prompt_tokens=prompt,
        output_tokens=output,
        **columns,
    )


def three() -> Records:
    """Two served requests and a rejected one.

    TTFT 0.5 and 1 s, TPOT 0.1 s (11 tokens) and none (1 token), E2E 1.5 and 1 s.
    """
    return Records(
        arrival=[0.0, 1.0, 2.0],
        first_token=[0.5, 2.0, -1.0],
        finish=[1.5, 2.0, -1.0],
        prompt_tokens=[100, 200, 400],
        output_tokens=[11, 1, 0],
        queued=[0.25, 1.5, -1.0],
        cached_tokens=[0, 150, 0],
        preemptions=[2, 0, 0],
        status=[Status.OK, Status.OK, Status.REJECTED],
        gaps=Gaps([0.1], [0.0], [10], [1], start=[0.5]),
    )


def queue(size: int, rate: float, service: float, seed: int) -> Records:
    """A single server that takes `service` seconds per request: latencies that are correlated, as real ones are."""
    rng = np.random.default_rng(seed)
    arrival = np.cumsum(rng.exponential(1 / rate, size))
    finish = np.zeros(size)
    clock = 0.0
    for i in range(size):
        clock = max(clock, arrival[i]) + service
        finish[i] = clock
    ones = np.ones(size)
    return Records(
        arrival=arrival,
        first_token=finish,
        finish=finish + 0.1,
        prompt_tokens=10 * ones,
        output_tokens=2 * ones,
    )


def report(records: Records, **settings: Any) -> Report:
    """A report with a plain origin and error."""
    return Report(**{"records": records, "origin": "analytical", "error": "not measured"} | settings)
