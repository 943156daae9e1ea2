"""Fragments become a release."""

from pathlib import Path

import pytest
from tests.tooling.scripts import ROOT, load

changelog = load("changelog")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "changelog.d").mkdir()
    (tmp_path / "changelog.d" / "README.md").write_text("rules")
    (tmp_path / "CHANGELOG.md").write_text(
        f"# Changelog\n\n{changelog.MARKER}\n\n## 0.1.0 (2026-01-01)\n\n### Added\n\n- A start. (#1)\n"
    )
    return tmp_path


def test_this_repositorys_fragments_are_well_formed() -> None:
    assert changelog.read_fragments(ROOT / "changelog.d")[1] == []
    assert changelog.MARKER in (ROOT / "CHANGELOG.md").read_text()


def test_a_release_sorts_fragments_by_kind_and_deletes_them(repository: Path) -> None:
    folder = repository / "changelog.d"
    (folder / "12-crash.fixed.md").write_text("A crash\nwith empty traces.\n")
    (folder / "9-reader.added.md").write_text("A reader.")
    (folder / "10-plan.added.md").write_text("A plan.")
    assert changelog.main(["--root", str(repository), "release", "0.2.0", "--date", "2026-02-03"]) == 0
    assert (repository / "CHANGELOG.md").read_text() == (
        f"# Changelog\n\n{changelog.MARKER}\n\n"
        "## 0.2.0 (2026-02-03)\n\n### Added\n\n- A reader. (#9)\n- A plan. (#10)\n\n"
        "### Fixed\n\n- A crash with empty traces. (#12)\n\n"
        "## 0.1.0 (2026-01-01)\n\n### Added\n\n- A start. (#1)\n"
    )
    assert [path.name for path in folder.iterdir()] == ["README.md"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("reader.added.md", "No issue."),
        ("2-Reader.added.md", "Capital."),
        ("2-reader.new.md", "Unknown kind."),
        ("2-reader.added.txt", "Not Markdown."),
        ("2-reader.added.md", "- a bullet."),
        ("2-reader.added.md", "no full stop"),
        ("2-reader.added.md", ""),
    ],
)
def test_bad_fragments_are_named(
    repository: Path, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    (repository / "changelog.d" / name).write_text(text)
    assert changelog.main(["--root", str(repository), "check"]) == 1
    assert capsys.readouterr().out.startswith(f"{name}: ")
    assert changelog.main(["--root", str(repository), "release", "0.2.0"]) == 2
    assert (repository / "changelog.d" / name).exists()


@pytest.mark.parametrize("version", ["0.1.0", "v2", "0.2"])
def test_a_release_needs_a_new_version(repository: Path, version: str) -> None:
    (repository / "changelog.d" / "9-reader.added.md").write_text("A reader.")
    before = (repository / "CHANGELOG.md").read_text()
    assert changelog.main(["--root", str(repository), "release", version]) == 2
    assert (repository / "CHANGELOG.md").read_text() == before


def test_nothing_to_release(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert changelog.main(["--root", str(repository), "release", "0.2.0"]) == 2
    assert "nothing to release" in capsys.readouterr().err
