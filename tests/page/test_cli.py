"""`--report` beside the numbers: it changes none of them, and says at once what can't be written."""

import pytest
from tests.page.browser import Tab, chromium

from hasten.cli import main

RUN = ["simulate", "llama-3.1-8b", "--device", "l40s", "--rate", "2", "--limit", "40", "--ttft", "1s"]


def test_the_page_stands_beside_the_numbers(tmp_path, capsys):
    assert main(RUN) == 0
    alone = capsys.readouterr().out
    assert main([*RUN, "--report", str(tmp_path / "run.html")]) == 0
    assert capsys.readouterr().out == alone
    assert (tmp_path / "run.html").read_text(encoding="utf-8").count('"kind":"run"') == 1


def test_pools_have_a_page_too(tmp_path):
    assert main([*RUN, "--decode-replicas", "1", "--report", str(tmp_path / "run.html")]) == 0
    assert '"timeline":' in (tmp_path / "run.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "said"), [("run.txt", "ends in .html"), ("no/run.html", "does not exist")])
def test_a_page_that_cannot_be_written_is_refused_before_the_run(tmp_path, capsys, name, said):
    assert main([*RUN, "--report", str(tmp_path / name)]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_explained_run_has_its_bottleneck_and_changes_on_the_page(tmp_path):
    arguments = ["explain", *RUN[1:], "--report", str(tmp_path / "why.html")]
    assert main(arguments) == 0
    with chromium() as browser:
        tab = Tab(browser)
        page = tab.open((tmp_path / "why.html").as_uri())
        assert page.locator(".sentence").inner_text().startswith("Bottleneck: ")
        shown = page.locator(".effect-dot").count()
        page.get_by_role("button", name="Causes").click()
        page.wait_for_timeout(50)
        assert 0 < page.locator(".effect-dot").count() < shown
        assert tab.complaints == []


def test_what_was_observed_has_no_page(tmp_path, capsys):
    arguments = ["explain", "--metrics", "x.csv", "--report", str(tmp_path / "why.html")]
    assert main(arguments) == 2
    assert "simulated run" in capsys.readouterr().err


def test_a_comparison_draws_every_side(tmp_path):
    sides = ["--schedule", "fcfs,sjf", "--length", "oracle"]
    path = tmp_path / "compare.html"
    assert main(["compare", *RUN[1:], *sides, "--report", str(path)]) == 0
    with chromium() as browser:
        tab = Tab(browser)
        page = tab.open(path.as_uri())
        assert page.locator("svg.chart").count() == 3
        assert page.locator("polyline.curve").count() == 6
        assert page.locator("table.numbers tbody tr").count() == 2
        page.locator("svg.chart").first.focus()
        page.keyboard.press("ArrowRight")
        assert page.locator(".tip div").count() == 3
        assert tab.complaints == []


def test_a_page_of_a_sweep_is_refused(tmp_path, capsys):
    arguments = ["compare", "--sweep", "rate=1,2", "--report", str(tmp_path / "compare.html")]
    assert main(arguments) == 2
    assert "one point" in capsys.readouterr().err
