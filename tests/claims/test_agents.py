"""Speculation of agents, against cases that can be worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasten.claims import spec_cache
from hasten.claims import speculative_planning as dsp

seconds = st.floats(0, 50)


@given(seconds, seconds, seconds)
def test_a_right_guess_saves_the_overlap(fetch: float, reason: float, guess: float) -> None:
    times = spec_cache.Times(*(np.array([each]) for each in (fetch, reason, guess)))
    expected = min(fetch, max(0.0, reason - guess))
    assert spec_cache.saved(times)[0] == expected
    assert spec_cache.waited(times, [True])[0] == pytest.approx(fetch - expected, abs=1e-9)
    assert spec_cache.waited(times, [False])[0] == pytest.approx(fetch, abs=1e-9)


def plan(*agrees: bool) -> dsp.Plan:
    """These steps, then only such that agree."""
    return dsp.Plan([*agrees, *[True] * (dsp.STEPS - len(agrees))], [1.0] * dsp.STEPS)


def test_a_window_lasts_to_its_first_mismatch() -> None:
    """Depth 4: agree, mismatch (two steps done, two lost), then windows of four."""
    played = dsp.play(plan(True, False), 4)
    windows = (dsp.STEPS - 2) // 4
    rest = dsp.STEPS - 2 - 4 * windows
    tail = (rest - 1) * dsp.DRAFT + dsp.TARGET
    assert played.seconds == dsp.DRAFT + dsp.TARGET + windows * (3 * dsp.DRAFT + dsp.TARGET) + tail
    guesses = (1 + windows) * 4 * dsp.DRAFT_COST + rest * dsp.DRAFT_COST
    assert played.cost == pytest.approx((dsp.STEPS + 2) * dsp.TARGET_COST + guesses)
    assert played.lost == pytest.approx(2 * dsp.TARGET_COST + guesses)


def test_step_by_step_costs_nothing_extra() -> None:
    assert dsp.play(plan(False), 1) == dsp.Played(dsp.STEPS * dsp.TARGET, dsp.STEPS * dsp.TARGET_COST, 0.0)


def test_depth_follows_what_is_seen() -> None:
    learned = dsp.Learned()
    for _ in range(500):
        learned.learn(1.0, 6, is_cut=False)
        learned.learn(-1.0, 0, is_cut=False)
    assert learned.depth(1.0) == 7
    assert learned.depth(-1.0) == 1
    assert dsp.Learned(offset=100).depth(0.0) == dsp.DEEPEST


def test_a_larger_tau_looks_further() -> None:
    """Of matches 0 and 4 in turn the 0.5-expectile is 2, that of 0.8 is 3.2."""
    found = []
    for tau in (0.5, 0.8):
        learned = dsp.Learned(tau=tau)
        for _ in range(3000):
            for matches in (0, 4):
                learned.learn(0.0, matches, is_cut=False)
        found.append(learned.predict(0.0))
    assert found == [pytest.approx(2.0, abs=0.15), pytest.approx(3.2, abs=0.15)]
