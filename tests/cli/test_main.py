"""The frame around the commands: discovery, help, start-up cost, exit statuses, `--json` everywhere."""

import importlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hasten import cli
from hasten.cli import command_names, help_of, main, parser_of

COMMANDS = command_names()
HASTEN = [sys.executable, "-m", "hasten"]
SLOW_EXAMPLES = {
    "plan",
    "accuracy",
    "serve",
    "bench",
}  # run by the tests of their packages, and by the documentation


def seconds(code: str, *, runs: int = 2) -> float:
    """Processor seconds of the fastest of some runs of a Python program: other work on the machine does not count."""
    times = []
    for _ in range(runs):
        before = os.times()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        after = os.times()
        times.append(
            after.children_user - before.children_user + after.children_system - before.children_system
        )
    return min(times)


def test_the_commands_of_the_package_are_there() -> None:
    assert {
        "predict",
        "simulate",
        "compare",
        "methods",
        "models",
        "devices",
        "engines",
        "workloads",
        "check",
    } <= set(COMMANDS)


def test_help_lists_every_command_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for command in COMMANDS:
        assert any(line.split()[:1] == [command] and line.endswith(help_of(command)) for line in lines), (
            command
        )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_a_module_of_the_agreed_shape(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"hasten.cli.{command}")
    assert help_of(command) == module.HELP, (
        "HELP must stand on one line, so that it is read without an import"
    )
    assert module.EXAMPLE.startswith(f"hasten {command}")
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out.rstrip().endswith(module.EXAMPLE)
    flags = [flag for action in parser_of(command, module)._actions for flag in action.option_strings]
    assert "--json" in flags
    assert main(["help", command]) == 0


@pytest.mark.parametrize("command", [each for each in COMMANDS if each not in SLOW_EXAMPLES])
def test_the_example_works_and_prints_json_too(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"hasten.cli.{command}")
    argv = shlex.split(module.EXAMPLE)[1:]
    if hasattr(module, "EXAMPLE_NOT_RUN"):
        parser_of(command, module).parse_args(argv[1:])
        pytest.skip(module.EXAMPLE_NOT_RUN)
    assert main(argv) == 0
    text = capsys.readouterr()
    assert text.out.strip()
    assert text.err == "", "standard error is for progress on terminals and for mistakes"
    assert main([*argv, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_every_flag_has_a_help_text_and_a_kebab_case_name() -> None:
    for command in COMMANDS:
        for action in parser_of(command, importlib.import_module(f"hasten.cli.{command}"))._actions:
            assert action.help, f"{command}: {action.dest} is not explained"
            assert not any("_" in flag for flag in action.option_strings), (
                f"{command}: {action.option_strings}"
            )


def test_help_imports_neither_numpy_nor_a_command() -> None:
    code = (
        "import sys; from hasten.cli import main; main(['--help'])\n"
        "ours = sorted(name for name in sys.modules if name.startswith('hasten.'))\n"
        "assert ours == ['hasten.cli', 'hasten.errors'] and 'numpy' not in sys.modules, ours"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("command", ["models", "devices", "engines"])
def test_catalogues_of_data_files_import_no_numpy(command: str) -> None:
    code = f"import sys; from hasten.cli import main; main(['{command}']); assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_predict_is_quick() -> None:
    argv = shlex.split(importlib.import_module("hasten.cli.predict").EXAMPLE)[1:]
    predicting = seconds(f"from hasten.cli import main; assert main({argv!r}) == 0")
    assert predicting < max(
        0.5, 20 * seconds("pass")
    )  # or, on a slow machine, what its interpreter says 0.5 s is


def test_only_the_chosen_command_is_imported() -> None:
    code = (
        "import sys; from hasten.cli import main, command_names; main(['devices', '--json'])\n"
        "assert [c for c in command_names() if 'hasten.cli.' + c in sys.modules] == ['devices']"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    import hasten

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"hasten {hasten.__version__}\n"


def test_without_a_command_the_overview_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "predict" in capsys.readouterr().out


def test_an_interrupt_is_130_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hasten.cli import devices

    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(devices, "run", interrupted)
    assert main(["devices"]) == 130
    assert capsys.readouterr().err == "hasten: interrupted\n"


def test_a_defect_of_ours_is_not_taken_for_a_mistake_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    from hasten.cli import devices

    def broken(_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(devices, "run", broken)
    with pytest.raises(ZeroDivisionError):
        main(["devices"])


@pytest.mark.skipif(sys.platform == "win32", reason="pipes close differently")
def test_a_reader_who_leaves_is_no_error() -> None:
    process = subprocess.Popen([*HASTEN, "models"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == cli.PIPE_CLOSED


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [*HASTEN, "models"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1


def test_the_exit_status_reaches_the_shell() -> None:
    result = subprocess.run([*HASTEN, "devices", "show", "h101"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("hasten: device 'h101' is unknown")
