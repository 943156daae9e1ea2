"""Planted faults are found: a small sample of benchmarks/explain.py, on seeds that nothing else uses."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "explain.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hasten_benchmark_explain", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        ("slow_link", None),
        ("starved_kv", "queue_memory"),
        ("noisy_tenant", None),
        ("launch_bound", None),
        ("straggler", None),
    ],
)
def test_the_planted_cause_is_named_first(benchmark: ModuleType, kind: str, label: str | None) -> None:
    case = benchmark.KINDS[kind](20_000)
    found, is_named, *_ = benchmark.judge(case)
    assert is_named, [(each.change.name, each.relative) for each in found.causes]
    assert found.cause is not None
    assert found.cause.change.cause in found.sentence
    if label is not None:
        assert next(iter(found.composition.excess)) == label
