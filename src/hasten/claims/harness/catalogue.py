"""Finding claims: the name of a claim is its file name, and the folder is the list."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

from hasten.claims.harness.claim import Claim
from hasten.errors import InputError
from hasten.policies.parameters import closest_first

FOLDER = Path(__file__).resolve().parent.parent


def claim_names() -> list[str]:
    """Names of all claims, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def load_claim(name: str) -> Claim:
    """The claim of that name. Raises InputError when there is none, or when its file holds no CLAIM."""
    if name not in claim_names():
        known = ", ".join(closest_first(name, claim_names()))
        raise InputError(f"claim {name!r} is unknown: use one of {known}")
    found = getattr(importlib.import_module(f"hasten.claims.{name}"), "CLAIM", None)
    if not isinstance(found, Claim):
        raise InputError(
            f"{FOLDER / name}.py: no CLAIM in it: define one (hasten.claims.harness.claim.Claim)"
        )
    return found


def docstring(name: str) -> str:
    """What a claim's file says first, read without importing it: what the method does, when to use it, when not."""
    tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    return ast.get_docstring(tree) or ""
