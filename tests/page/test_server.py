"""The live page's server refuses other hosts, other origins, wrong tokens and what is too large."""

import http.client
import json
import socket
import sys
import threading
from pathlib import Path

import pytest
from tests.page.browser import Tab, chromium

import hasten
from hasten.cli import main, ui
from hasten.page.scenario import controls, scenario
from hasten.page.server import HOST, LiveServer

UP = ".." + "/"
SMALL = {"requests": 100, "device": "l40s", "rate_req_per_s": 3.0}


@pytest.fixture(scope="module")
def server():
    known = controls()
    with LiveServer(0, known, scenario(SMALL, known)) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(server, method, path, *, body=None, headers=None):
    link = http.client.HTTPConnection(HOST, server.server_port, timeout=30)
    host = f"{HOST}:{server.server_port}"
    try:
        link.request(method, path, body=body, headers={"Host": host, **(headers or {})})
        answer = link.getresponse()
        return answer, answer.read()
    finally:
        link.close()


def play(server, values=None, *, body=None, **headers):
    given = {"Content-Type": "application/json", "Origin": f"http://{HOST}:{server.server_port}"}
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    given = {name: text for name, text in (given | sent).items() if text is not None}
    content = json.dumps(values or {}) if body is None else body
    return ask(server, "POST", f"/{server.token}/run", body=content, headers=given)


def test_the_page_is_there_for_who_knows_the_token(server):
    answer, body = ask(server, "GET", f"/{server.token}/")
    assert answer.status == 200
    assert b"hasten ui" in body
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_it_listens_on_this_machine_only(server):
    assert server.server_address[0] == HOST
    assert len(server.token) >= 32


@pytest.mark.parametrize("path", ["/", "/x/", "/../../etc/passwd", "/%2e%2e/", "/favicon.ico", "/x/run"])
def test_without_the_token_there_is_nothing(server, path):
    answer, body = ask(server, "GET", path)
    assert answer.status == 404
    assert server.token.encode() not in body


@pytest.mark.parametrize("path", ["page.css", "run", "../run", "?a=1", "..%2f..%2fetc/passwd"])
def test_behind_the_token_there_is_one_page(server, path):
    assert ask(server, "GET", f"/{server.token}/{path}")[0].status == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", ""])
def test_another_host_is_refused_with_the_right_token_too(server, host):
    named = {"Host": host.format(port=server.server_port)}
    assert ask(server, "GET", f"/{server.token}/", headers=named)[0].status == 421
    assert play(server, SMALL, **named)[0].status == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": None},
        {"Origin": "http://127.0.0.1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_another_origin_is_refused(server, headers):
    assert play(server, SMALL, **headers)[0].status == 403


def test_a_form_of_another_page_could_not_be_read_anyway(server):
    assert play(server, SMALL, Content_Type="text/plain")[0].status == 415


def test_bodies_are_bounded(server):
    assert play(server, body=" " * 20_000)[0].status == 413
    assert play(server, body="", Content_Length="-5")[0].status == 411
    assert play(server, body="{}", Content_Length="x")[0].status == 411


@pytest.mark.parametrize(
    "body", ["{", "[]", "[" * 10_000, '{"replicas": Infinity}', '{"model": "/etc/passwd"}', "\xff"]
)
def test_nonsense_is_told_in_one_line(server, body):
    answer, said = play(server, body=body.encode("latin-1"))
    assert answer.status == 422
    assert "\n" not in json.loads(said)["error"]


def raw(server, text):
    """The first line of the answer to bytes that no client library would send; empty when the link is cut."""
    with socket.create_connection((HOST, server.server_port), timeout=30) as link:
        link.sendall(text.encode("latin-1"))
        link.shutdown(socket.SHUT_WR)
        return link.makefile("rb").readline().decode("latin-1")


HEAD = "POST /{token}/run HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("GET /{token}/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nHost: evil.example\r\n\r\n", "421"),
        ("GET /{token}/ HTTP/1.0\r\n\r\n", "421"),  # no Host at all
        ("GET http://127.0.0.1:{port}/{token}/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", "421"),
        ("GET http://evil.example/{token}/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n", "404"),
        (
            HEAD
            + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n",
            "411",
        ),
        (HEAD + "Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n", "413"),
        ("GET /" + "x" * 70_000 + " HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n", "414"),
        ("GET / HTTP/1.1\r\n" + "X-A: 1\r\n" * 200 + "\r\n", "431"),
    ],
)
def test_what_no_browser_sends_is_refused(server, text, status):
    assert f" {status} " in " " + raw(server, text.format(token=server.token, port=server.server_port)) + " "


def test_no_request_opens_a_file(server):
    """All that may be read is read when the server starts: no scenario, whatever it names, opens anything else."""
    play(server, SMALL)  # what a first run reads of the package
    opened: list[str] = []

    def watched(event, arguments):
        if watching and event == "open":
            opened.append(str(arguments[0]))

    watching = True
    sys.addaudithook(watched)
    try:
        for name, value in [
            ("model", "/etc/passwd"),
            ("device", f"{UP}{UP}{UP}etc/passwd"),
            ("workload", "file:///etc/passwd"),
            ("workload", "/etc/hostname"),
            ("engine", "/etc/passwd"),
            ("schedule", "/elsewhere/evil.py"),
            ("kv_dtype", "\x00"),
        ]:
            assert play(server, {**SMALL, name: value})[0].status == 422
        assert ask(server, "GET", f"/{server.token}/{UP}{UP}etc/passwd")[0].status == 404
        assert play(server, {**SMALL, "seed": 3})[0].status == 200
    finally:
        watching = False
    package = str(Path(hasten.__file__).parent)
    assert [each for each in opened if not each.startswith((package, sys.prefix, sys.base_prefix))] == []


@pytest.mark.parametrize("origin", ["http://localhost:{port}", "http://127.0.0.1:{port}"])
def test_its_own_two_names_are_welcome(server, origin):
    name = origin.format(port=server.server_port)
    assert play(server, SMALL, Origin=name, Host=name.removeprefix("http://"))[0].status == 200


def test_every_server_has_a_token_of_its_own(server):
    known = controls()
    with LiveServer(0, known, scenario(SMALL, known)) as other:
        assert other.token != server.token
        assert ask(server, "GET", f"/{other.token}/")[0].status == 404


def test_answers_cannot_be_framed_cached_or_read_elsewhere(server):
    for answer in (
        ask(server, "GET", f"/{server.token}/")[0],
        play(server, SMALL)[0],
        ask(server, "GET", "/")[0],
    ):
        assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "HEAD"])
def test_other_methods_are_not_there(server, method):
    assert ask(server, method, f"/{server.token}/")[0].status == 501


def test_a_scenario_is_played(server):
    answer, body = play(server, SMALL)
    assert answer.status == 200
    curves, rest = map(json.loads, body.splitlines())
    assert curves["requests"]["count"] == 100
    assert set(rest) == {"composition", "lives", "timeline"}


def test_what_cannot_be_is_told(server):
    answer, body = play(server, {**SMALL, "model": "llama-3.1-405b", "device": "l4"})
    assert answer.status == 422
    assert "memory" in json.loads(body)["error"].lower() or "fit" in json.loads(body)["error"].lower()


def test_bad_input_is_one_line(capsys, tmp_path):
    for arguments in (["--port", "70000"], ["--model", "no-such"], [str(tmp_path / "none.json")]):
        assert main(["ui", *arguments]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_command_offers_what_it_was_named(tmp_path):
    from argparse import ArgumentParser

    parser = ArgumentParser()
    ui.configure(parser)
    (tmp_path / "scenario.json").write_text('{"replicas": 2}', encoding="utf-8")
    with ui.server_of(parser.parse_args([str(tmp_path / "scenario.json"), "--device", "a100"])) as made:
        assert b'"replicas":2' in made.page
        assert b'"device":"a100"' in made.page


def test_curves_follow_a_slider_that_is_dragged(server):
    """Moved every 20 ms for 3 seconds: pages that begin anew at every movement would show nothing until its end."""
    with chromium() as browser:
        page = Tab(browser).open(server.address)
        page.wait_for_selector("html[data-explained='1']")
        drawn = page.evaluate(
            """async () => {
                const slider = document.querySelector("input[aria-label^='rate']");
                for (let move = 0; move < 150; move++) {
                    slider.value = 0.3 + 0.001 * move;
                    slider.dispatchEvent(new Event("input"));
                    await new Promise((done) => setTimeout(done, 20));
                }
                return Number(document.documentElement.dataset.played);
            }"""
        )
        assert drawn > 5
        page.wait_for_selector("main:not(:has([aria-busy]))")
        last = float(page.get_by_label("rate in req/s, exact").input_value())
        assert f"--rate {last:g}" in page.locator(".command").inner_text()


def test_controls_play_again_in_a_browser(server):
    with chromium() as browser:
        tab = Tab(browser)
        page = tab.open(server.address)
        page.wait_for_selector("html[data-explained='1']")
        assert page.locator("figure[aria-busy]").count() == 0
        assert "100 requests" in page.locator(".said").inner_text()
        page.get_by_role("button", name="Pin as reference").click()
        page.get_by_label("rate in req/s", exact=True).focus()
        page.keyboard.press("PageUp")
        page.wait_for_selector("html[data-played='2']")
        assert "rate_req_per_s=" in page.url
        assert page.locator(".curve.pinned").count() == 3
        page.get_by_label("device").select_option("h100-sxm")
        page.wait_for_selector("html[data-played='3']")
        assert "h100-sxm" in page.locator(".said").inner_text()
        assert "--device h100-sxm" in page.locator(".command").inner_text()
        address = page.url
        with page.expect_download() as saved:
            page.get_by_role("button", name="Save scenario").click()
        assert json.loads(saved.value.path().read_text(encoding="utf-8"))["device"] == "h100-sxm"
        page.get_by_label("model").select_option("llama-3.1-405b")
        page.wait_for_selector(".said.missed")
        page.goto("about:blank")
        page.goto(address)
        page.wait_for_selector("html[data-played='1']")
        assert page.get_by_label("device").input_value() == "h100-sxm"
        assert {each.split("/")[2] for each in tab.requests if each.startswith("http")} == {
            f"{HOST}:{server.server_port}"
        }
        assert [each for each in tab.complaints if "422" not in each] == []
