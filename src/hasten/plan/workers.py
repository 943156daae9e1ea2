"""Who runs the tasks of a plan. Processes of this machine here; a Ray cluster in `ray_cluster`."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from time import perf_counter
from typing import Any, NamedTuple

from hasten.plan.probe import Setting

Task = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function of this package, called as function(setting, *arguments), and the arguments: hashable and picklable."""


class Done(NamedTuple):
    """What a task returned, and the seconds it took where it ran."""

    value: Any
    seconds: float


def timed(setting: Setting, task: Task) -> Done:
    """Run a task here and now."""
    function, arguments = task
    began = perf_counter()
    value = function(setting, *arguments)
    return Done(value, perf_counter() - began)


class Workers(ABC):
    """`size` tasks of one setting run at a time, elsewhere. A future fails with one of `lost` when its worker died."""

    size: int
    lost: tuple[type[BaseException], ...]

    @abstractmethod
    def submit(self, task: Task) -> Future[Done]:
        """Start a task when a worker is free. May raise one of `lost`: call `renew`, then submit again."""

    @abstractmethod
    def renew(self) -> None:
        """Replace dead workers. Futures of tasks that were lost with them have failed by then."""

    @abstractmethod
    def close(self) -> None:
        """Stop at once, whatever still runs."""


def default_jobs() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Processes(Workers):
    """Processes of this machine. They end with this one, even if it is killed."""

    lost = (BrokenProcessPool,)

    def __init__(self, setting: Setting, size: int) -> None:
        self.size = size
        self._setting = setting
        self._bystanders = {child.pid for child in multiprocessing.active_children()}
        self._executor = self._started()

    def _started(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self.size, _context(), initializer=_start_worker, initargs=(self._setting,)
        )

    def submit(self, task: Task) -> Future[Done]:
        """One of `size` processes runs it."""
        return self._executor.submit(_in_worker, task)

    def renew(self) -> None:
        """All processes anew: the executor ends the others when one dies."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._executor = self._started()

    def close(self) -> None:
        """What still runs was started ahead in vain, or nobody wants it any more."""
        workers = [each for each in multiprocessing.active_children() if each.pid not in self._bystanders]
        self._executor.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()


def _context() -> multiprocessing.context.BaseContext:
    """Workers copied from this process where that is safe: they then start at once. Else fresh ones."""
    can_fork = sys.platform == "linux" and threading.active_count() == 1
    return multiprocessing.get_context("fork" if can_fork else "spawn")


_setting: Setting | None = None


def _start_worker(setting: Setting) -> None:
    global _setting
    _setting = setting
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears the keyboard and ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Workers of a driver that was killed would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _in_worker(task: Task) -> Done:
    if _setting is None:
        raise RuntimeError("a worker runs tasks after it was started")
    return timed(_setting, task)
