"""What a policy says about itself: docstring and parameters as data, for `hasten methods` and the generated pages."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import textwrap
import tokenize
from dataclasses import dataclass
from typing import Any

from hasten.policies import parameters
from hasten.policies.discovery import find_class, name_of

_SECTIONS = ("Paper", "Differs", "Needs", "Use when", "Avoid when")


@dataclass(frozen=True)
class Parameter:
    """One dataclass field of a policy: `comment` says its unit and meaning."""

    name: str
    type: str
    default: Any
    comment: str


@dataclass(frozen=True)
class PolicyCard:
    """A policy's docstring, taken apart, and its parameters. Sections that it doesn't have are empty."""

    role: str
    name: str
    summary: str
    paper: str = ""
    differs: str = ""
    needs: str = ""
    parameters: tuple[Parameter, ...] = ()
    use_when: str = ""
    avoid_when: str = ""


def policy_card(role: str, name: str) -> PolicyCard:
    """The card of a policy by name or path. Raises InputError when it can't be found or loaded."""
    cls, _ = find_class(role, name)
    card = card_of(cls, role)
    return card if name.endswith(".py") else dataclasses.replace(card, name=name.partition(":")[0])


def card_of(cls: type, role: str) -> PolicyCard:
    """The card of a policy's class."""
    sections = sections_of(inspect.cleandoc(cls.__dict__.get("__doc__") or ""))
    comments = _comments(cls)
    kinds = parameters.types_of(cls)
    listed = tuple(
        Parameter(
            field.name,
            parameters.type_name(kinds[field.name]),
            None if field.default is dataclasses.MISSING else field.default,
            comments.get(field.name, ""),
        )
        for field in parameters.fields_of(cls)
    )
    return PolicyCard(
        role,
        name_of(cls),
        sections[""],
        paper=sections["Paper"],
        differs=sections["Differs"],
        needs=sections["Needs"],
        parameters=listed,
        use_when=sections["Use when"],
        avoid_when=sections["Avoid when"],
    )


def needs_of(cls: type) -> str:
    """What a policy's class says that it needs; empty when it says nothing."""
    return sections_of(inspect.cleandoc(cls.__dict__.get("__doc__") or ""))["Needs"]


def sections_of(text: str) -> dict[str, str]:
    """The first paragraph of a docstring under "", and what follows each section's head, each on one line."""
    found = dict.fromkeys(("", *_SECTIONS), "")
    current: str | None = ""
    for line in text.splitlines():
        head, colon, rest = line.partition(":")
        if colon and head in _SECTIONS:
            current, line = head, rest
        elif not line.strip():
            current = None
        if current is not None:
            found[current] = f"{found[current]} {line.strip()}".strip()
    return found


def _comments(cls: type) -> dict[str, str]:
    """The comment at the end of each field's line, the class's own fields before inherited ones."""
    found: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(owner):
            continue
        try:
            source = textwrap.dedent(inspect.getsource(owner))
        except (OSError, TypeError):  # made at run time: no source, no comments
            continue
        lines = {
            token.start[0]: token.string.lstrip("# ")
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.COMMENT
        }
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found[node.target.id] = lines.get(node.end_lineno or node.lineno, "")
    return found
