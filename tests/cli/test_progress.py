"""The bar is for people: it draws on a terminal, leaves nothing behind, and is silent elsewhere."""

import io

import pytest

from hasten.cli.output import progress


class Terminal(io.StringIO):
    """Standard error as a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_bar_draws_what_is_done_and_wipes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, now = Terminal(), [0.0]
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    with progress.Bar("working") as bar:
        bar(1, 4)  # too early to be worth a line
        assert terminal.getvalue() == ""
        now[0] = 1.0
        bar(1, 4)
        assert "1 of 4" in terminal.getvalue()
        assert "3 s left" in terminal.getvalue()
        now[0] = 2.0
        bar(0, 0)
    last = terminal.getvalue().split("\r")
    assert last[-2].strip() == ""
    assert last[-1] == ""


def test_a_bar_is_silent_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.Bar("working") as bar:
        bar(1, 2)
    assert capsys.readouterr().err == ""
