"""Errors by part: they vanish where the prediction is the record, and follow the steps where it is not."""

from dataclasses import replace

import numpy as np
import pytest

from hasten.accuracy.parts import Part, parts_of
from hasten.accuracy.recorded import load_run
from hasten.accuracy.replay import replay


def test_a_perfect_replay_has_no_errors() -> None:
    found = replay(load_run("qwen3-30b-a3b-rtx-pro-6000-dp2"), since=15.0)
    perfect = replace(found, predicted=found.run.measured)
    parts = {each.name: each for each in parts_of(perfect, 15.0)}
    assert len(parts) == 4
    assert all(each.size == 0.0 and each.count > 40 for each in parts.values())


def test_dense_runs_have_windows_and_capacity() -> None:
    parts = {each.name: each for each in parts_of(replay(load_run("llama-3.1-8b-rtx-4090")), 0.0)}
    assert parts["KV capacity"].size < 0.01
    assert 0.0 < parts["step windows"].size < 0.06
    assert sum(each.count for name, each in parts.items() if name.startswith("TPOT")) > 290


def test_a_part_leaves_unknown_errors_out() -> None:
    part = Part.of("some", np.array([0.1, -0.3, np.nan]))
    assert (part.count, part.median, part.size) == (2, pytest.approx(-0.1), pytest.approx(0.2))
    assert Part.of("none", np.array([])).count == 0
