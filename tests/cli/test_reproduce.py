"""`hasten reproduce`: what it prints, writes, keeps and refuses, with claims that take no time."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hasten.claims import token_limit
from hasten.claims.harness import catalogue, record, run
from hasten.claims.harness.claim import Curve, Falsifier, Findings, Region, gain
from hasten.claims.harness.estimate import Estimate
from hasten.cli import main
from hasten.cli.reproduce import judged


def quick(seeds: Any, progress: Any, *, falsified: bool = False) -> Findings:
    """A gain of 2 where 3 is published."""
    progress(1, 1)
    return Findings(
        figures=[gain("throughput", Estimate.over([1.9, 2.0, 2.1]), paper=3.0)],
        falsifiers=[
            Falsifier(setting="equal lengths", ours=Estimate.exact(1.0), low=1.1 if falsified else 0.9)
        ],
        regions=[Region(where="low load", ours=Estimate(0.8, 0.7, 0.9))],
        curves=[Curve(title="t", x="rate", y="s", lines={"ours": [(1.0, 2.0), (2.0, 3.0)]})],
        origin="a test",
    )


@pytest.fixture
def claim(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.setattr(token_limit, "CLAIM", replace(token_limit.CLAIM, measure=quick))
    monkeypatch.setattr(record, "RESULTS", tmp_path / "recorded")
    return monkeypatch


@pytest.mark.parametrize(
    ("paper", "neutral", "ours", "shown"),
    [
        (2.0, 1.0, 2.9, "holds"),
        (2.0, 1.0, 3.1, "holds, far beyond"),
        (0.7, 1.0, 0.5, "holds"),
        (0.7, 1.0, 0.4, "holds, far beyond"),
        (None, 1.0, 9.0, "holds"),
        (2.0, None, 2.0, "holds"),
    ],
)
def test_a_figure_far_beyond_the_published_one_is_marked(
    paper: float | None, neutral: float | None, ours: float, shown: str
) -> None:
    assert judged({"verdict": "holds", "paper": paper, "neutral": neutral, "ours": ours}) == shown


@pytest.mark.usefixtures("claim")
def test_a_claim_is_shown_with_paper_ours_falsifier_loss_and_verdict(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["reproduce", "token_limit"]) == 0
    text = capsys.readouterr().out
    for part in (
        "token_limit: holds in part",
        "3.00",
        "2.00 [1.75, 2.25]",
        "equal lengths",
        "ok",
        "loses",
        "a test",
    ):
        assert part in text
    assert main(["reproduce", "token_limit", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["figures"][0]["ours"] == 2.0
    assert result["verdict"] == "holds in part"
    assert result["regions"][0]["is_loss"]


def test_a_violated_falsifier_is_status_1(
    claim: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = replace(
        token_limit.CLAIM, measure=lambda seeds, progress: quick(seeds, progress, falsified=True)
    )
    claim.setattr(token_limit, "CLAIM", broken)
    assert main(["reproduce", "token_limit"]) == 1
    assert "VIOLATED" in capsys.readouterr().out


@pytest.mark.usefixtures("claim")
def test_results_table_and_plots_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["reproduce", "token_limit", "--out", str(out), "--record"]) == 0
    assert {each.name for each in out.iterdir()} == {"claims.md", "token_limit.json", "token_limit-1.svg"}
    assert "**holds in part**" in (out / "claims.md").read_text()
    assert (tmp_path / "recorded" / "token_limit.json").read_text() == (out / "token_limit.json").read_text()


def test_an_interrupt_keeps_what_is_finished(
    claim: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run.measure("token_limit")

    def measure(name: str, progress: Any) -> Any:
        if name == "token_limit":
            return done
        raise KeyboardInterrupt

    claim.setattr(run, "measure", measure)
    claim.setattr(catalogue, "claim_names", lambda: ["token_limit", "zzz"])
    claim.setattr(catalogue, "load_claim", lambda name: token_limit.CLAIM)
    assert main(["reproduce", "--all", "--out", str(tmp_path / "out")]) == 130
    captured = capsys.readouterr()
    assert "token_limit: holds in part" in captured.out
    assert captured.err == "hasten: interrupted\n"
    assert (tmp_path / "out" / "token_limit.json").exists()


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        ([], ["name a claim", "--all", "token_limit"]),
        (["--all", "token_limit"], ["--all", "drop one"]),
        (["token_limits"], ["token_limits", "unknown", "token_limit"]),
        (["token_limit", "--jobs", "0"], ["--jobs", "0"]),
    ],
)
def test_mistakes_are_one_line(argv: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", *argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    for part in parts:
        assert part in captured.err


def test_out_that_is_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    assert main(["reproduce", "token_limit", "--out", str(path)]) == 2
    assert str(path) in capsys.readouterr().err
    assert path.read_text() == "mine"
