"""Planted faults are found: a small sample of benchmarks/planted.py, on seeds that nothing else uses."""

from types import ModuleType

import pytest
from tests.tooling.scripts import load


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return load("planted", "benchmarks")


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        ("slow_link", None),
        ("starved_kv", "queue_memory"),
        ("noisy_tenant", None),
        ("launch_bound", None),
        ("straggler", None),
        ("kv_link", "kv_link"),
        ("decode_room", "decode_pool_memory"),
        ("admission", "queue_admission"),
        ("slow_tools", "tool"),
    ],
)
def test_the_planted_cause_is_named_first(benchmark: ModuleType, kind: str, label: str | None) -> None:
    case = {**benchmark.FAULTS, **benchmark.BEYOND}[kind].make(20_000)
    found, is_named = benchmark.explained(case)
    assert is_named, [(each.change.name, each.relative) for each in found.causes]
    assert found.cause is not None
    assert found.cause.change.cause in found.sentence
    assert found.cause.interval.holds(found.cause.relative)
    assert "of new traffic" in found.sentence
    if label is not None:
        assert next(iter(found.composition.excess)) == label
