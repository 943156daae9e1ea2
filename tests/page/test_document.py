"""A page is one file that asks nobody for anything, and no text in it can run."""

import base64
import hashlib
import json
import re

import pytest
from tests.page.build import played

from hasten.errors import InputError
from hasten.page import document
from hasten.page.run import Heading, run_data

NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\u2028<!--"


def page(name="llama"):
    report, found, log = played()
    heading = Heading(model=name, deployment=name, workload=name, policies=name, checks=[(name, True)])
    return document.document(name, run_data(heading, report, found=found, log=log))


def test_names_of_models_and_workloads_cannot_end_the_block_they_stand_in():
    text = page(NASTY)
    assert text.count("<script") == page().count("<script") == 2
    assert "<img" not in text
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert json.loads(block[1])["heading"]["model"] == NASTY


def test_the_policy_allows_the_scripts_and_styles_of_the_file_and_nothing_else():
    text = page(NASTY)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "unsafe" not in policy
    assert "default-src &#x27;none&#x27;" in policy
    assert "connect-src &#x27;none&#x27;" in policy
    for kind, pattern in (("script", r"<script>(.*?)</script>"), ("style", r"<style>(.*?)</style>")):
        content = re.findall(pattern, text, re.DOTALL)
        assert len(content) == 1
        digest = base64.b64encode(hashlib.sha256(content[0].encode()).digest()).decode()
        assert f"{kind}-src &#x27;sha256-{digest}" in policy


def test_nothing_in_the_page_points_elsewhere():
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}[^\s\"']*", page()))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of SVG, which nobody fetches
    assert not re.search(r"<(?:link|img|iframe|script)[^>]+(?:src|href)=\"(?!data:)", page())


def test_assets_set_no_text_as_markup():
    for path in document.ASSETS.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text
        ), path
        assert len(text.splitlines()) <= 500, path


def test_numbers_that_are_not_finite_become_null():
    assert json.loads(document.embedded({"a": [float("nan"), float("inf"), 1.5]})) == {"a": [None, None, 1.5]}


def test_a_failed_write_leaves_an_earlier_page(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        document.save(tmp_path / "none" / "out.html", "t", {"kind": "run"})
    assert not list(tmp_path.iterdir())
