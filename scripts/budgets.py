"""Size budgets: fail when a file, a function, the core or a constructor grows past what a reader can hold.

Limits: 500 lines a file, 60 a function, 40 an example, 4,000 for `core` and `sim` together, 5 constructor
parameters without a default. Every physical line counts, comments and docstrings too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_LINES = 500
EXAMPLE_LINES = 40
FUNCTION_LINES = 60
CORE_AND_SIM_LINES = 4_000
REQUIRED_PARAMETERS = 5

FOLDERS = ("src", "tests", "scripts", "benchmarks", "examples")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def check_tree(root: Path) -> list[str]:
    """Return one line per broken budget under `root`, empty when all hold."""
    problems: list[str] = []
    core_and_sim = 0
    for path in python_files(root):
        source = path.read_text(encoding="utf-8")
        name = path.relative_to(root).as_posix()
        lines = len(source.splitlines())
        if name.startswith(("src/hasten/core/", "src/hasten/sim/")):
            core_and_sim += lines
        limit = EXAMPLE_LINES if name.startswith("examples/") else FILE_LINES
        if lines > limit:
            problems.append(f"{name}: {lines} lines, limit {limit}: split the file by topic")
        problems += check_source(source, name)
    if core_and_sim > CORE_AND_SIM_LINES:
        problems.append(
            f"src/hasten/core + sim: {core_and_sim} lines, limit {CORE_AND_SIM_LINES}: delete before adding"
        )
    return problems


def python_files(root: Path) -> Iterator[Path]:
    """Every Python file in the folders that carry a budget, sorted."""
    for folder in FOLDERS:
        yield from sorted((root / folder).rglob("*.py"))


def check_source(source: str, name: str) -> list[str]:
    """Return the functions and constructors of one file that are over budget."""
    problems = []
    for node in ast.walk(ast.parse(source, name)):
        if isinstance(node, Function):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                problems.append(
                    f"{name}:{node.lineno}: {node.name} has {lines} lines, limit {FUNCTION_LINES}"
                )
        elif isinstance(node, ast.ClassDef):
            required = required_parameters(node)
            if len(required) > REQUIRED_PARAMETERS:
                problems.append(
                    f"{name}:{node.lineno}: {node.name} needs {len(required)} ({', '.join(required)}), "
                    f"limit {REQUIRED_PARAMETERS}: give defaults or group them"
                )
    return problems


def required_parameters(node: ast.ClassDef) -> list[str]:
    """Names of a class's constructor parameters without a default: of `__init__` or of a dataclass."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            arguments = item.args
            positional = [*arguments.posonlyargs, *arguments.args][1:]
            without_default = positional[: len(positional) - len(arguments.defaults)]
            keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
            return [a.arg for a in without_default] + [a.arg for a, default in keywords if default is None]
    if not any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return []
    return [
        item.target.id
        for item in node.body
        if isinstance(item, ast.AnnAssign)
        and isinstance(item.target, ast.Name)
        and not any(marker in ast.unparse(item.annotation) for marker in ("ClassVar", "KW_ONLY"))
        and not _has_default(item.value)
    ]


def _has_default(value: ast.expr | None) -> bool:
    if value is None:
        return False
    if isinstance(value, ast.Call) and ast.unparse(value.func) in {"field", "dataclasses.field"}:
        return any(keyword.arg in {"default", "default_factory", "init"} for keyword in value.keywords)
    return True


def main() -> int:
    """Print every broken budget; return the number of the exit status."""
    problems = check_tree(Path(__file__).resolve().parent.parent)
    print("\n".join(problems) or "every budget holds")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
