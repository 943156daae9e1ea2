"""Import direction: fail when a package imports against the arrows, or the sans-I/O part what it may not.

    cli -> claims, plan -> sim | engine -> policies, latency, workload, report
        -> models, hardware, profiles -> core

Imports for type checkers and imports inside functions count too: a circle is a circle.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

# Packages and top-level modules of hasten by height: an import may stay on its level or go down, never up.
LEVELS = (
    ("errors", "jsontext"),
    ("core",),
    ("models", "hardware", "profiles"),
    ("policies", "latency", "fewshot", "workload", "report"),
    ("deployment", "disaggregation", "prediction"),
    ("sim", "engine"),
    ("claims", "plan", "accuracy", "calibration", "testing", "explain", "delivery", "uncertainty"),
    ("page",),
    ("cli", "__main__"),
)
HEIGHT = {name: height for height, names in enumerate(LEVELS) for name in names}
APART = ({"sim", "engine"},)  # neighbours that never import each other

# What may not be imported where, with what to do instead.
BANNED = {
    "time": "use view.now: drivers own the clock",
    "datetime": "use view.now: drivers own the clock",
    "random": "take numbers from the stream the driver hands over",
    "asyncio": "the core is sans-I/O: drivers wait, the core decides",
    "torch": "the engine's executor owns tensors",
}
SANS_IO = ("core", "policies")


def check_tree(root: Path) -> list[str]:
    """Return one line per forbidden import under `root`/src/hasten, empty when there is none."""
    package = root / "src" / "hasten"
    problems: list[str] = []
    edges: dict[str, dict[str, str]] = {}
    for path in sorted(package.rglob("*.py")):
        relative = path.relative_to(package)
        owner = relative.parts[0].removesuffix(".py")
        if owner == "__init__":  # the public names: loaded lazily, from anywhere
            continue
        where = f"src/hasten/{relative.as_posix()}"
        if owner not in HEIGHT:
            problems.append(f"{where}: {owner} is not in LEVELS of scripts/imports.py: give it a level")
            continue
        for line, module in imported_modules(path):
            problem = check_import(owner, module)
            if problem:
                problems.append(f"{where}:{line}: {problem}")
            elif module.startswith("hasten."):
                target = module.split(".")[1]
                if target != owner:
                    edges.setdefault(owner, {}).setdefault(target, f"{where}:{line}")
    return problems + find_circles(edges)


def imported_modules(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted module) for every import in a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            # `from hasten import core` names the submodule in its alias.
            if module == "hasten":
                for alias in node.names:
                    yield node.lineno, f"hasten.{alias.name}"
            else:
                yield node.lineno, module


def check_import(owner: str, module: str) -> str | None:
    """Say what is wrong when package `owner` imports `module`; None when nothing is."""
    top = module.split(".")[0]
    if owner in SANS_IO and top in BANNED:
        return f"{owner} imports {top}: {BANNED[top]}"
    if top != "hasten":
        if owner == "core" and top not in sys.stdlib_module_names:
            return f"core imports {top}: core is standard library only"
        return None
    target = module.split(".")[1] if "." in module else ""
    if target not in HEIGHT:
        return f"{owner} imports {module}: import from the module that defines the name"
    if HEIGHT[target] > HEIGHT[owner]:
        return f"{owner} imports {target}: imports go down, and {target} stands above {owner}"
    if target != owner and any({owner, target} <= pair for pair in APART):
        return f"{owner} imports {target}: they share the core and never each other"
    return None


def find_circles(edges: dict[str, dict[str, str]]) -> list[str]:
    """Return one line for every pair of packages that reach each other."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        queue = [start]
        while queue:
            for target in edges.get(queue.pop(), {}):
                if target not in seen:
                    seen.add(target)
                    queue.append(target)
        return seen

    reach = {package: reachable(package) for package in edges}
    return [
        f"{where}: {package} and {target} import each other"
        for package, targets in sorted(edges.items())
        for target, where in sorted(targets.items())
        if package < target and package in reach.get(target, set())
    ]


def main() -> int:
    """Print every forbidden import; return the number of the exit status."""
    problems = check_tree(Path(__file__).resolve().parent.parent)
    print("\n".join(problems) or "every import goes down")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
