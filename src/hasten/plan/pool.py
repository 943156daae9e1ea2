"""Simulations on all cores: tasks in, results by task. The number of workers changes the time taken, nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any

from hasten.errors import InputError
from hasten.plan.probe import Setting

Task = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function of this package, called as function(setting, *arguments), and the arguments: hashable and picklable."""

_setting: Setting | None = None


def default_jobs() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Pool:
    """Runs tasks of one plan, each at most once. A context manager; without workers (`jobs` 1) tasks run when asked.

    Tasks announced by `expect` run ahead on idle workers; `result` waits. Raises InputError for `jobs` below 1.
    """

    def __init__(self, setting: Setting, jobs: int) -> None:
        if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
            raise InputError(f"jobs is {jobs!r}: give a whole number of worker processes of at least 1")
        self.setting = setting
        self.jobs = jobs
        self._done: dict[Task, Any] = {}
        self._under_way: dict[Task, Future[Any]] = {}
        self._executor: ProcessPoolExecutor | None = None
        self._bystanders: set[int | None] = set()
        self.progress: Callable[[int, int], None] | None = None

    @property
    def done(self) -> int:
        """Tasks whose result was asked for."""
        return len(self._done)

    def expect(self, task: Task) -> None:
        """Start `task` on a worker, if there are workers and it did not run yet."""
        if self.jobs == 1 or task in self._done or task in self._under_way:
            return
        if self._executor is None:
            self._bystanders = {child.pid for child in multiprocessing.active_children()}
            self._executor = ProcessPoolExecutor(
                self.jobs, _context(), initializer=_start_worker, initargs=(self.setting,)
            )
        function, arguments = task
        self._under_way[task] = self._executor.submit(_in_worker, function, arguments)

    def result(self, task: Task) -> Any:
        """What `task` returns; runs it if nobody did. Exceptions of the task are raised here."""
        if task in self._done:
            return self._done[task]
        self.expect(task)
        if task in self._under_way:
            try:
                value = self._under_way.pop(task).result()
            except BrokenProcessPool as error:
                raise InputError(
                    "a worker process of the plan ended early: call plan() below `if __name__ == '__main__':`, "
                    "or give jobs=1"
                ) from error
        else:
            function, arguments = task
            value = function(self.setting, *arguments)
        self._done[task] = value
        if self.progress is not None:
            self.progress(self.done, max(self.done + len(self._under_way), 2 * len(self.setting.shapes) + 10))
        return value

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop at once: what still runs was started ahead in vain, or nobody wants it any more."""
        if self._executor is None:
            return
        workers = [each for each in multiprocessing.active_children() if each.pid not in self._bystanders]
        self._executor.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()
        self._executor = None


def _context() -> multiprocessing.context.BaseContext:
    """Workers copied from this process where that is safe: they then start at once. Else fresh ones."""
    can_fork = sys.platform == "linux" and threading.active_count() == 1
    return multiprocessing.get_context("fork" if can_fork else "spawn")


def _start_worker(setting: Setting) -> None:
    global _setting
    _setting = setting
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears the keyboard and ends us


def _in_worker(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return function(_setting, *arguments)
