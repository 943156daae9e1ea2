"""Measuring claims: one after the other, or several at once on processes of their own."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

from hasten.claims.harness.catalogue import load_claim
from hasten.claims.harness.claim import Progress
from hasten.claims.harness.record import result_of


def measure(name: str, progress: Progress | None = None) -> dict[str, Any]:
    """Measure one claim on its own seeds: the same result every time. Raises InputError for an unknown name."""
    claim = load_claim(name)
    findings = claim.measure(claim.seeds, progress or _nobody_looks)
    return result_of(name, claim, findings)


def measure_all(names: Sequence[str], jobs: int) -> Generator[dict[str, Any], None, None]:
    """Measure claims on `jobs` processes and yield results as they come. What runs is ended when the caller stops."""
    executor = ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), initializer=signal.signal, initargs=_DEAF
    )
    waiting = [executor.submit(measure, name) for name in names]
    try:
        for future in as_completed(waiting):
            yield future.result()
    finally:
        workers = list((executor._processes or {}).values())
        executor.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()


_DEAF = (signal.SIGINT, signal.SIG_IGN)  # the parent hears the keyboard and ends its workers


def _nobody_looks(done: int, total: int) -> None:
    pass
