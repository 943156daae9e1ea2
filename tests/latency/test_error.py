"""Errors of step times: intervals, their laws, and coverage of what a spread was fitted to."""

import math
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasten.errors import InputError
from hasten.latency.error import Spread, StepTimeError, conformal_spread

SPREADS = st.floats(0.0, 1.0)
SHARES = st.floats(0.01, 0.99)


@given(SPREADS, SPREADS, st.floats(-0.5, 0.5), SHARES, SHARES)
def test_factor_rises_with_share(
    systematic: float, residual: float, bias: float, one: float, other: float
) -> None:
    spread = Spread(systematic, residual, bias)
    low, high = sorted((one, other))
    for single in (False, True):
        assert spread.factor(low, single=single) <= spread.factor(high, single=single)


@given(SPREADS, SPREADS, SHARES)
def test_single_steps_are_no_surer_than_runs(systematic: float, residual: float, confidence: float) -> None:
    spread = Spread(systematic, residual)
    low, high = spread.interval(confidence)
    wide_low, wide_high = spread.interval(confidence, single=True)
    assert wide_low <= low * (1 + 1e-12)
    assert high <= wide_high * (1 + 1e-12)
    assert math.isclose(low * high, 1.0, rel_tol=1e-9)  # even-handed in logs


def test_closed_forms() -> None:
    assert Spread(0.1, bias=0.2).factor(0.5) == pytest.approx(math.exp(0.2))
    assert Spread(0.3, 0.4).single == pytest.approx(0.5)
    assert Spread(0.1).factor(0.95) == pytest.approx(math.exp(0.1644854))
    error = StepTimeError(Spread(0.1), Spread(0.2))
    assert error.quantile(0.95) == pytest.approx((math.exp(0.1644854), math.exp(0.3289707)))
    assert error.widened(2.0).decode.systematic == pytest.approx(0.2)


@given(st.lists(st.floats(-1.0, 1.0), min_size=20, max_size=200))
def test_conformal_spread_covers_its_own_errors(errors: list[float]) -> None:
    half = conformal_spread(errors) * NormalDist().inv_cdf(0.95)
    assert sum(abs(each) <= half * (1 + 1e-9) for each in errors) >= 0.9 * len(errors)


def test_few_errors_give_a_wider_spread() -> None:
    assert conformal_spread([0.1]) > conformal_spread([0.1] * 5) > 0.05
    normal = NormalDist(0.0, 0.2)
    drawn = [normal.inv_cdf((i + 0.5) / 2000) for i in range(2000)]
    assert conformal_spread(drawn) == pytest.approx(0.2, rel=0.01)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, math.nan])
def test_shares_outside_are_refused(share: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        Spread(0.1).factor(share)


@pytest.mark.parametrize(
    ("systematic", "residual", "bias"), [(-0.1, 0, 0), (0, math.nan, 0), (0, 0, math.inf)]
)
def test_spreads_that_cannot_be_are_refused(systematic: float, residual: float, bias: float) -> None:
    with pytest.raises(InputError):
        Spread(systematic, residual, bias)


def test_correlations_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="from -1 to 1"):
        StepTimeError(Spread(0.1), Spread(0.1), correlation=2.0)


def test_no_errors_are_refused() -> None:
    with pytest.raises(InputError, match="no errors"):
        conformal_spread([])
