"""The number of processes changes nothing but the time; an interrupt leaves no process behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
from tests.plan.build import planned, work

from hasten.errors import InputError
from hasten.plan.constraints import Constraints
from hasten.plan.pool import Pool
from hasten.plan.probe import Setting
from hasten.plan.table import render
from hasten.plan.tasks import bound


def gone() -> bool:
    """Whether no worker is left. The executor's thread reaps them too: for a moment neither side has the status."""
    until = time.monotonic() + 5.0
    while multiprocessing.active_children() and time.monotonic() < until:
        time.sleep(0.01)
    return not multiprocessing.active_children()


def test_one_process_and_two_make_the_same_plan():
    one, two = (planned(work=work(30.0, 200), jobs=jobs) for jobs in (1, 2))
    assert one.to_dict() == two.to_dict()
    assert render(one) == render(two)
    assert gone()


def test_fresh_processes_work_as_well(monkeypatch):
    from tests.plan.build import LOOSE

    from hasten.deployment import Deployment

    shapes = (Deployment.of("llama-3.1-8b", "l40s"),)
    setting = Setting(work(), Constraints(LOOSE), shapes)
    monkeypatch.setattr("hasten.plan.workers._context", lambda: multiprocessing.get_context("spawn"))
    with Pool(setting, 2) as pool:
        assert pool.result((bound, (0,))) == bound(setting, 0)
        assert pool.done == 1
    assert gone()


def test_a_task_runs_once():
    seen = []
    with Pool(None, 1) as pool:
        task = (lambda setting, word: seen.append(word) or word, ("a",))
        assert pool.result(task) == pool.result(task) == "a"
    assert seen == ["a"]


@pytest.mark.parametrize("jobs", [0, -1, 1.5, True, "2"])
def test_jobs_must_be_a_count(jobs):
    with pytest.raises(InputError, match="jobs is"):
        Pool(None, jobs)


def test_errors_of_a_task_reach_the_caller():
    with Pool(None, 1) as pool, pytest.raises(ZeroDivisionError):
        pool.result((lambda setting: 1 // 0, ()))


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_an_interrupt_ends_the_command_quietly():
    command = "plan llama-3.1-8b --rate 200 --ttft 1s --tpot 50ms --jobs 2"
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from hasten.cli import main; sys.exit(main())", *command.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(1.5)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "hasten: interrupted\n")
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
