"""The documentation runner fails where a reader would."""

import sys
from pathlib import Path

import pytest
from tests.tooling.scripts import load

docs = load("docs")


def run(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    docs.run_page(docs.read_blocks(page))


GOOD = {
    "python": "```python\nx = 1\n```\n",
    "blocks share variables": "```python\nx = 1\n```\ntext\n```python\nassert x == 1\n```\n",
    "output": "```python\nprint('a', 0.123)\nprint('b')\n```\n\n```output\na 0.1...\nb\n```\n",
    "console": "```console\n$ echo one\none\n$ echo two >&2\ntwo\n```\n",
    "console without output": "```console\n$ echo anything\n```\n",
    "several lines": "```console\n$ seq 9\n1\n...\n9\n```\n",
    "continued": "```console\n$ echo a \\\n>   b\na b\n```\n",
    "status": "```console\n$ exit 2  # exit 2\n```\n",
    "file": '```json file=in/a.json\n{"a": 1}\n```\n\n```console\n$ cat in/a.json\n{"a": 1}\n```\n',
    "file of code": "```python file=mod.py\nX = 7\n```\n```python\nfrom mod import X as Y\nassert Y == 7\n```\n",
    "used": "```python\ndef f():\n    return 1\n\nclass A:\n    pass\n\nf(), A()\n```\n",
    "not run": "<!-- not run: needs a GPU -->\n\n```python\nraise SystemExit\n```\n",
    "module that is not there": "<!-- needs: json, no_such_module -->\n\n```python\nraise SystemExit\n```\n",
    "module that is there": "<!-- needs: json -->\n\n```python\nz = 1\n```\n```python\nassert z\n```\n",
    "other languages": "```json\n{]\n```\n",
    "in a list": "- item\n\n  ```python\n  y = 2\n  ```\n",
}

BAD = {
    "line 1: python block fails": "```python\nx = 1 / 0\n```\n",
    "syntax error": "```python\nx = \n```\n",
    "output differs": "```python\nprint(1)\n```\n```output\n2\n```\n",
    "output block without a python block": "```output\n2\n```\n",
    "`echo one` prints": "```console\n$ echo one\ntwo\n```\n",
    "ends with status 3, not 0": "```console\n$ exit 3\n```\n",
    "ends with status 0, not 2": "```console\n$ true # exit 2\n```\n",
    "not with a `$ ` command": "```console\necho one\n```\n",
    "f is defined and never called": "```python\ndef f():\n    return 1\n```\n",
    "A is defined and never called": "```python\nclass A:\n    pass\n```\n",
    "a.json is written and never used": "```json file=a.json\n{}\n```\n",
    "without a reason": "<!-- not run: -->\n```python\n1\n```\n",
    "bash blocks are not run": "```bash\nls\n```\n",
    "pycon blocks are not run": "```pycon\n>>> 1\n```\n",
    "never closed": "```python\n1\n",
}


@pytest.mark.parametrize("name", GOOD)
def test_good_pages_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(GOOD[name], tmp_path, monkeypatch)


@pytest.mark.parametrize("message", BAD)
def test_bad_pages_fail_and_say_where(message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(docs.PageError) as caught:
        run(BAD[message], tmp_path, monkeypatch)
    assert message in str(caught.value)
    assert str(caught.value).startswith("line ")


def test_a_reason_covers_the_next_block_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = "<!-- not run: reason -->\n```python\n1 / 0\n```\n\n```python\n1 / 0\n```\n"
    with pytest.raises(docs.PageError, match="line 6"):
        run(page, tmp_path, monkeypatch)
    with pytest.raises(docs.PageError, match="line 3"):
        run("<!-- not run: reason -->\ntext between\n```python\n1 / 0\n```\n", tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\n", "a  \n\n", True),
        ("a ... c", "a b c", True),
        ("a ... c", "a b\nc", False),
        ("...", "", True),
        ("...\nb", "x\ny\nb", True),
        ("a\n...", "a", True),
        ("a.c", "abc", False),
        ("  a", "a", False),
    ],
)
def test_dots_stand_for_any_text(shown: str, printed: str, same: bool) -> None:
    assert docs.matches(shown, printed) is same


def test_pages_run_in_a_folder_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ touch left-over && ls scripts/docs.py\nscripts/docs.py\n```\n")
    monkeypatch.setattr("sys.path", [*sys.path])
    assert docs.main([str(page)]) == 0
    assert "1 blocks run" in capsys.readouterr().out
    assert [child.name for child in tmp_path.iterdir()] == ["page.md"]
