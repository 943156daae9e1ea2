"""The page of a plan: trade-offs follow from its rows, the load curve from its best deployment."""

from functools import cache

import pytest
from tests.page.browser import Tab, chromium
from tests.page.build import workload

from hasten.core.request import SLO
from hasten.hardware import load_device
from hasten.page.document import save
from hasten.page.load import LOADS, load_curve
from hasten.page.plan import plan_data
from hasten.page.run import Heading
from hasten.plan import plan

HEADING = Heading(model="m", deployment="d", workload="w")


@cache
def planned(ttft=1.0):
    work = workload(rate=3.0)
    devices = [load_device(name) for name in ("l40s", "h100-sxm")]
    found = plan("llama-3.1-8b", work, SLO(ttft=ttft, tpot=0.1), devices=devices, tp=[1], jobs=1)
    curve = []
    if found.best is not None:
        curve = load_curve(found.best.deployment, work, found.constraints, capacity=found.best.capacity)
    return found, work, curve


def test_trade_offs_are_those_of_the_rows():
    found, work, curve = planned()
    rows = plan_data(HEADING, found, work, curve=curve)["plan"]["rows"]
    assert sum(row["best"] for row in rows) == 1
    for row in rows:
        assert row["planned_user_tokens_per_s"] == pytest.approx(1e3 / row["median_tpot_ms"])
        assert row["planned_usd_per_million_output_tokens"] == pytest.approx(
            row["price_usd_per_hour"] / 3600 / (found.rate * work.output_tokens.mean()) * 1e6
        )
        per_s = row["device_tokens_per_s"] * row["devices"]
        assert row["usd_per_million_output_tokens"] == pytest.approx(
            row["price_usd_per_hour"] / 3600 / per_s * 1e6
        )
        if row[
            "holds"
        ]:  # a deployment that is fuller serves its users no faster, and its tokens cost no more
            assert row["user_tokens_per_s"] <= 1.1 * row["planned_user_tokens_per_s"]
            assert (
                row["usd_per_million_output_tokens"] <= row["planned_usd_per_million_output_tokens"] * 1.0001
            )


def test_a_load_curve_rises_and_its_interval_holds_it():
    found, _, curve = planned()
    assert [each["rate_req_per_s"] for each in curve] == pytest.approx(
        [load * found.best.capacity for load in LOADS]
    )
    assert curve[-1]["ttft_ms"] > curve[0]["ttft_ms"]
    for point in curve:
        assert point["tpot_low_ms"] <= point["tpot_ms"] <= point["tpot_high_ms"]
        assert point["median_ttft_ms"] <= point["ttft_ms"]


@pytest.mark.parametrize(("ttft", "charts"), [(1.0, 4), (0.001, 3)])
def test_it_draws_in_a_browser_whether_something_holds_or_not(tmp_path, ttft, charts):
    found, work, curve = planned(ttft)
    assert bool(found) == (ttft == 1.0)
    save(tmp_path / "plan.html", "plan", plan_data(HEADING, found, work, curve=curve))
    with chromium() as browser:
        tab = Tab(browser)
        page = tab.open((tmp_path / "plan.html").as_uri())
        assert page.locator("svg.chart, .nothing").count() == charts
        assert page.locator("table.numbers tbody tr").count() >= len(found.rows)
        if curve:
            page.get_by_role("button", name="TTFT", exact=True).click()
            page.locator("svg.chart").last.focus()
            page.keyboard.press("ArrowRight")
            assert "req/s" in page.locator(".tip").inner_text()
        assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
        assert tab.complaints == []
