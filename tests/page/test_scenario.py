"""Scenarios: bounded, chosen from lists, and the same on the command line."""

import json
import shlex
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasten.cli import main
from hasten.errors import InputError
from hasten.page import player as playing
from hasten.page.player import Player, StaleError
from hasten.page.scenario import DEFAULTS, FILE_BYTES, command, controls, load_scenario, scenario

KNOWN = controls()
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([each.name for each in KNOWN]), ANYTHING, max_size=4))
def test_a_scenario_is_within_bounds_or_refused(given):
    try:
        values = scenario(given, KNOWN)
    except InputError:
        return
    for control in KNOWN:
        value = values[control.name]
        if control.options:
            assert value in control.options
        elif value is None:
            assert control.is_optional
        else:
            assert control.low <= value <= control.high


@pytest.mark.parametrize(
    "given",
    [
        {"model": "/etc/passwd"},
        {"device": "../../secret.toml"},
        {"workload": "/etc/passwd"},
        {"workload": "poisson:rate=8,n=100000000"},
        {"schedule": "./evil.py"},
        {"requests": 20_001},
        {"rate_req_per_s": float("nan")},
        {"replicas": 1.5},
        {"replicas": True},
        {"seed": None},
        {"calibration": "x"},
        [],
        None,
    ],
)
def test_no_name_is_a_path_and_no_number_without_end(given):
    with pytest.raises(InputError):
        scenario(given, KNOWN)


def test_what_the_user_named_is_offered():
    known = controls({"workload": ("./mine.csv",)})
    assert scenario({"workload": "./mine.csv"}, known)["workload"] == "./mine.csv"


def test_defaults_name_every_control():
    assert set(DEFAULTS) == {each.name for each in KNOWN}
    assert scenario({}, KNOWN) == dict(DEFAULTS)


def test_the_command_line_plays_the_same(capsys):
    values = scenario({"device": "l40s", "rate_req_per_s": 2.5, "requests": 60, "max_num_seqs": 8}, KNOWN)
    played, _ = Player().play(values)
    main([*shlex.split(command(values))[1:], "--json"])
    found = json.loads(capsys.readouterr().out)
    assert played["command"] == command(values)
    for name in ("mean_ttft_ms", "p99_tpot_ms", "output_throughput", "attainment"):
        assert found[name] == played["figures"][name]


def test_a_newer_scenario_stops_an_older_one(monkeypatch):
    player, ended, began = Player(), [], threading.Event()
    slow = scenario({"requests": 20_000, "rate_req_per_s": 20.0, "device": "a100-sxm-80g"}, KNOWN)
    simulate = playing.simulate

    def watched(*args, **options):
        began.set()
        return simulate(*args, **options)

    def play():
        try:
            ended.append(player.play(slow))
        except StaleError:
            ended.append("stale")

    monkeypatch.setattr(playing, "simulate", watched)
    older = threading.Thread(target=play)
    older.start()
    assert began.wait(60)
    found, _ = player.play(scenario({"requests": 50}, KNOWN))
    older.join()
    assert found["requests"]["count"] == 50
    assert ended == ["stale"]


def test_a_scenario_file_is_small_and_an_object(tmp_path):
    path = tmp_path / "scenario.json"
    for content, said in (("[1]", "object"), ("{", "not a scenario"), (" " * (FILE_BYTES + 1), "at most")):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=said):
            load_scenario(path)
    path.write_text('{"replicas": 3}', encoding="utf-8")
    assert scenario(load_scenario(path), KNOWN)["replicas"] == 3


def test_labels_and_steps_follow_the_curves_unless_something_has_moved():
    player = Player()
    curves, rest = player.play(scenario({"requests": 50}, KNOWN))
    assert "composition" not in curves
    found = rest()
    assert set(found) == {"composition", "lives", "timeline"}
    assert sum(band["requests"] for band in found["composition"]["ttft"]) == curves["requests"]["count"]
    _, older = player.play(scenario({"requests": 60}, KNOWN))
    player.play(scenario({"requests": 70}, KNOWN))
    with pytest.raises(StaleError):
        older()


def test_the_curves_of_2000_requests_take_less_than_300_ms_of_a_core():
    player, took = Player(), []
    for rate in (4.0, 4.1, 4.2, 4.3):  # the first reads the workload and compiles the deployment
        began = time.process_time()
        player.play(scenario({"device": "l40s", "rate_req_per_s": rate}, KNOWN))
        took.append(time.process_time() - began)
    assert min(took) < 0.3  # 0.08 s of an ordinary core; processor time, as other work may share the machine
