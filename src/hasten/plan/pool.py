"""Simulations on all workers: tasks in, results by task. Who runs them changes the time taken, nothing else."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from hasten.errors import InputError
from hasten.plan.journal import Journal
from hasten.plan.probe import Setting
from hasten.plan.tasks import told
from hasten.plan.workers import Done, Processes, Task, Workers, timed

AHEAD = 2
"""Tasks per worker that are handed over at a time: the next one is there when a worker ends its last."""

TRIES = 5
"""Workers that a task may lose before it is held to be the cause."""

Start = Callable[[Setting, int], Workers]
"""Workers for a setting, at most so many at a time."""


class Pool:
    """Runs tasks of one plan, each at most once. A context manager; without workers (`jobs` 1) tasks run when asked.

    Tasks announced by `expect` run ahead on idle workers; `result` waits. A task whose worker dies runs again. With
    a `journal`, results found there are taken from it, and every result is kept there when its task ends. `start`
    makes other workers than processes of this machine. Raises InputError for `jobs` below 1.
    """

    def __init__(
        self, setting: Setting, jobs: int, *, start: Start | None = None, journal: Journal | None = None
    ) -> None:
        if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
            raise InputError(f"jobs is {jobs!r}: give a whole number of worker processes of at least 1")
        self.setting = setting
        self.jobs = jobs
        self._start = start or (Processes if jobs > 1 else None)
        self._kept = None if journal is None else journal.of(setting)
        self._workers: Workers | None = None
        self._done: dict[Task, Any] = {}
        self._waiting: deque[Task] = deque()
        self._announced: set[Task] = set()
        self._under_way: set[Task] = set()
        self._ready: dict[Task, Future[Done]] = {}  # ended, not asked for yet
        self._ended: SimpleQueue[tuple[Task, Future[Done]]] = SimpleQueue()
        self._losses: Counter[Task] = Counter()
        self.progress: Callable[[int, int], None] | None = None
        self.tell: Callable[[str], None] | None = None

    @property
    def done(self) -> int:
        """Tasks whose result was asked for."""
        return len(self._done)

    def expect(self, task: Task) -> None:
        """Run `task` on a worker when one is idle, if there are workers and it did not run yet."""
        if self._start is None or task in self._done or task in self._announced or self._is_kept(task):
            return
        self._announced.add(task)
        self._waiting.append(task)
        self._feed()

    def forget(self) -> None:
        """Drop what was expected and did not start."""
        self._announced.difference_update(self._waiting)
        self._waiting.clear()

    def result(self, task: Task) -> Any:
        """What `task` returns; runs it if nobody did. Exceptions of the task are raised here."""
        if task in self._done:
            return self._done[task]
        value = self._value(task)
        self._done[task] = value
        if self.progress is not None:
            known = self.done + len(self._waiting) + len(self._under_way) + len(self._ready)
            self.progress(self.done, max(known, 2 * len(self.setting.shapes) + 10))
        return value

    # -- where results come from

    def _value(self, task: Task) -> Any:
        if self._kept is not None and (kept := self._kept.get(task)) is not None:
            return kept.value
        if self._start is None:
            done = timed(self.setting, task)
            self._keep(task, done)
            return done.value
        if task not in self._ready and task not in self._under_way:
            self._announced.add(task)
            self._submit(task)
        while task not in self._ready:
            self._take(*self._ended.get())
            self._feed()
        return self._ready.pop(task).result().value

    def _is_kept(self, task: Task) -> bool:
        return self._kept is not None and task in self._kept

    def _keep(self, task: Task, done: Done) -> None:
        if self._kept is not None:
            self._kept.append(task, done)
        if self.tell is not None:
            self.tell(told(self.setting, task, done.value, done.seconds))

    # -- workers

    def _feed(self) -> None:
        """Hand over waiting tasks, no more than keep the workers busy: those lost with a worker run again."""
        while self._waiting and (self._workers is None or len(self._under_way) < AHEAD * self._workers.size):
            task = self._waiting.popleft()
            if task not in self._under_way and task not in self._ready and task not in self._done:
                self._submit(task)

    def _submit(self, task: Task) -> None:
        if self._workers is None:
            if self._start is None:
                raise RuntimeError("a pool without workers runs tasks itself")
            self._workers = self._start(self.setting, self.jobs)
        while True:
            try:
                future = self._workers.submit(task)
                break
            except self._workers.lost as error:
                self._note_loss(task, error)
                self._workers.renew()
        self._under_way.add(task)
        future.add_done_callback(partial(self._end, task))

    def _end(self, task: Task, future: Future[Done]) -> None:
        """Called from any thread."""
        self._ended.put((task, future))

    def _take(self, task: Task, future: Future[Done]) -> None:
        self._under_way.discard(task)
        error = None if future.cancelled() else future.exception()
        if future.cancelled() or (self._workers is not None and isinstance(error, self._workers.lost)):
            self._note_loss(task, error)
            self._waiting.appendleft(task)
            return
        self._ready[task] = future
        if error is None:
            self._keep(task, future.result())

    def _note_loss(self, task: Task, error: BaseException | None) -> None:
        self._losses[task] += 1
        if self._losses[task] >= TRIES:
            raise InputError(
                f"a worker process of the plan ended early {TRIES} times at the same task: where memory is short give "
                "fewer jobs; in a script call plan() below `if __name__ == '__main__':`, or give jobs=1"
            ) from error

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Keep what has ended, then stop at once."""
        workers, self._workers = self._workers, None
        if workers is None:
            return
        try:
            while self._kept is not None and not self._ended.empty():
                task, future = self._ended.get()
                if not future.cancelled() and future.exception() is None:
                    self._kept.append(task, future.result())
        finally:
            workers.close()
