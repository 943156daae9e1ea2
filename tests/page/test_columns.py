"""Columns of a page: what is stored is what was given, to the precision they promise."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hasten.page import columns

NUMBERS = st.lists(st.floats(-1e9, 1e9), max_size=50)


@given(st.lists(st.integers(-5, 2**32 - 7), max_size=50))
def test_whole_numbers_are_exact(given):
    assert columns.read(columns.integers(given)).tolist() == given


@given(st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=20))
def test_numbers_beyond_32_bits_keep_seven_digits(given):
    np.testing.assert_allclose(columns.read(columns.integers(given)), given, rtol=1e-6, atol=1)


@given(NUMBERS)
def test_an_even_grid_is_off_by_half_a_step_at_most(given):
    stored = columns.evenly(given)
    np.testing.assert_allclose(columns.read(stored), given, atol=0.5001 * stored["step"] + 1e-6)


@given(st.lists(st.floats(0.0, 1.0), max_size=50), st.sampled_from([8, 16]))
def test_shares_are_off_by_half_a_part_at_most(given, bits):
    stored = columns.read(columns.shares(given, bits=bits))
    np.testing.assert_allclose(stored, given, atol=0.5001 / (2**bits - 1))
    assert ((stored >= 0.0) & (stored <= 1.0)).all()


def test_what_did_not_happen_stays_so():
    stored = columns.read(columns.floats([1.5, np.nan, 3.0]))
    assert stored[0] == 1.5
    assert np.isnan(stored[1])


def test_small_numbers_take_one_byte():
    assert [columns.integers([0, most])["type"] for most in (255, 256, 65536)] == ["u8", "u16", "u32"]
