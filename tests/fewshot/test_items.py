"""Latencies of items on a new device: what the pool knows exactly comes back, in whatever unit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten.errors import InputError
from hasten.fewshot.items import ItemPool
from hasten.fewshot.rivals import nearest_device, ridge_over_devices

RNG = np.random.default_rng(0)
COUNTS = RNG.integers(0, 5, (80, 4)) / 4.0
COSTS = np.array([[1.0, 2.0, 4.0, 8.0], [3.0, 1.0, 1.0, 2.0], [1.0, 5.0, 2.0, 1.0], [2.0, 2.0, 2.0, 2.0]])
KNOWN = 1.0 + COUNTS @ COSTS.T
POOL = ItemPool(KNOWN / KNOWN.mean(axis=0), COUNTS)
MEASURED = POOL.most_telling(range(80), 10)


@given(unit=st.floats(1e-6, 1e6), device=st.integers(0, 3))
@settings(max_examples=20)
def test_a_known_device_comes_back_in_any_unit(unit, device):
    found, spread = POOL.predict(MEASURED, unit * KNOWN[MEASURED, device], range(80))
    assert found == pytest.approx(unit * KNOWN[:, device], rel=0.03)
    assert (spread > 0.0).all()
    assert nearest_device(KNOWN, MEASURED, unit * KNOWN[MEASURED, device]) == pytest.approx(
        unit * KNOWN[:, device]
    )


def test_a_device_of_other_costs_is_learnt_and_rivals_are_not_as_close():
    truth = 1.0 + COUNTS @ np.array([9.0, 1.0, 1.0, 1.0])
    found, _ = POOL.predict(MEASURED, truth[MEASURED], range(80))
    error = np.abs(found / truth - 1.0).mean()
    assert error < 0.05
    for rival in (nearest_device, ridge_over_devices):
        assert error < np.abs(rival(KNOWN, MEASURED, truth[MEASURED]) / truth - 1.0).mean()


def test_noise_widens_the_spread():
    truth = KNOWN[:, 0]
    _, calm = POOL.predict(MEASURED, truth[MEASURED], range(80))
    noisy = truth[MEASURED] * np.exp(np.random.default_rng(1).normal(0.0, 0.5, 10))
    _, wild = POOL.predict(MEASURED, noisy, range(80))
    assert wild.mean() > 2.0 * calm.mean()


@given(count=st.integers(1, 80))
def test_chosen_items_are_distinct(count):
    chosen = POOL.most_telling(range(80), count)
    assert len(set(chosen)) == count


@pytest.mark.parametrize("latencies", [[1.0], [1.0, 0.0], [1.0, float("nan")], [1.0, -2.0]])
def test_latencies_that_cannot_be(latencies):
    with pytest.raises(InputError, match="give two or more, each above 0"):
        POOL.predict([0, 1], np.array(latencies), [2])
