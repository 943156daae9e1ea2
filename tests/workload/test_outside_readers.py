"""Readers from outside the package: by path, by entry point, and as the how-to page shows."""

import re
import sys
from pathlib import Path

import pytest

from hasten.errors import InputError
from hasten.workload import Workload
from hasten.workload.catalogue import reader_names

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-trace-reader.md"
PIPES = '''"""Rows like `12|100|20`: seconds, prompt, output."""
from hasten.workload.rows import Row, seconds, tokens
from hasten.workload.heads import first_line

NAME = "pipes"

def detect(head, path):
    return first_line(head).count("|") == 2

def read(source, *, scale=1.0):
    for line, text in source.lines():
        with source.row(line):
            time, prompt, output = text.split("|")
            yield Row(line, scale * seconds("time", time), tokens("prompt", prompt), tokens("output", output))

def adjust(workload, *, twice=False):
    return workload.repeated(2) if twice else workload
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a reader and a trace, as working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipes.py").write_text(PIPES)
    (tmp_path / "trace.txt").write_text("12|100|20\n15|200|30\n")
    return tmp_path


def test_a_reader_by_path(folder):
    work = Workload.from_trace("trace.txt", format="./pipes.py", scale=2.0)
    assert work.arrival.tolist() == [0, 6]
    assert "(pipes)" in work.origin
    assert len(Workload.from_trace("trace.txt", format="./pipes.py", twice=True)) == 4
    with pytest.raises(InputError, match="options are scale, twice"):
        Workload.from_trace("trace.txt", format="./pipes.py", thrice=True)


def test_errors_in_a_readers_rows_name_the_line(folder):
    (folder / "trace.txt").write_text("12|100|20\n15|200\n16|x|5\n17|0|5\n18|5|5\n")
    with pytest.raises(InputError, match=r"^trace.txt:2: can't be read \(not enough values to unpack"):
        Workload.from_trace("trace.txt", format="./pipes.py")
    work = Workload.from_trace("trace.txt", format="./pipes.py", drop_bad=True)
    assert len(work) == 2
    assert sorted(line for part in work.dropped for line in part.lines) == [2, 3, 4]


def test_a_reader_by_entry_point(folder, monkeypatch):
    with pytest.raises(InputError, match="fits no known format"):
        Workload.from_trace("trace.txt")
    package = folder / "site"
    (package / "pipes_plugin-1.0.dist-info").mkdir(parents=True)
    (package / "pipes_plugin.py").write_text(PIPES)
    (package / "pipes_plugin-1.0.dist-info" / "METADATA").write_text("Name: pipes-plugin\nVersion: 1.0\n")
    points = package / "pipes_plugin-1.0.dist-info" / "entry_points.txt"
    points.write_text("[hasten.readers]\npipes = pipes_plugin\n")
    monkeypatch.syspath_prepend(str(package))
    assert "pipes" in reader_names()
    assert "(pipes)" in Workload.from_trace("trace.txt").origin
    points.write_text("[hasten.readers]\npipes = no_such_module\n")
    with pytest.raises(
        InputError, match=r"entry point pipes = no_such_module can't be loaded \(ModuleNotFound"
    ):
        Workload.from_trace("trace.txt")
    sys.modules.pop("pipes_plugin", None)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("NAME = 'x'\ndef detect(head, path): return True\n", r"a reader needs read \(a function\)"),
        ("def detect(head, path): return True\nread = detect\n", r"a reader needs NAME \(a text\)"),
        ("import no_such_module\n", r"can't be imported \(ModuleNotFoundError"),
        ("def (", r"can't be imported \(SyntaxError"),
        (PIPES.replace("yield Row(", "yield ("), "reader pipes yields tuple, not hasten.workload.Row"),
        (
            PIPES.replace('scale * seconds("time", time)', "'soon'"),
            "trace.txt:1: arrival = 'soon' is not a number",
        ),
        (PIPES.replace('tokens("output", output))', "4, block_ids=[1])"), "say how many tokens one covers"),
        (PIPES.replace('tokens("output", output))', '4, block_ids=["a"])'), "trace.txt:1: can't be used"),
        (PIPES.replace('tokens("output", output))', "4, session=[])"), "trace.txt:1: can't be used"),
    ],
)
def test_faulty_readers_are_named(folder, code, message):
    (folder / "faulty.py").write_text(code)
    with pytest.raises(InputError, match=message):
        Workload.from_trace("trace.txt", format="./faulty.py")


def test_the_reader_of_the_how_to_page_works(tmp_path, monkeypatch):
    """The two files of the page, as a user would save them (scripts/docs.py runs the page itself)."""
    monkeypatch.chdir(tmp_path)
    files = re.findall(r"```\w+ file=(\S+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert [name for name, _ in files] == ["autobench.jsonl", "autobench.py"]
    for name, content in files:
        Path(name).write_text(content, encoding="utf-8")
    work = Workload.from_trace("autobench.jsonl", format="./autobench.py", drop_bad=True)
    assert work.arrival.tolist() == [0.0, 1.25]
    assert (
        len(Workload.from_trace("autobench.jsonl", format="./autobench.py", max_prompt=64, drop_bad=True))
        == 1
    )
