"""Changelog by fragments: `check` validates changelog.d, `release 0.2.0` collects it in CHANGELOG.md.

A fragment is changelog.d/<issue>-<slug>.<kind>.md, kind added, changed, fixed or removed.
"""

from __future__ import annotations

import argparse
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

KINDS = ("added", "changed", "fixed", "removed")
NAME = re.compile(rf"(?P<issue>\d+)-(?P<slug>[a-z0-9]+(?:-[a-z0-9]+)*)\.(?P<kind>{'|'.join(KINDS)})\.md")
VERSION = re.compile(r"\d+\.\d+\.\d+")
MARKER = "<!-- releases below, newest first -->"


class Fragment(NamedTuple):
    """One user-visible change: the issue it belongs to, its kind and its text in the user's words."""

    issue: int
    slug: str
    kind: str
    text: str


def read_fragments(folder: Path) -> tuple[list[Fragment], list[str]]:
    """Return (fragments by issue and slug, one line per file that is not a good fragment)."""
    fragments, problems = [], []
    for path in sorted(folder.iterdir()):
        if path.name == "README.md":
            continue
        match = NAME.fullmatch(path.name)
        if match is None:
            problems.append(f"{path.name}: not <issue>-<slug>.<kind>.md with kind {', '.join(KINDS)}")
            continue
        text = " ".join(path.read_text(encoding="utf-8").split())
        if not text.endswith((".", ")", "`")) or text.startswith(("-", "*", "#")):
            problems.append(
                f"{path.name}: write plain sentences, without bullet or heading, ended by a full stop"
            )
            continue
        fragments.append(Fragment(int(match["issue"]), match["slug"], match["kind"], text))
    return sorted(fragments), problems


def render(fragments: list[Fragment], version: str, date: str) -> str:
    """Return the section of one release as Markdown."""
    parts = [f"## {version} ({date})"]
    for kind in KINDS:
        entries = [
            f"- {fragment.text} (#{fragment.issue})" for fragment in fragments if fragment.kind == kind
        ]
        if entries:
            parts.append(f"### {kind.capitalize()}\n\n" + "\n".join(entries))
    return "\n\n".join(parts)


def release(root: Path, version: str, date: str) -> str:
    """Move every fragment into CHANGELOG.md under `version`; raise ValueError when that can't be done."""
    folder, changelog = root / "changelog.d", root / "CHANGELOG.md"
    fragments, problems = read_fragments(folder)
    if problems:
        raise ValueError("; ".join(problems))
    if not fragments:
        raise ValueError("changelog.d holds no fragment: nothing to release")
    if not VERSION.fullmatch(version):
        raise ValueError(f"version {version!r} is not of the form 1.2.3")
    text = changelog.read_text(encoding="utf-8")
    if MARKER not in text:
        raise ValueError(f"CHANGELOG.md has lost its line {MARKER!r}")
    if f"\n## {version} " in text:
        raise ValueError(f"CHANGELOG.md already holds {version}")
    head, tail = text.split(MARKER, 1)
    body = render(fragments, version, date)
    sections = [f"{head}{MARKER}", body, tail.strip()]
    changelog.write_text("\n\n".join(filter(None, sections)) + "\n", encoding="utf-8")
    for fragment in fragments:
        (folder / f"{fragment.issue}-{fragment.slug}.{fragment.kind}.md").unlink()
    return body


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--root", type=Path, default=Path(__file__).resolve().parent.parent, help="repository to work on"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="validate the names and texts of all fragments")
    release_parser = commands.add_parser(
        "release", help="collect the fragments into CHANGELOG.md and delete them"
    )
    release_parser.add_argument("version")
    release_parser.add_argument(
        "--date", default=datetime.now(UTC).strftime("%Y-%m-%d"), help="YYYY-MM-DD, today (UTC)"
    )
    options = parser.parse_args(arguments)
    if options.command == "check":
        fragments, problems = read_fragments(options.root / "changelog.d")
        print("\n".join(problems) or f"{len(fragments)} changelog fragments, all well formed")
        return 1 if problems else 0
    try:
        print(release(options.root, options.version, options.date))
    except ValueError as error:
        print(f"changelog: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
