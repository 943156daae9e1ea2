"""Where the simulations of a plan run, and what is kept of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from hasten.plan.journal import Journal
from hasten.plan.pool import Pool, Start
from hasten.plan.probe import Setting
from hasten.plan.workers import default_jobs

Progress = Callable[[int, int], None]
"""Called as progress(tasks done, tasks expected in all); the second is a guess that grows."""

Tell = Callable[[str], None]
"""Called with one line for every task that ends, in the order in which they end."""


class Site:
    """Processes of this machine or a Ray cluster, and a journal if one is wanted. A context manager.

    `jobs` tasks at a time (default: all cores, of the cluster where there is one). Raises InputError as `Journal` and
    `RayCluster` do.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        jobs: int | None = None,
        ray: str | None = None,
        journal: str | Path | None = None,
        progress: Progress | None = None,
        tell: Tell | None = None,
    ) -> None:
        self._progress, self._tell = progress, tell
        self._jobs = default_jobs() if jobs is None else jobs
        self._start: Start | None = None
        with ExitStack() as open_now:
            if ray is not None:
                from hasten.plan.ray_cluster import RayCluster

                cluster = open_now.enter_context(RayCluster(ray))
                self._jobs = cluster.size if jobs is None else jobs
                self._start = cluster.start
            self._journal = None if journal is None else open_now.enter_context(Journal(journal, setting))
            if self._journal is not None and self._journal.found and tell is not None:
                tell(f"{self._journal.path}: {self._journal.found:,} results are there already")
            self._open = open_now.pop_all()

    def pool(self, setting: Setting) -> Pool:
        """A pool for one setting of the plan."""
        made = Pool(setting, self._jobs, start=self._start, journal=self._journal)
        made.progress, made.tell = self._progress, self._tell
        return made

    def __enter__(self) -> Site:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
