"""The budgets hold here, and the checkers see what they should."""

from pathlib import Path

import pytest
from tests.tooling.scripts import ROOT, load

budgets = load("budgets")
imports = load("imports")


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_this_repository_is_within_its_budgets() -> None:
    assert budgets.check_tree(ROOT) == []


def test_this_repository_imports_downwards() -> None:
    assert imports.check_tree(ROOT) == []


@pytest.mark.parametrize(
    ("name", "lines", "problems"),
    [
        ("src/hasten/sim/a.py", 500, 0),
        ("src/hasten/sim/a.py", 501, 1),
        ("tests/a.py", 501, 1),
        ("examples/a.py", 40, 0),
        ("examples/a.py", 41, 1),
    ],
)
def test_file_budget(tmp_path: Path, name: str, lines: int, problems: int) -> None:
    write(tmp_path, name, "# line\n" * lines)
    assert len(budgets.check_tree(tmp_path)) == problems


def test_core_and_sim_share_one_budget(tmp_path: Path) -> None:
    for i in range(4):
        write(tmp_path, f"src/hasten/core/c{i}.py", "# line\n" * 500)
        write(tmp_path, f"src/hasten/sim/s{i}.py", "# line\n" * 500)
    write(tmp_path, "src/hasten/plan/p.py", "# line\n" * 500)
    assert budgets.check_tree(tmp_path) == []
    write(tmp_path, "src/hasten/core/more.py", "# line\n")
    assert budgets.check_tree(tmp_path) == [
        "src/hasten/core + sim: 4001 lines, limit 4000: delete before adding"
    ]


@pytest.mark.parametrize(("lines", "problems"), [(59, 0), (60, 1)])
def test_function_budget(lines: int, problems: int) -> None:
    source = "class A:\n    async def f(self):\n" + "        pass\n" * lines
    assert len(budgets.check_source(source, "a.py")) == problems


@pytest.mark.parametrize(
    ("source", "required"),
    [
        ("class A:\n  def __init__(self, a, b, /, c, d=1, *, e, f=2): ...", ["a", "b", "c", "e"]),
        (
            "@dataclass\nclass A:\n  a: int\n  b: int = 1\n  C: ClassVar[int]\n  _: KW_ONLY\n  d: str",
            ["a", "d"],
        ),
        (
            "@dataclass(frozen=True)\nclass A:\n  a: list = field(default_factory=list)\n  b: int = field()",
            ["b"],
        ),
        ("class A:\n  a: int\n  b: int", []),
    ],
)
def test_constructor_budget_counts_parameters_without_default(source: str, required: list[str]) -> None:
    import ast

    assert budgets.required_parameters(ast.parse(source).body[0]) == required


def test_constructor_over_budget_is_named() -> None:
    source = "class A:\n  def __init__(self, a, b, c, d, e, f): ..."
    (problem,) = budgets.check_source(source, "a.py")
    assert problem.startswith("a.py:1: A needs 6 (a, b, c, d, e, f), limit 5")


@pytest.mark.parametrize(
    ("owner", "module", "problem"),
    [
        ("core", "math", None),
        ("core", "hasten.errors", None),
        ("core", "hasten.core.kv", None),
        ("core", "numpy", "standard library only"),
        ("core", "time", "view.now"),
        ("policies", "random", "stream"),
        ("policies", "numpy", None),
        ("core", "hasten.models.shape", "models stands above core"),
        ("report", "hasten.sim.driver", "sim stands above report"),
        ("sim", "hasten.engine.driver", "never each other"),
        ("sim", "hasten.report.records", None),
        ("plan", "hasten.sim.driver", None),
        ("sim", "hasten", "import from the module that defines"),
        ("cli", "hasten.plan.search", None),
        ("plan", "hasten.cli.main", "cli stands above plan"),
        ("sim", "time", None),
    ],
)
def test_import_direction(owner: str, module: str, problem: str | None) -> None:
    found = imports.check_import(owner, module)
    assert found is None if problem is None else problem in found


def test_import_checker_sees_every_kind_of_import_and_circles(tmp_path: Path) -> None:
    write(tmp_path, "src/hasten/__init__.py", "from hasten.cli import main")
    write(tmp_path, "src/hasten/core/a.py", "def f():\n    import torch\n")
    write(tmp_path, "src/hasten/models/a.py", "if TYPE_CHECKING:\n    from hasten import hardware\n")
    write(tmp_path, "src/hasten/hardware/a.py", "from hasten.models.a import b")
    write(tmp_path, "src/hasten/newcomer.py", "")
    assert imports.check_tree(tmp_path) == [
        "src/hasten/core/a.py:2: core imports torch: the engine's executor owns tensors",
        "src/hasten/newcomer.py: newcomer is not in LEVELS of scripts/imports.py: give it a level",
        "src/hasten/hardware/a.py:1: hardware and models import each other",
    ]
