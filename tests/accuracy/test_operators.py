"""Operators at shapes that were left out: what is scored, and how well it is met."""

import numpy as np
import pytest

from hasten.accuracy.operators import one_token_more, operators_left_out, widths_left_out
from hasten.latency.tables import OperatorTables, operator_paths


@pytest.fixture(scope="module")
def tables():
    return OperatorTables(next(path for path in operator_paths() if "a100" in path.stem))


def test_shapes_left_out_are_met_within_the_aim(tables):
    """Issue: median 4 %, 95th percentile 15 %, outliers counted."""
    found = operators_left_out(tables)
    assert set(found) == {
        "matrix products",
        "prefill attention",
        "decode attention",
        "experts",
        "collectives",
    }
    errors = np.abs(np.concatenate([each.errors for each in found.values()]))
    assert np.median(errors) < 0.04
    assert np.percentile(errors, 95) < 0.15
    timed = sum(each.timed for each in found.values())
    assert 0.4 * timed < len(errors) < 0.52 * timed  # five of ten parts


def test_widths_that_were_never_timed_are_harder(tables):
    widths = np.abs(widths_left_out(tables).errors)
    shapes = np.abs(operators_left_out(tables)["matrix products"].errors)
    assert np.percentile(widths, 95) > np.percentile(shapes, 95)
    assert np.median(widths) < 0.06


def test_few_products_gain_from_one_token_more(tables):
    more = one_token_more(tables)
    assert not np.isnan(more).any()
    assert 0.0 < np.mean(more < -0.1) < 0.12
