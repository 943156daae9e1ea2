"""A plan that goes on from a journal, cut anywhere, ends as if nothing had happened; no other plan may use it."""

import json
import math
import os
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.plan.build import LOOSE, planned, work

from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.plan.bisection import CapacityEstimate
from hasten.plan.bounds import Bounds
from hasten.plan.constraints import Check, Constraints
from hasten.plan.identity import digest, inputs_of
from hasten.plan.journal import Journal
from hasten.plan.pool import Pool
from hasten.plan.probe import Outcome, Setting
from hasten.plan.table import render
from hasten.plan.tasks import Weighed, bound, weigh
from hasten.plan.workers import Done
from hasten.policies import load_policy

POLICIES = {"schedule": load_policy("schedule", "fcfs")}


def small(**changes):
    given = {"work": work(30.0, 120), "devices": ("l40s",), **changes}
    return planned(**given)


def setting(**changes) -> Setting:
    shapes = (Deployment.of("llama-3.1-8b", "l40s"),)
    given = {"work": work(), "constraints": Constraints(LOOSE), "shapes": shapes, "policies": POLICIES}
    return Setting(**{**given, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The text of a finished journal, and the plan that wrote it."""
    path = tmp_path_factory.mktemp("finished") / "plan.jsonl"
    return small(journal=path), path.read_bytes()


def test_a_journal_changes_nothing(finished):
    made, text = finished
    assert made.to_dict() == small().to_dict()
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines[0]["journal"] == "hasten plan, 1"
    assert len(lines) == made.simulations + 1
    assert {"bound", "weigh", "verify", "imagine", "refine"} == {line["task"] for line in lines[1:]}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0.0, 1.0))
def test_a_journal_cut_at_any_byte_goes_on_to_the_same_plan(finished, tmp_path, share):
    made, text = finished
    path = tmp_path / "cut.jsonl"
    path.write_bytes(text[: round(share * len(text))])
    again = small(journal=path)
    assert again.to_dict() == made.to_dict()
    assert render(again) == render(made)
    assert sorted(map(_untimed, path.read_bytes().splitlines())) == sorted(map(_untimed, text.splitlines()))


def _untimed(line):
    return json.dumps({**json.loads(line), "seconds": 0})


def test_what_is_in_the_journal_is_not_simulated_again(finished, tmp_path, monkeypatch):
    made, text = finished
    path = tmp_path / "all.jsonl"
    path.write_bytes(text)
    monkeypatch.setattr("hasten.plan.pool.timed", lambda *_: pytest.fail("ran a task again"))
    heard = []
    assert small(journal=path, tell=heard.append).to_dict() == made.to_dict()
    assert heard == [f"{path}: {made.simulations} results are there already"]


def test_two_settings_share_one_journal(tmp_path):
    path = tmp_path / "confident.jsonl"
    first = small(confidence=0.9, journal=path)
    assert first.likely is not None
    before = path.read_bytes()
    assert small(confidence=0.9, journal=path, jobs=2).to_dict() == first.to_dict()
    assert path.read_bytes().startswith(before)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"work": work(30.0, 121)}, "workload"),
        ({"percentile": 95.0}, "limits"),
        ({"devices": ("h100-sxm",)}, "deployments"),
        ({"policies": {"schedule": "sarathi"}}, "policies"),
        ({"seed": 1}, "seed, pessimism or confidence"),
    ],
)
def test_a_journal_of_other_inputs_is_refused_by_name(finished, tmp_path, changes, named):
    path = tmp_path / "other.jsonl"
    path.write_bytes(finished[1])
    with pytest.raises(InputError, match=f"other.jsonl: belongs to another plan: differs in {named}: give"):
        small(journal=path, **changes)
    assert path.read_bytes() == finished[1]


def test_a_journal_of_other_code_is_refused(finished, tmp_path, monkeypatch):
    path = tmp_path / "old.jsonl"
    path.write_bytes(finished[1])
    monkeypatch.setattr("hasten.plan.identity.code", lambda: "0" * 64)
    with pytest.raises(InputError, match="differs in version of hasten, NumPy or Python"):
        small(journal=path)


@pytest.mark.parametrize("text", [b"my notes", b"{}\n", b'{"journal": "hasten plan, 1"\n{}\n'])
def test_files_that_are_no_journal_stay_as_they_are(tmp_path, text):
    path = tmp_path / "notes.txt"
    path.write_bytes(text)
    with pytest.raises(InputError, match=r"notes.txt"):
        small(journal=path)
    assert path.read_bytes() == text


def test_damage_is_named_by_line(finished, tmp_path):
    lines = finished[1].split(b"\n")
    path = tmp_path / "damaged.jsonl"
    path.write_bytes(b"\n".join([*lines[:3], lines[3][:50], *lines[4:]]))
    with pytest.raises(InputError, match=r"damaged.jsonl, line 4: is damaged"):
        small(journal=path)
    path.write_bytes(b"\n".join([*lines[:3], lines[3].replace(b'"is"', b'"si"'), *lines[4:]]))
    with pytest.raises(InputError, match=r"damaged.jsonl: the line of key .* is damaged"):
        small(journal=path)


def test_a_journal_that_cannot_be_opened_is_an_error(tmp_path):
    with pytest.raises(InputError, match="can't be opened"):
        small(journal=tmp_path / "no" / "folder.jsonl")


SETTING = setting()

# -- what is kept ---------------------------------------------------------------------------------------

figures = st.floats(allow_nan=True, allow_infinity=True)
checks = st.builds(Check, st.text(max_size=5), figures, figures)
outcomes = st.builds(
    Outcome,
    figures,
    st.tuples(checks),
    ttft=figures,
    preemptions=st.integers(0, 2**40),
    tightest=st.text(max_size=5),
)
capacities = st.builds(
    CapacityEstimate, figures, figures, st.none() | outcomes, st.none() | outcomes, st.integers(0, 99)
)
results = st.builds(Bounds, figures, st.tuples(checks, checks)) | outcomes | capacities
results |= st.builds(Weighed, capacities, st.integers(0, 99), st.none() | outcomes)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(result=results, number=figures)
def test_results_come_back_digit_for_digit(tmp_path, result, number):
    path, task, about = tmp_path / "digits.jsonl", (weigh, (3, number)), SETTING
    path.unlink(missing_ok=True)
    with Journal(path, about) as journal:
        journal.of(about).append(task, Done(result, 0.25))
    with Journal(path, about) as journal:
        kept = journal.of(about)
        assert task in kept
        assert (weigh, (4, number)) not in kept
        assert repr(kept.get(task)) == repr(Done(result, 0.25))


def test_an_unknown_result_is_not_kept_as_something_else(tmp_path):
    with Journal(tmp_path / "new.jsonl", setting()) as journal, pytest.raises(TypeError, match="complex"):
        journal.of(setting()).append((bound, (0,)), Done(1j, 0.0))


# -- fingerprints ---------------------------------------------------------------------------------------


def test_equal_inputs_have_equal_fingerprints_in_every_process(tmp_path):
    script = tmp_path / "fingerprint.py"
    script.write_text(
        "from tests.plan.test_journal import setting\n"
        "from hasten.plan.identity import inputs_of\n"
        "import json; print(json.dumps(inputs_of(setting())))\n"
    )
    found = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONHASHSEED": "7"},
    )
    mine = setting()
    assert mine.shapes[0].cost.decode_line(1, 1)  # what is derived from the fields and kept changes nothing
    assert json.loads(found.stdout) == inputs_of(mine)


def test_fingerprints_tell_values_apart():
    values = [1, 1.0, "1", b"1", True, None, (1,), ((1,),), (1, 1), {"a": 1}, {1, 2}, math.nan, -0.0, 0.0]
    assert len({digest(value) for value in values}) == len(values)
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_the_text_of_a_policy_from_a_file_counts(tmp_path):
    path = tmp_path / "mine.py"
    made = []
    for reserve in (1, 2):
        path.write_text(
            "from hasten import SchedulingPolicy\n\n"
            f"class Mine(SchedulingPolicy):\n    '''Mine {reserve}.'''\n"
        )
        made.append(digest(load_policy("schedule", str(path))))
    assert made[0] != made[1]


# -- killed ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_a_killed_driver_loses_nothing(tmp_path):
    path = tmp_path / "killed.jsonl"
    line = (
        "plan llama-3.1-8b --workload poisson:rate=30,prompt=lognormal:400:0.5:2000,output=uniform:2:80,n=400"
        " --ttft 1s --devices l40s,h100-sxm --tp 1"
    )
    command = [
        sys.executable,
        "-m",
        "hasten",
        *line.split(),
    ]
    kept = [*command, "--jobs", "2", "--journal", str(path)]
    driver = subprocess.Popen(kept, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    began = time.monotonic()
    while not path.exists() or path.read_bytes().count(b"\n") < 5:
        assert time.monotonic() - began < 60, "no result in a minute"
        time.sleep(0.005)
    driver.kill()
    driver.communicate(timeout=30)
    while _is_alive(driver.pid):  # its workers end by themselves
        assert time.monotonic() - began < 60, "workers outlive their driver"
        time.sleep(0.05)
    had = path.read_bytes()
    resumed, fresh = (
        subprocess.run(each, capture_output=True, text=True, check=True, timeout=60)
        for each in (kept, command)
    )
    assert resumed.stdout == fresh.stdout
    whole = had[: had.rfind(b"\n") + 1]
    assert path.read_bytes().startswith(whole)
    lines = whole.count(b"\n")
    assert f"{lines - 1} results are there already" in resumed.stderr


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_two_plans_cannot_share_a_journal_at_once(tmp_path):
    path = tmp_path / "busy.jsonl"
    script = (
        "import fcntl, os, sys, time\n"
        f"file = os.open({str(path)!r}, os.O_RDWR | os.O_CREAT)\n"
        "fcntl.lockf(file, fcntl.LOCK_EX)\nprint('locked', flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "locked\n"
            with pytest.raises(InputError, match="another plan writes to it"):
                Journal(path, setting())
        finally:
            other.kill()


def test_a_result_is_kept_before_it_is_used(tmp_path):
    path = tmp_path / "first.jsonl"
    with Journal(path, setting()) as journal, Pool(setting(), 1, journal=journal) as pool:
        found = pool.result((bound, (0,)))
        assert json.loads(path.read_bytes().splitlines()[-1])["result"]["rate"] == found.rate
