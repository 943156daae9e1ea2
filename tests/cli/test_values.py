"""Text to values: laws of durations and lists, and what is refused."""

import contextlib
import math
from argparse import ArgumentTypeError
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hasten.cli.options import values
from hasten.cli.options.sides import sweep

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
NAMES = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)


@given(st.floats(1e-6, 1e9), st.sampled_from(sorted(UNITS)))
def test_a_duration_is_its_number_times_its_unit(number: float, unit: str) -> None:
    assert values.duration(f"{number!r}{unit}") == pytest.approx(number * UNITS[unit], rel=1e-12)
    assert values.duration(f" {number!r} {unit} ") == values.duration(f"{number!r}{unit}")


@given(st.text(max_size=12))
def test_any_text_is_a_positive_duration_or_refused(text: str) -> None:
    with contextlib.suppress(ArgumentTypeError):
        assert 0.0 < values.duration(text) < math.inf


@given(st.integers(1, 1023), st.sampled_from(("MiB", "GiB", "TiB")))
def test_a_size_is_its_number_times_its_unit(number: int, unit: str) -> None:
    assert values.size(f"{number}{unit}") == number << {"M": 20, "G": 30, "T": 40}[unit[0]]
    assert values.size("0") == 0
    with pytest.raises(ArgumentTypeError, match="no unit"):
        values.size(f"{number}")
    with pytest.raises(ArgumentTypeError, match="unknown unit"):
        values.size(f"{number}gig")


@settings(max_examples=50)
@given(st.lists(st.tuples(NAMES, st.dictionaries(NAMES, st.integers(), max_size=3)), min_size=1, max_size=4))
def test_a_list_of_policies_with_parameters_comes_apart_where_it_was_joined(
    policies: list[tuple[str, dict[str, int]]],
) -> None:
    parts = [
        name + (":" + ",".join(f"{key}={value}" for key, value in given.items()) if given else "")
        for name, given in policies
    ]
    if len(set(parts)) == len(parts):
        assert values.items(",".join(parts)) == parts


@given(st.floats(0.1, 100.0), st.floats(0.1, 100.0), st.integers(2, 20))
def test_a_sweep_runs_from_end_to_end_in_rising_steps(low: float, width: float, points: int) -> None:
    found = [float(each) for each in sweep(f"rate={low!r}..{low + width!r}:{points}").points]
    assert found[0] == pytest.approx(low, rel=1e-5)
    assert found[-1] == pytest.approx(low + width, rel=1e-5)
    assert found == sorted(set(found))
    assert len(found) <= points


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("rate=2..20", ("2", "6.5", "11", "15.5", "20")),
        ("rate=2,5.5,10", ("2", "5.5", "10")),
        ("replicas=1..4:4", ("1", "2", "3", "4")),
        ("max-num-seqs=1..2:5", ("1", "2")),
        ("schedule.batch_size=8..32:4", ("8", "16", "24", "32")),
    ],
)
def test_sweeps(text: str, points: tuple[str, ...]) -> None:
    assert sweep(text).points == points


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (values.duration, "500ms", 0.5),
        (values.duration, "2min", 120.0),
        (values.duration, "1e-3s", 0.001),
        (values.rate, "0.5", 0.5),
        (values.rate, "inf", math.inf),
        (values.share, "99%", 0.99),
        (values.share, "1", 1.0),
        (values.percentiles, "99,50,99.9", (50.0, 99.0, 99.9)),
        (values.counts, "1,2,4", [1, 2, 4]),
        (values.assignment, "max-num-seqs=8", ("max_num_seqs", "8")),
    ],
)
def test_values(parse: Callable[[str], object], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (values.duration, "500"),
        (values.duration, ""),
        (values.duration, "ms"),
        (values.duration, "0ms"),
        (values.duration, "-1s"),
        (values.duration, "infs"),
        (values.duration, "1e400s"),
        (values.duration, "5 years"),
        (values.rate, "0"),
        (values.rate, "-inf"),
        (values.rate, "8/s"),
        (values.share, "0"),
        (values.share, "nan"),
        (values.share, "101%"),
        (values.percentile, "0"),
        (values.percentile, "p99"),
        (values.count, "0"),
        (values.count, "1e3"),
        (values.whole, "-1"),
        (values.whole, str(1 << 70)),
        (values.items, "a,,b"),
        (values.items, "a,a"),
        (values.items, ""),
        (values.assignment, "=3"),
        (sweep, "rate"),
        (sweep, "rate=1..2:1"),
        (sweep, "rate=1..2:999"),
        (sweep, "tp=1..2.5:2"),
        (sweep, "colour=1..2"),
    ],
)  # fmt: skip
def test_refused(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "share"), [("90", 0.9), ("90%", 0.9), ("0.9", 0.9), ("99.5", 0.995), ("0.5%", 0.005)]
)
def test_confidences_are_percentages_or_shares(text: str, share: float) -> None:
    assert values.confidence(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["0", "100", "-5", "nan", "high", "100%"])
def test_confidences_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="no confidence"):
        values.confidence(text)
