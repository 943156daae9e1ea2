"""The page of a run in a real headless Chromium: opened, filtered, walked by keyboard, darkened, saved, printed."""

from __future__ import annotations

import pytest
from tests.page.browser import Tab, chromium
from tests.page.build import agents, large, played, split

from hasten.page.document import save
from hasten.page.run import Heading, run_data

NASTY = "</script><img src=x onerror=window.hurt=1>"


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    report, found, log = played()
    heading = Heading(
        model=NASTY,
        deployment="2 x [l40s tp1]",
        workload=NASTY,
        checks=[("TTFT p99 300 ms <= 400 ms", True)],
    )
    path = tmp_path_factory.mktemp("page") / "run.html"
    save(path, NASTY, run_data(heading, report, found=found, log=log))
    return path.as_uri()


@pytest.fixture
def tab(browser, address):
    opened = Tab(browser)
    opened.open(address)
    yield opened
    assert opened.complaints == []
    opened.page.close()


def test_it_draws_every_chart_and_asks_nobody(tab, address):
    page = tab.page
    assert page.locator("svg.chart").count() == 5
    assert {each for each in tab.requests if not each.startswith(("data:", "blob:"))} == {address}
    assert page.evaluate("window.hurt") is None
    assert page.locator("h1").inner_text().startswith(NASTY)
    assert page.locator(".limit-text").count() == 2
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_two_pools_and_what_moves_between_them(browser, tmp_path, scheme):
    report, found, log = split()
    path = tmp_path / "pools.html"
    save(
        path,
        "pools",
        run_data(Heading(model="m", deployment="d", workload="w"), report, found=found, log=log),
    )
    tab = Tab(browser, color_scheme=scheme)
    page = tab.open(path.as_uri())
    steps = page.locator("figure", has_text="Steps, queue and KV cache over time")
    words = steps.locator("svg text").all_text_contents()
    assert {"prefill 0", "decode 1", "KV on its way"} <= set(words)
    assert steps.locator(".moving-line").count() == 1
    page.get_by_role("button", name="TPOT", exact=True).click()
    causes = page.locator("figure", has_text="Where the milliseconds go")
    assert "KV on its way" in causes.locator(".legend").inner_text()
    colours = {
        page.evaluate("(each) => getComputedStyle(each).fill", part.element_handle())
        for part in causes.locator(".part.moving").all()
    }
    assert len(colours) == 1
    assert colours.isdisjoint({"rgb(0, 0, 0)", "none"})
    assert tab.complaints == []
    page.close()


@pytest.mark.parametrize("metric", [None, "program"])
def test_programs_are_one_of_the_bars(browser, tmp_path, metric):
    report, found, programs, log = agents()
    heading = Heading(model="m", deployment="d", workload="w")
    data = run_data(heading, report, found=found, programs=programs, log=log)
    if metric is not None:  # a page that explains programs shows them first
        data["explanation"] = {"metric": metric, "objective": "program", "sentence": "tools", "what_ifs": []}
    path = tmp_path / "agents.html"
    save(path, "agents", data)
    tab = Tab(browser)
    page = tab.open(path.as_uri())
    button = page.get_by_role("button", name="Program", exact=True)
    assert button.get_attribute("aria-pressed") == str(metric is not None).lower()
    button.click()
    causes = page.locator("figure", has_text="Where the milliseconds go")
    assert "tools and clients" in causes.locator(".legend").inner_text()
    assert "programs" in causes.locator("svg").text_content()
    assert "program, median" in page.locator(".kpis").inner_text()
    assert tab.complaints == []
    page.close()


def test_a_run_without_programs_offers_none(tab):
    assert tab.page.get_by_role("button", name="Program", exact=True).is_hidden()


def test_the_table_filters_and_says_what_is_wrong_with_a_filter(tab):
    page = tab.page
    report = played()[0]
    box = page.get_by_label("Filter requests")
    box.fill("ttft > 200ms, prompt >= 1000")
    ttft = (report.records.first_token - report.records.arrival) > 0.2
    expected = int((ttft & (report.records.prompt_tokens >= 1000)).sum())
    page.locator("output", has_text=f"{expected} of").wait_for()
    box.fill("colour > 3")
    page.locator("output", has_text="no column colour").wait_for()
    assert box.get_attribute("aria-invalid") == "true"
    box.fill("")
    page.get_by_label("misses a limit").check()
    missed = len(report.records) - round(report.attainment * len(report.records))
    page.locator("output", has_text=f"{missed} of").wait_for()


def test_the_table_sorts_by_a_column(tab):
    page = tab.page
    page.get_by_role("button", name="Sort by TTFT").click()
    page.get_by_role("button", name="Sort by TTFT").click()
    assert page.locator("[role=columnheader].ttft_ms").get_attribute("aria-sort") == "ascending"
    assert page.evaluate("document.activeElement.textContent") == "TTFT ↑"
    records = played()[0].records
    fastest = int(records.id[(records.first_token - records.arrival).argmin()])
    assert page.locator(".rows .row").first.locator("div").first.inner_text() == str(fastest)


def test_a_life_opens_walks_and_closes_by_keyboard(tab):
    page = tab.page
    page.locator(".grid-body").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    first = dialog.locator("h2").inner_text()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Close"
    _, found, _ = played()
    labels = found.of(int(first.split()[1]))
    assert dialog.locator("table.numbers tbody tr").count() >= 3
    longest = max(labels.values())
    assert longest > 0.0
    page.keyboard.press("ArrowDown")
    assert dialog.locator("h2").inner_text() != first
    page.keyboard.press("Escape")
    assert dialog.is_hidden()
    assert page.evaluate("document.activeElement.className") == "grid-body"


def test_everything_can_be_reached_by_tab(tab):
    page = tab.page
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "(document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent).trim()"
        )
        seen.append(name)
        if name == "Requests":
            break
    for name in ("Use dark colours", "Save TTFT as SVG", "Show less time", "Filter requests", "Sort by E2E"):
        assert name in seen


def test_a_chart_can_be_read_by_arrow_keys(tab):
    page = tab.page
    page.locator("svg.chart").first.focus()
    page.keyboard.press("ArrowRight")
    assert "within" in page.locator(".tip").inner_text()
    page.keyboard.press("Escape")
    assert page.locator(".tip").is_hidden()


def test_the_timeline_zooms_and_comes_back(tab):
    page = tab.page
    label = lambda: page.locator("figure.wide svg[aria-label^=Timeline]").get_attribute("aria-label")  # noqa: E731
    whole = label()
    page.get_by_role("button", name="Show less time").click()
    page.wait_for_timeout(50)
    assert label() != whole
    page.get_by_role("button", name="Show all of the run").click()
    page.wait_for_timeout(50)
    assert label() == whole


def test_dark_follows_the_system_and_the_button(browser, address):
    paper = "getComputedStyle(document.body).backgroundColor"
    for scheme in ("light", "dark"):
        tab = Tab(browser, color_scheme=scheme)
        page = tab.open(address)
        first = page.evaluate(paper)
        assert (sum(map(int, first[4:-1].split(","))) < 200) == (scheme == "dark")
        page.locator("button.theme").click()
        assert page.evaluate(paper) != first
        page.close()


@pytest.mark.parametrize("kind", ["SVG", "PNG"])
def test_a_chart_is_saved(tab, kind, tmp_path):
    with tab.page.expect_download() as waited:
        tab.page.get_by_role("button", name=f"Save TTFT as {kind}").click()
    path = tmp_path / "chart"
    waited.value.save_as(path)
    content = path.read_bytes()
    assert waited.value.suggested_filename == f"cdf-ttft.{kind.lower()}"
    assert content.startswith(b"<svg" if kind == "SVG" else b"\x89PNG")
    if kind == "SVG":
        assert b"var(" not in content
        assert b"class=" not in content


def test_it_prints(tab):
    paper = tab.page.pdf(prefer_css_page_size=True)
    assert paper.startswith(b"%PDF")
    assert paper.count(b"/Type /Page\n") + paper.count(b"/Type /Page ") in range(2, 9)


@pytest.mark.slow
def test_100_000_requests_are_there_within_two_seconds(browser, tmp_path):
    save(tmp_path / "big.html", "big", large())
    tab, took = Tab(browser), []
    for _ in range(3):  # other work may share the machine
        page = tab.open((tmp_path / "big.html").as_uri())
        took.append(page.evaluate("performance.now()"))  # since the navigation began
    assert min(took) < 2_000
    began = page.evaluate("performance.now()")
    page.get_by_label("Filter requests").fill("ttft > 1s")
    page.locator("output", has_text="of 100,000 requests").and_(
        page.locator("output:not(:text-matches('^100,000'))")
    ).wait_for()
    assert page.evaluate("performance.now()") - began < 1_000
    assert tab.complaints == []
