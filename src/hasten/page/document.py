"""One HTML file with everything in it: no request leaves it, and no text in its data can run.

The policy in its head allows the very scripts and styles that stand in the file, by their hash, and nothing else.
Data is JSON in a block that browsers don't execute, with every `<` written as an escape; the page puts texts into
the document as text nodes only.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hasten.report.files import write_text

ASSETS = Path(__file__).parent / "assets"
STYLES = ("page.css",)
RUN_SCRIPTS = ("columns.js", "draw.js", "charts.js", "timeline.js", "requests.js", "whatif.js", "page.js")
SCRIPTS = (*RUN_SCRIPTS, "plan.js", "compare.js", "start.js")


def document(title: str, data: dict[str, Any]) -> str:
    """The page of a run or a plan as HTML text."""
    return frame(title, data | {"version": version("hasten")}, scripts=SCRIPTS)


def save(path: Path, title: str, data: dict[str, Any]) -> None:
    """Write the page in full or not at all. Raises InputError when the folder can't be written."""
    write_text(path, document(title, data))


def frame(
    title: str,
    data: dict[str, Any],
    *,
    scripts: Sequence[str],
    styles: Sequence[str] = STYLES,
    connect: str = "'none'",
) -> str:
    """A page of these scripts over `data`; `connect` is where it may send requests, by default nowhere."""
    style, script = "\n".join(map(_asset, styles)), _script(tuple(scripts))
    policy = (
        f"default-src 'none'; base-uri 'none'; form-action 'none'; connect-src {connect}; img-src data: blob:; "
        f"style-src {_hash(style)}; script-src {_hash(script)}"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f'<link rel="icon" href="data:,">\n<title>{html.escape(title)}</title>\n<style>{style}</style>\n'
        "</head>\n<body>\n<noscript>This page draws itself: allow its scripts, they stay in this file.</noscript>\n"
        f'<script type="application/json" id="data">{embedded(data)}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def embedded(data: Any) -> str:
    """JSON that can't end the block it stands in: what isn't finite is null, and `<`, `>`, `&` are escapes."""
    text = json.dumps(plain(data), allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def plain(value: Any) -> Any:
    """The value with null for numbers that are not finite."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@cache
def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


@cache
def _script(names: tuple[str, ...]) -> str:
    parts = "\n".join(map(_asset, names))
    return f'(() => {{\n"use strict";\n{parts}\n}})();'


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
