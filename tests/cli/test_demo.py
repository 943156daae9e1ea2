"""The demo ends with a plan for an 8B and one for a 70B model, on the shipped trace, among four devices."""

import importlib
import shlex

import pytest
from tests.tooling.scripts import load

from hasten.cli import parser_of

demo = load("demo")


def test_the_demo_ends_with_two_plans_on_the_azure_conversation_trace() -> None:
    commands = [shlex.split(command) for _, command in demo.STEPS]
    assert [command[1:3] for command in commands[-2:]] == [
        ["plan", "llama-3.1-8b"],
        ["plan", "llama-3.1-70b"],
    ]
    for _, name, *flags in commands:
        args = parser_of(name, importlib.import_module(f"hasten.cli.{name}")).parse_args(flags)
        if name == "plan":
            assert args.workload == "azure-conv"
            assert {"a100-sxm-80g", "h100-sxm", "h200-sxm", "l40s"} <= set(args.devices)
            assert args.ttft is not None
            assert args.tpot is not None


def test_the_demo_says_what_it_does_and_stops_at_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[list[str]] = []

    def run(argv: list[str]) -> int:
        ran.append(argv)
        return int(len(ran) == 2)

    monkeypatch.setattr(demo, "hasten", run)
    assert demo.main() == 1
    assert len(ran) == 2
    text = capsys.readouterr().out
    assert "$ hasten workloads show azure-conv" in text
    assert "2. One server" in text
