"""What lies in the repository: no machine's paths, no dead links, a command that starts at once."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.tooling.scripts import ROOT

FOLDERS = ("src", "tests", "scripts", "docs", "examples", "benchmarks", "changelog.d", ".ci", ".github")
# A path of somebody's machine: absolute, below a folder that holds home directories, checkouts or scratch files.
# URLs have a letter, digit or dot before such a folder, relative paths have none of these slashes.
MACHINE_PATH = re.compile(
    rb"(?<![\w.:/$~{}\]-])/(?:root|home|users|work|workspace|mnt|tmp|scratch)/[\w.-]", re.IGNORECASE
)
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)")
OUTWARDS = re.compile(r"(?:\.\./)+[\w][\w./-]*")


def tracked_files() -> list[Path]:
    """Files under version control; in an unpacked source archive, all files of the known folders."""
    git = shutil.which("git")
    if git and (ROOT / ".git").exists():
        listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        return [ROOT / name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]
    top = [path for path in ROOT.iterdir() if path.is_file()]
    return top + [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]


FILES = tracked_files()


def test_no_file_names_a_path_of_some_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group().decode()}"
        for path in FILES
        for match in MACHINE_PATH.finditer(path.read_bytes())
        if b"\0" not in path.read_bytes()[:1000]
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "is_path"),
    [
        (b"see /" + b"home/me/x", True),
        (b'"/' + b'tmp/out.csv"', True),
        (b"https://host.org/" + b"home/me", False),
        (b"a/b/home/c", False),
        (b"$HOME/x ~/" + b"tmp/x", False),
    ],
)
def test_machine_paths_are_told_from_urls(text: bytes, is_path: bool) -> None:
    assert bool(MACHINE_PATH.search(text)) is is_path


def test_relative_links_lead_to_files() -> None:
    dead = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in FILES
        if page.suffix == ".md"
        for target in LINK.findall(page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert dead == []


def test_no_text_points_out_of_the_repository() -> None:
    outside = [
        f"{path.relative_to(ROOT)}: {match}"
        for path in FILES
        if path.suffix in {".md", ".py", ".toml", ".yml", ".yaml", ".json"}
        and path.stat().st_size < 1_000_000
        for match in OUTWARDS.findall(path.read_text(encoding="utf-8"))
        if not (path.parent / match).resolve().is_relative_to(ROOT)
    ]
    assert outside == []


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


needs_cli = pytest.mark.skipif(
    not (ROOT / "src/hasten/cli/__init__.py").is_file(), reason="no command line yet"
)
HEAVY = (
    "numpy",
    "pyarrow",
    "pandas",
    "torch",
    "asyncio",
    "multiprocessing",
    "concurrent.futures",
    "urllib.request",
)


@needs_cli
@pytest.mark.parametrize("arguments", [["--help"], ["plan", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import contextlib, io, sys\n"
        "from hasten.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    try:\n"
        f"        status = main({arguments!r})\n"
        "    except SystemExit as end:\n"
        "        status = end.code\n"
        f"print(status or 0, [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "0 []"


def fastest_start(command: list[str], runs: int = 7) -> float:
    """Seconds of the fastest of some process starts: the one least disturbed by other work."""
    seconds = []
    for _ in range(runs):
        begin = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


@needs_cli
def test_help_stays_within_its_import_budget() -> None:
    interpreter = fastest_start([sys.executable, "-c", "pass"])
    help_page = fastest_start([sys.executable, "-c", "from hasten.cli import main; main(['--help'])"])
    # 0.15 s, or on a slow or busy machine what the interpreter's own start says 0.15 s is
    assert help_page < max(0.15, 6 * interpreter)
