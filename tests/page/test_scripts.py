"""The scripts of pages without a browser: what they are made of, and what they do in Node over a small document."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.page.build import agents, played, split

from hasten.cli import main
from hasten.explain.labels import FAMILIES
from hasten.page import document, server
from hasten.page.run import Heading, run_data
from hasten.page.scenario import controls, scenario
from hasten.report import metrics

PAGES = {"report": document.SCRIPTS, "live": server.SCRIPTS}
HEADING = Heading(model="m", deployment="d", workload="w", checks=[("TTFT p99 300 ms <= 400 ms", True)])
DOM = Path(__file__).parent / "dom.js"


def assets(names):
    return "\n".join((document.ASSETS / name).read_text(encoding="utf-8") for name in names)


# ---- what they are made of --------------------------------------------------------------------------------------


def test_every_asset_is_on_some_page():
    used = {*document.SCRIPTS, *document.STYLES, *server.SCRIPTS, *server.STYLES}
    assert {path.name for path in document.ASSETS.iterdir() if path.suffix in (".js", ".css")} == used


@pytest.mark.parametrize("page", PAGES)
def test_a_name_is_defined_once_in_the_scope_that_scripts_share(page):
    names = re.findall(
        r"^(?:async )?(?:function\*?|const|let|class) (\w+)", assets(PAGES[page]), re.MULTILINE
    )
    assert len(names) > 40
    assert len(names) == len(set(names))


@pytest.mark.parametrize("page", PAGES)
def test_ids_that_are_asked_for_exist_and_are_given_once(page):
    text = assets(PAGES[page])
    given = ["data", *re.findall(r'\bid: "([\w-]+)"', text)]
    asked = {*re.findall(r'getElementById\("([\w-]+)"\)', text), *re.findall(r'\bfor: "([\w-]+)"', text)}
    assert asked <= set(given)
    assert len(given) == len(set(given))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_its_colour_in_bars_and_legends(family):
    style = assets(document.STYLES)
    assert re.search(
        rf"(?:^|\}} )\.{family} {{ fill: var\(--{family}\); background: var\(--{family}\)",
        style,
        re.MULTILINE,
    )
    assert style.count(f"--{family}:") >= 3  # light, dark, paper


def test_pages_ask_nobody_but_where_they_came_from():
    known = controls()
    with server.LiveServer(0, known, scenario({}, known)) as made:
        text = made.page.decode()
    assert "connect-src &#x27;self&#x27;" in text
    assert set(re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}[^\s\"']*", text)) == {
        "http://www.w3.org/2000/svg"
    }
    for name in sorted({*document.SCRIPTS, *server.SCRIPTS}):
        asks = re.findall(
            r"\bfetch\(([^,)]*)|XMLHttpRequest|WebSocket|EventSource|sendBeacon", assets([name])
        )
        assert asks == (['"run"'] if name == "live.js" else [])


# ---- what they do -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def node():
    found = shutil.which("node")
    if found is None:
        pytest.skip("no Node on this machine")
    return found


@pytest.fixture
def drawn(node, tmp_path):
    """Draws a page given as HTML text; what it made, and what the steps said."""

    def draw(text, steps=""):
        (tmp_path / "page.html").write_text(text, encoding="utf-8")
        (tmp_path / "steps.js").write_text(steps, encoding="utf-8")
        command = [node, str(DOM), str(tmp_path / "page.html"), str(tmp_path / "steps.js")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        found = json.loads(done.stdout)
        assert found["ready"] == "yes"
        assert not re.search(
            r"\b(?:NaN|undefined|Infinity|\[object)\b", found["text"].partition("</script>")[2]
        )
        return found

    return draw


def test_the_page_of_a_run_says_what_the_run_says(drawn):
    report, found, log = played()
    text = document.document("t", run_data(HEADING, report, found=found, log=log))
    slow = int(((report.records.first_token - report.records.arrival) > 0.2).sum())
    made = drawn(
        text,
        """
        const table = () => page.text(".note").find((each) => /^[0-9,]+ of /.test(each));
        const typed = async (text) => { box.value = text; box.fire("input"); await page.wait(200); };
        const box = page.labelled("Filter requests");
        const said = { kpis: page.text(".kpis")[0], all: table() };
        await typed("ttft > 200ms");
        said.slow = table();
        await typed("colour > 3");
        said.wrong = page.text(".note").find((each) => each.includes("no column"));
        await typed("");
        page.labelled("Sort by TTFT").click();
        page.labelled("Sort by TTFT").click();
        said.first = page.body.querySelector(".rows").firstChild.firstChild.textContent;
        page.body.querySelector(".grid-body").fire("keydown", { key: "Enter" });
        said.life = page.text(".life")[0];
        page.document.fire("keydown", { key: "Escape" });
        said.closed = page.body.querySelector(".drawer").hidden;
        page.button("E2E").click();
        said.legend = page.text(".legend");
        return said;
        """,
    )
    said = made["said"]
    ttft = metrics.ttft(report.records) * 1e3
    assert made["charts"] >= 5
    assert f"{np.median(ttft):.3g}"[:3] in said["kpis"]
    assert said["all"].startswith("300 of 300")
    assert said["slow"].startswith(f"{slow} of 300")
    assert "no column colour" in said["wrong"]
    fastest = int(report.records.id[ttft.argmin()])
    assert said["first"] == str(fastest)
    assert f"Request {fastest}" in said["life"]
    assert "up to the first token" in said["life"]
    assert said["closed"] is True
    assert "decode: weights" in said["legend"][0]


def test_pools_and_programs_are_drawn(drawn):
    report, found, log = split()
    assert (
        "KV on its way"
        in drawn(document.document("t", run_data(HEADING, report, found=found, log=log)))["text"]
    )
    report, found, programs, log = agents()
    data = run_data(HEADING, report, found=found, programs=programs, log=log)
    made = drawn(document.document("t", data), 'page.button("Program").click(); return page.text(".legend");')
    assert "tools and clients" in made["said"][0]
    assert "program, median" in made["text"]


@pytest.mark.parametrize(
    ("command", "charts"),
    [
        ("plan llama-3.1-8b --devices l40s --tp 1 --rate 3 --limit 200 --ttft 1s --tpot 100ms --jobs 1", 4),
        ("plan llama-3.1-8b --devices l40s --tp 1 --rate 3 --limit 100 --ttft 1ms --jobs 1", 0),
        ("compare llama-3.1-8b --device l40s --limit 60 --rate 2 --schedule fcfs,prefill_first", 3),
        ("explain llama-3.1-8b --device l40s --limit 60 --rate 2", 4),
        ("simulate llama-3.1-8b --device l40s --limit 60 --rate 2 --replicas 2", 5),
    ],
)
def test_pages_of_commands_are_drawn(drawn, tmp_path, capsys, command, charts):
    main([*command.split(), "--report", str(tmp_path / "out.html")])
    capsys.readouterr()
    assert drawn((tmp_path / "out.html").read_text(encoding="utf-8"))["charts"] >= charts


def test_the_live_page_draws_curves_first_and_keeps_a_scenario_in_its_address(drawn):
    known = controls()
    with server.LiveServer(0, known, scenario({"requests": 100}, known)) as made:
        text = made.page.decode()
    report, found, log = played()
    whole = run_data(HEADING, report, found=found, log=log) | {"command": "hasten simulate"}
    later = {name: whole.pop(name) for name in ("composition", "lives", "timeline")}
    lines = [document.embedded(whole) + "\n", document.embedded(later) + "\n"]
    halves = [
        lines[0][:1000],
        lines[0][1000:] + lines[1][:10],
        lines[1][10:],
    ]  # lines don't end where parts do
    steps = """
        page.answers.push({ status: 200, parts: HALVES, pause: 30 });
        page.location.hash = "#replicas=3&tp=2&workload=/etc/passwd&rate_req_per_s=nonsense&unknown=1";
        // ----
        const busy = () => page.body.all().filter((each) => each.hasAttribute("aria-busy")).length;
        const counts = () => [page.root.dataset.played, page.root.dataset.explained];
        await page.wait(110);
        const said = { first: [...counts(), busy()] };
        await page.wait(150);
        said.whole = [...counts(), busy()];
        said.asked = page.asked[0];
        const slider = page.labelled("rate in req/s");
        for (let move = 0; move < 12; move++) {
          slider.value = 0.5 + 0.01 * move;
          slider.fire("input");
          await page.wait(20);
        }
        said.during = Number(page.root.dataset.played);
        await page.wait(300);
        said.last = page.asked.at(-1).rate_req_per_s;
        said.shown = page.labelled("rate in req/s, exact").value;
        said.hash = page.location.hash;
        said.complaint = page.text(".missed");
        page.answers[0] = { status: 422, parts: ['{"error": "does not fit"}'] };
        slider.fire("input"); await page.wait(60);
        said.refused = page.text(".said");
        return said;
    """
    said = drawn(text, steps.replace("HALVES", json.dumps(halves)))["said"]
    assert said["first"] == ["1", None, 2] or said["first"] == ["1", "1", 0]  # the latter where Node is slow
    assert said["whole"] == ["1", "1", 0]
    assert (said["asked"]["replicas"], said["asked"]["tp"]) == (3, "2")
    assert said["asked"]["workload"] == scenario({}, known)["workload"]
    assert said["asked"]["rate_req_per_s"] == scenario({}, known)["rate_req_per_s"]
    assert said["during"] >= 2  # curves follow while the slider moves
    assert said["last"] == said["shown"]
    assert f"rate_req_per_s={said['last']}" in said["hash"]
    assert said["refused"] == ["does not fit"]
