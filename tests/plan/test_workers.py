"""Workers may die, be slow and answer in any order: the plan is the same. Processes here, and a stand-in for others."""

import os
import random
import signal
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plan.build import LOOSE, planned, work
from tests.plan.chores import echo, fatal, fatal_once, slow
from tests.plan.test_journal import setting

from hasten.errors import InputError
from hasten.plan.journal import Journal
from hasten.plan.pool import AHEAD, TRIES, Pool
from hasten.plan.table import render
from hasten.plan.tasks import bound
from hasten.plan.workers import Workers, timed

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")


class Died(Exception):
    """A worker that died."""


class Moody(Workers):
    """One thread that runs tasks in an order of its own, and loses some with their worker."""

    lost = (Died,)

    def __init__(self, setting, size, seed=0, losses=0.15):
        self.size, self.setting, self.losses = size, setting, losses
        self.random = random.Random(seed)
        self.queue = []
        self.thread = ThreadPoolExecutor(1)

    def submit(self, task):
        if self.random.random() < self.losses / 4:
            raise Died
        future = Future()
        self.queue.append((future, task))
        self.thread.submit(self.settle_one)
        return future

    def settle_one(self):
        future, task = self.queue.pop(self.random.randrange(len(self.queue)))
        if self.random.random() < self.losses:
            future.set_exception(Died())
        else:
            future.set_result(timed(self.setting, task))

    def renew(self):
        pass

    def close(self):
        self.thread.shutdown(cancel_futures=True)


class Idle(Moody):
    """Takes tasks and never runs one."""

    def settle_one(self):
        pass


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 999), st.integers(1, 4))
def test_order_and_losses_change_nothing(seed, size):
    traffic = work(30.0, 120)
    start = partial(Moody, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hasten.plan.site.Pool", lambda setting, jobs, **_: Pool(setting, size, start=start))
        patch.setattr("hasten.plan.pool.TRIES", 50)
        found = planned(work=traffic, devices=("l40s",))
    straight = planned(work=traffic, devices=("l40s",))
    assert found.to_dict() == straight.to_dict()
    assert render(found) == render(straight)


def test_no_more_is_handed_over_than_keeps_workers_busy():
    workers = Idle(None, 3, losses=0.0)
    with Pool(None, 3, start=lambda *_: workers) as pool:
        for number in range(100):
            pool.expect((echo, (number,)))
        assert len(workers.queue) == AHEAD * 3
        pool.forget()
        pool.expect((echo, (100,)))  # waits its turn, alone
        assert list(pool._waiting) == [(echo, (100,))]


@needs_signals
def test_a_killed_worker_costs_time_only(tmp_path):
    with Pool(setting(), 2) as pool:
        tasks = [(slow, (number,)) for number in range(8)]
        tasks.insert(3, (fatal_once, (str(tmp_path / "flag"),)))
        for task in tasks:
            pool.expect(task)
        assert [pool.result(task) for task in tasks] == [0, 1, 2, "survived", 3, 4, 5, 6, 7]


@needs_signals
def test_a_task_that_kills_every_worker_is_given_up():
    with Pool(setting(), 2) as pool, pytest.raises(InputError, match=f"ended early {TRIES} times"):
        pool.result((fatal, (0,)))


@needs_signals
def test_results_of_a_plan_survive_a_killed_worker(tmp_path, monkeypatch):
    """A worker of a plan with a journal is killed while it works: nothing is lost, nothing runs twice in the end."""
    traffic, path = work(30.0, 120), tmp_path / "plan.jsonl"
    struck = []

    def strike(text):
        import multiprocessing

        children = multiprocessing.active_children()
        if children and len(struck) < 2:
            os.kill(children[0].pid, signal.SIGKILL)
            struck.append(children[0].pid)

    found = planned(work=traffic, jobs=2, journal=path, tell=strike)
    assert len(struck) == 2
    assert found.to_dict() == planned(work=traffic).to_dict()
    lines = path.read_bytes().splitlines()[1:]
    assert len({line[:75] for line in lines}) == len(lines) >= found.simulations


def test_an_interrupt_keeps_what_has_ended(tmp_path):
    workers = Moody(setting(), 1, losses=0.0)
    with Journal(tmp_path / "plan.jsonl", setting()) as journal:
        with pytest.raises(KeyboardInterrupt):
            _interrupted(Pool(setting(), 1, start=lambda *_: workers, journal=journal), (bound, (0,)))
        assert (bound, (0,)) in journal.of(setting())


def _interrupted(pool, task):
    with pool:
        pool.expect(task)
        pool._workers.thread.shutdown()
        raise KeyboardInterrupt


def test_every_task_is_told(tmp_path):
    heard = []
    found = planned(LOOSE, work=work(30.0, 120), devices=("l40s",), tell=heard.append)
    assert len(heard) == found.simulations
    assert heard[0].startswith("bound 1 x [l40s tp1]: at most ")
    assert any(line.startswith("weigh 1 x [l40s tp1]: holds ") for line in heard)
    assert any(line.startswith(f"verify {found.best.label}: holds at ") for line in heard)
