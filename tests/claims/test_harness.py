"""Intervals, rates, plots and records against cases that can be checked by hand."""

import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasten.claims.harness.claim import Curve
from hasten.claims.harness.estimate import Estimate
from hasten.claims.harness.play import highest_rate, ratio_over_seeds
from hasten.claims.harness.record import save
from hasten.claims.harness.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, plot

SVG = "{http://www.w3.org/2000/svg}"


def test_an_interval_is_students() -> None:
    found = Estimate.over([1.0, 2.0, 3.0])
    assert found.value == 2.0
    assert found.high - found.value == pytest.approx(4.303 / math.sqrt(3))
    assert found.seeds == 3
    assert math.isnan(Estimate.over([1.0]).low)
    assert Estimate.exact(4.0).low == Estimate.exact(4.0).high == 4.0


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40), st.floats(0.5, 2.0))
def test_an_interval_scales_with_its_values(values: list[float], factor: float) -> None:
    one, scaled = Estimate.over(values), Estimate.over([factor * each for each in values])
    reach = 1e-9 * max(map(abs, values)) + 1e-12
    assert one.low <= one.value <= one.high
    assert scaled.low == pytest.approx(factor * one.low, abs=reach * 100)


def test_ratios_are_paired_by_seed() -> None:
    found = ratio_over_seeds(range(1, 4), lambda seed: 2.0 * seed, lambda seed: float(seed))
    assert (found.value, found.low, found.high) == (2.0, 2.0, 2.0)


@given(st.floats(0.01, 1000.0))
def test_bisection_finds_the_limit(limit: float) -> None:
    def search() -> float:
        return highest_rate(lambda rate: rate <= limit, low=0.1, high=100.0)

    if limit < 0.1:
        assert search() == 0.0
    elif limit >= 100.0:
        with pytest.raises(ValueError, match="nothing fails at 100"):
            search()
    else:
        assert search() == pytest.approx(limit, rel=0.02)


@given(
    st.lists(st.tuples(st.floats(1e-3, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=20),
    st.booleans(),
)
def test_every_point_is_drawn_within_the_frame(points: list[tuple[float, float]], is_log: bool) -> None:
    curve = Curve(title="<a & b>", x="x", y="y", lines={"one": points, "two": points[:1]}, is_log_x=is_log)
    root = ET.fromstring(plot(curve))
    dots = root.findall(f"{SVG}circle")
    assert len(dots) == len(points) + 1
    for dot in dots:
        assert LEFT - 0.1 <= float(dot.attrib["cx"]) <= WIDTH - RIGHT + 0.1
        assert TOP - 0.1 <= float(dot.attrib["cy"]) <= HEIGHT - BOTTOM + 0.1
    assert any(each.text == "<a & b>" for each in root.findall(f"{SVG}text"))


def test_a_result_is_written_whole(tmp_path: Path) -> None:
    path = save({"claim": "mine", "ours": 1.5}, tmp_path / "new")
    assert json.loads(path.read_text()) == {"claim": "mine", "ours": 1.5}
    assert [each.name for each in path.parent.iterdir()] == ["mine.json"]
