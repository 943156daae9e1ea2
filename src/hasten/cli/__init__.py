"""The command line: one file per command in this folder, found by its name, imported only when it is used.

A command is a module with HELP (one line), EXAMPLE (one command that works), `configure(parser)` and
`run(args) -> exit status`; EXAMPLE_NOT_RUN says why tests can't run the example, if they can't. Files whose names
begin with an underscore, and folders, are no commands.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from hasten.errors import InputError

FOLDER = Path(__file__).parent
OK, UNMET, WRONG_INPUT, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141
"""Exit statuses: done; done and the answer is no (a broken law, a missed service level); input that can't be used."""

_HELP = re.compile(r'^HELP = "(?P<text>.*)"$', re.MULTILINE)


def command_names() -> list[str]:
    """Names of all commands, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def help_of(command: str) -> str:
    """The one line a command says about itself, read from its file without importing it."""
    found = _HELP.search((FOLDER / f"{command}.py").read_text(encoding="utf-8"))
    return found["text"] if found else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; a mistake in the input is one line on standard error and 2."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _dispatch(arguments)
        print(end="", flush=True)  # a closed or full standard output shows here, not when Python exits
    except InputError as error:
        line = " ".join(str(error).split())
        print(f"hasten: {line}", file=sys.stderr)
        return WRONG_INPUT
    except KeyboardInterrupt:
        print("hasten: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _give_up_output()
        return PIPE_CLOSED
    except OSError as error:
        _give_up_output()
        place = "" if error.filename is None else f"{error.filename}: "
        print(f"hasten: {place}{error.strerror or error}", file=sys.stderr)
        return WRONG_INPUT
    return status


def _give_up_output() -> None:
    """Nobody takes the output: what is still buffered must not raise again when Python closes the stream."""
    with contextlib.suppress(OSError, ValueError):  # standard output that is no file has nothing to redirect
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        named = [each for each in arguments[1:] if not each.startswith("-")]
        if arguments[:1] == ["help"] and named:
            return _dispatch([named[0], "--help"])
        print(_overview())
        return OK if arguments else WRONG_INPUT
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"hasten {version('hasten')}")
        return OK
    command, *rest = arguments
    if command not in command_names():
        kind = "option" if command.startswith("-") else "command"
        raise InputError(f"{command}: unknown {kind}{_near(command, command_names())}")
    module = importlib.import_module(f"hasten.cli.{command}")
    parser = parser_of(command, module)
    try:
        args = parser.parse_args(rest)
    except SystemExit as stop:  # --help has printed
        return int(stop.code or 0)
    return int(module.run(args))


def _overview() -> str:
    names = command_names()
    width = max(map(len, names))
    lines = [
        "usage: hasten COMMAND ...",
        "",
        "Predict, simulate, compare and plan LLM inference, offline, from model shapes, data sheets and traces.",
        "",
        *(f"  {name:<{width}}  {help_of(name)}" for name in names),
        "",
        "hasten COMMAND --help explains a command and ends with an example; every command takes --json.",
        "hasten --version prints the version.",
    ]
    return "\n".join(lines)


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are InputErrors, and whose unknown options come with a suggestion."""

    def error(self, message: str) -> NoReturn:
        """Raise InputError, one line."""
        text = re.sub(r"^argument (?:-\w/)?(?:\w+/)*", "", message)
        raise InputError(f"{text} (see `{self.prog} --help`)")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse, but what is left over is named with the nearest option."""
        found, rest = self.parse_known_args(args, namespace)
        if any(not each.startswith("-") for each in rest):  # files may stand behind options
            found, rest = self.parse_known_intermixed_args(args, namespace)
        if rest:
            options = [
                each for action in self._actions for each in action.option_strings if each.startswith("--")
            ]
            word = next((each for each in rest if each.startswith("-")), rest[0])
            flag = word.partition("=")[0]
            kind = "option" if word.startswith("-") else "argument"
            self.error(f"{flag}: unknown {kind}{_near(flag, options)}")
        return found


def parser_of(command: str, module: Any) -> Parser:
    """The parser of a command: its own options and `--json`; the help ends with its example."""
    parser = Parser(
        prog=f"hasten {command}",
        description=(module.__doc__ or "").strip(),
        epilog=f"example:\n  {module.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.configure(parser)
    if not any("--json" in action.option_strings for action in parser._actions):
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _near(word: str, known: Sequence[str]) -> str:
    import difflib  # only mistakes pay for it

    close = difflib.get_close_matches(word, known, 1, cutoff=0.5)
    return f": did you mean {close[0]}?" if close else ""
