"""The tasks of a plan on a Ray cluster. Imported, and Ray with it, only when a plan is asked to run there."""

from __future__ import annotations

import contextlib
import importlib
import socket
import sys
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Any

from hasten.errors import InputError
from hasten.plan.identity import PACKAGE, code
from hasten.plan.probe import Setting
from hasten.plan.workers import Done, Task, Workers, timed

RETRIES = 3
"""Workers that Ray replaces for one task before it tells us."""

PATIENCE_S = 5.0


class RayCluster:
    """A connection to the cluster at `address` (see `ray.init`; "local" starts one here). A context manager.

    In a program that is connected already, that connection is used and left open. Raises InputError when Ray is not
    installed or can't be reached.
    """

    def __init__(self, address: str) -> None:
        try:
            self._ray = importlib.import_module("ray")
        except ImportError as error:
            raise InputError("--ray needs Ray: pip install 'hasten[ray]'") from error
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            _check_reachable(address)
            try:
                self._ray.init(address=address, logging_level="error", log_to_driver=False)
            except (ConnectionError, ValueError, RuntimeError, AssertionError) as error:
                reason = str(error).strip().partition("\n")[0]
                raise InputError(
                    f"--ray {address}: no cluster there ({reason}): give host:port, auto or local"
                ) from error
        self.size = max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def start(self, setting: Setting, size: int) -> RayWorkers:
        """Workers for one setting."""
        return RayWorkers(self._ray, setting, size)

    def __enter__(self) -> RayCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_ours:
            self._ray.shutdown()


class RayWorkers(Workers):
    """Tasks of one setting, each on one CPU of the cluster. Every node needs the same version of hasten."""

    def __init__(self, ray: Any, setting: Setting, size: int) -> None:
        self.size = size
        failures = ray.exceptions
        self.lost = (
            failures.WorkerCrashedError,
            failures.NodeDiedError,
            failures.ObjectLostError,
            failures.OutOfMemoryError,
        )
        self._ray = ray
        for policy in setting.policies.values():
            _send_by_value(ray, policy)
        self._held = ray.put(setting)
        self._run = ray.remote(num_cpus=1, max_retries=RETRIES)(run)
        self._refs: set[Any] = set()

    def submit(self, task: Task) -> Future[Done]:
        """Ray runs it again by itself when a worker dies, RETRIES times."""
        # In a list, or Ray would unpack the setting for every task instead of once per worker.
        ref = self._run.remote([self._held], self._held.hex(), code(), task)
        self._refs.add(ref)
        answer: Future[Done] = Future()
        ref.future().add_done_callback(partial(self._pass_on, ref, answer))
        return answer

    def _pass_on(self, ref: Any, answer: Future[Done], found: Future[Done]) -> None:
        """The result, or what the task raised without the wrapping that Ray puts around it."""
        self._refs.discard(ref)
        error = found.exception()
        if error is None:
            answer.set_result(found.result())
            return
        cause = getattr(error, "cause", None)
        answer.set_exception(cause if isinstance(cause, Exception) else error)

    def renew(self) -> None:
        """Nothing to do: Ray replaces dead workers."""

    def close(self) -> None:
        """Cancel what is under way."""
        for ref in list(self._refs):
            with contextlib.suppress(Exception):  # it may have ended, and the cluster may be gone
                self._ray.cancel(ref, force=True)


def _check_reachable(address: str) -> None:
    """Ray itself tries for minutes, then ends the process."""
    host, _, port = address.rpartition(":")
    if not port.isdigit() or "/" in host:
        return  # a word or another scheme: Ray says at once what it makes of it
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_S).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--ray {address}: nobody answers there ({error}): is `ray start --head` up?"
        ) from error


def _send_by_value(ray: Any, policy: object) -> None:
    """Workers can't import the module of a policy that was read from a file here: send its code along."""
    module = sys.modules.get(type(policy).__module__)
    file = getattr(module, "__file__", None)
    if module is not None and file is not None and not file.startswith(str(PACKAGE)):
        ray.cloudpickle.register_pickle_by_value(module)


# -- in a worker ----------------------------------------------------------------------------------------

_settings: dict[str, Setting] = {}  # the last one: its compiled costs serve all tasks of a plan


def run(held: list[Any], name: str, driver: str, task: Task) -> Done:
    """Run a task here. Raises InputError where the driver's code is another: its results would not be comparable."""
    if code() != driver:
        raise InputError(
            "a Ray worker has another version of hasten, NumPy or Python than this process: "
            "install the same on every node"
        )
    if name not in _settings:
        ray = importlib.import_module("ray")
        _settings.clear()
        _settings[name] = ray.get(held[0])
    return timed(_settings[name], task)
