"""What `import hasten` offers: every name is there, is typed, and costs nothing until it is used."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import hasten


@pytest.mark.parametrize("name", hasten.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(hasten, name) is not None
    assert name in dir(hasten)


@pytest.mark.parametrize("name", sorted(hasten._HOMES))
def test_a_public_name_is_what_its_module_defines(name: str) -> None:
    found = getattr(hasten, name)
    home = importlib.import_module(hasten._HOMES[name])
    assert found is (home if isinstance(found, ModuleType) else getattr(home, name))
    assert callable(found)
    assert (found.__doc__ or "").strip(), f"{name} has no docstring"


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    tree = ast.parse(Path(hasten.__file__).read_text(encoding="utf-8"))
    typed = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hasten.")
        for alias in node.names
    }
    assert typed == hasten._HOMES
    assert sorted({*hasten._HOMES, "__version__"}) == sorted(hasten.__all__)


def test_plan_is_a_package_and_its_function() -> None:
    from hasten.plan import planner

    with pytest.raises(hasten.InputError, match="SLO has no limit"):
        hasten.plan("llama-3.1-8b", hasten.parse_workload("azure-conv", limit=2), hasten.SLO())
    assert hasten.plan.planner is planner  # type: ignore[attr-defined]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="simulat"):
        hasten.simulat  # noqa: B018


def test_importing_the_package_loads_nothing_else() -> None:
    code = "import sys, hasten; print(sorted(m for m in sys.modules if m.startswith(('hasten.', 'numpy'))))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
