"""Execute the documentation: every code block of README, CONTRIBUTING and docs/ runs.

Each page runs in its own process and its own temporary folder, block after block:

- python   is executed; a page's blocks share their variables; what one defines must be used on the page.
- output   right after a python block is what that block prints.
- console  each line after `$ ` is a bash command (a backslash at its end continues it); the lines below are
           its output, standard error included. Without such lines only the status counts: 0, or what a
           comment `# exit 2` after the command says.
- any block with `file=NAME` after its language is written to NAME first.

`...` stands for any text within a line, alone on a line for any lines. A block that can't run says why in a
comment before it: `<!-- not run: needs a GPU -->`. One that needs modules which are not everywhere names them, and is
left out without them: `<!-- needs: torch, aiohttp -->`. Other shells and prompts (bash, sh, pycon) are refused.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import importlib.util
import io
import linecache
import os
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
import traceback
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", "docs/**/*.md")
LINKED_FOLDERS = (
    "examples",
    "benchmarks",
    "scripts",
    "tests",
)  # reachable from the page's folder, as from the repository root
REFUSED = {"bash", "sh", "shell", "zsh", "pycon", "py", "python3"}
TIMEOUT_S = 300

FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<fence>```+|~~~+)[ \t]*(?P<language>[\w+-]*)(?P<rest>[^`]*)")
SKIP = re.compile(r"<!--\s*not run:(?P<reason>.*?)-->")
NEEDS = re.compile(r"<!--\s*needs:(?P<modules>.*?)-->")
EXIT = re.compile(r"#\s*exit\s+(?P<status>\d+)\s*$")


class PageError(Exception):
    """A block that fails: its line on the page and what went wrong."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its line (1-based), language, text, the file it goes to and why it is not run."""

    line: int
    language: str
    text: str
    file: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a console block, the output the page shows for it and the exit status it expects."""

    line: int
    text: str
    output: str
    status: int


def read_blocks(page: str) -> list[Block]:
    """Return every fenced block of a Markdown page; raise PageError for a fence that is never closed."""
    blocks: list[Block] = []
    lines = page.splitlines()
    reason: str | None = None
    i = 0
    while i < len(lines):
        opening = FENCE.fullmatch(lines[i])
        skip = SKIP.fullmatch(lines[i].strip())
        needs = NEEDS.fullmatch(lines[i].strip())
        if opening is None:
            if skip is not None:
                reason = skip["reason"].strip()
                if not reason:
                    raise PageError(i + 1, "`not run` without a reason")
            elif needs is not None:
                names = [name.strip() for name in needs["modules"].split(",")]
                missing = [name for name in names if importlib.util.find_spec(name) is None]
                reason = f"{', '.join(missing)} not installed" if missing else None
            elif lines[i].strip():
                reason = None
            i += 1
            continue
        start = i
        i += 1
        while i < len(lines) and lines[i].strip() != opening["fence"]:
            i += 1
        if i == len(lines):
            raise PageError(start + 1, "block is never closed")
        text = textwrap.dedent("\n".join(lines[start + 1 : i]) + "\n")
        named = re.search(r"\bfile=(\S+)", opening["rest"])
        blocks.append(Block(start + 1, opening["language"], text, named[1] if named else None, reason))
        reason = None
        i += 1
    return blocks


def read_commands(block: Block) -> list[Command]:
    """Split a console block into its commands; raise PageError when it starts with anything but `$ `."""
    commands: list[Command] = []
    lines = block.text.splitlines()
    i = 0
    while i < len(lines):
        line = block.line + 1 + i
        if not lines[i].startswith("$ "):
            raise PageError(line, f"console block starts with {lines[i]!r}, not with a `$ ` command")
        text = lines[i][2:]
        while text.endswith("\\") and i + 1 < len(lines):
            i += 1
            text += "\n" + lines[i].removeprefix("> ")
        i += 1
        output = []
        while i < len(lines) and not lines[i].startswith("$ "):
            output.append(lines[i])
            i += 1
        status = EXIT.search(text)
        commands.append(Command(line, text, "\n".join(output), int(status["status"]) if status else 0))
    return commands


def matches(expected: str, actual: str) -> bool:
    """Whether `actual` is what the page shows; `...` is any text in a line or, alone in one, any lines."""
    pattern = ""
    for line in _normalise(expected):
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += r".*?".join(re.escape(part) for part in line.split("...")) + r"\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _normalise(actual))) is not None


def _normalise(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def _difference(expected: str, actual: str) -> str:
    lines = difflib.unified_diff(
        _normalise(expected), _normalise(actual), "shown", "printed", lineterm="", n=1
    )
    return "\n".join(lines)


def run_page(blocks: list[Block]) -> None:
    """Run the blocks of one page in the current folder; raise PageError at the first that fails."""
    check_languages(blocks)
    check_definitions(blocks)
    page = types.ModuleType("__main__")
    sys.modules["__main__"] = page  # so that pickle and dataclasses find what the page defines
    printed: str | None = None
    for block in blocks:
        if block.reason is not None:
            printed = None
            continue
        if block.file is not None:
            target = Path(block.file)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, encoding="utf-8")
        if block.language == "output":
            if printed is None:
                raise PageError(block.line, "output block without a python block before it")
            if not matches(block.text, printed):
                raise PageError(block.line, "output differs\n" + _difference(block.text, printed))
        printed = run_python(block, page) if block.language == "python" else None
        if block.language == "console":
            for command in read_commands(block):
                run_command(command)


def check_languages(blocks: list[Block]) -> None:
    """Raise PageError for a block in a language that looks executable but would not be run."""
    for block in blocks:
        if block.language in REFUSED and block.file is None and block.reason is None:
            raise PageError(block.line, f"{block.language} blocks are not run: use python or console")


def check_definitions(blocks: list[Block]) -> None:
    """Raise PageError for a function, class or file that the page defines and never uses."""
    python = [block for block in blocks if block.language == "python" and block.reason is None]
    used: set[str] = set()
    for block in python:
        for node in ast.walk(_parse(block)):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                used.add(node.id)
            elif isinstance(node, ast.alias):
                used.add(f"{node.name}.py")
            elif isinstance(node, ast.ImportFrom):
                used.add(f"{node.module}.py")
    text = "\n".join(
        block.text for block in blocks if block.language in {"python", "console"} and block.file is None
    )
    for block in blocks:
        if (
            block.file is not None
            and block.reason is None
            and block.file not in text
            and block.file not in used
        ):
            raise PageError(block.line, f"file {block.file} is written and never used on the page")
    for block in python:
        if block.file is not None:
            continue
        for statement in _parse(block).body:
            if (
                isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
                and statement.name not in used
            ):
                raise PageError(
                    block.line, f"{statement.name} is defined and never called: call what you show"
                )


def _parse(block: Block) -> ast.Module:
    try:
        return ast.parse(block.text)
    except SyntaxError as error:
        raise PageError(block.line + (error.lineno or 0), f"syntax error: {error.msg}") from error


def run_python(block: Block, page: types.ModuleType) -> str:
    """Execute a python block in the page's namespace; return what it prints."""
    name = f"<line {block.line}>"
    linecache.cache[name] = (len(block.text), None, block.text.splitlines(keepends=True), name)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(block.text, name, "exec", dont_inherit=True), page.__dict__)
    except (Exception, SystemExit):
        raise PageError(block.line, "python block fails\n" + traceback.format_exc(limit=-4)) from None
    return printed.getvalue()


def run_command(command: Command) -> None:
    """Run one console command with bash; raise PageError on a wrong status or output."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "COLUMNS": "110",
        "NO_COLOR": "1",
    }
    try:
        result = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command.text],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            env=environment,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PageError(command.line, f"`{command.text}` took more than {TIMEOUT_S} s") from None
    if result.returncode != command.status:
        problem = f"`{command.text}` ends with status {result.returncode}, not {command.status}"
        raise PageError(command.line, f"{problem}\n{result.stdout[-2000:]}")
    if command.output.strip() and not matches(command.output, result.stdout):
        raise PageError(
            command.line, f"`{command.text}` prints\n" + _difference(command.output, result.stdout)
        )


def run_page_alone(path: Path) -> int:
    """Run one page in a temporary folder; print one line or the failure; return the exit status."""
    name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    try:
        blocks = read_blocks(path.read_text(encoding="utf-8"))
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            for linked in LINKED_FOLDERS:
                if (ROOT / linked).is_dir():
                    os.symlink(ROOT / linked, linked)
            sys.path.insert(0, folder)
            run_page(blocks)
    except PageError as error:
        print(f"{name}: {error}")
        return 1
    count = sum(block.language in {"python", "console"} and block.reason is None for block in blocks)
    print(
        f"{name}: {count} blocks run"
        + "".join(f"; line {b.line} not run: {b.reason}" for b in blocks if b.reason)
    )
    return 0


def find_pages() -> Iterator[Path]:
    """Every page whose blocks are executed, relative to the repository."""
    for pattern in PAGES:
        yield from sorted(path.relative_to(ROOT) for path in ROOT.glob(pattern))


def main(arguments: list[str] | None = None) -> int:
    """Run the given pages, or all of them, one process each; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "pages", nargs="*", type=Path, help="Markdown pages (default: all of the documentation)"
    )
    pages = parser.parse_args(arguments).pages or list(find_pages())
    if len(pages) == 1:
        return run_page_alone(pages[0].absolute())

    def run(page: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", __file__, str(ROOT / page)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    status = 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for page, result in zip(pages, pool.map(run, pages), strict=True):
            print((result.stdout + result.stderr).replace(f"{ROOT}{os.sep}", "").strip())
            if result.returncode:
                status = 1
                print(f"  run it alone: scripts/docs.py {shlex.quote(str(page))}")
    return status


if __name__ == "__main__":
    sys.exit(main())
