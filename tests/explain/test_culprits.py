"""Root cause over time: closed forms, a planted chain, the PetShop table's claim, and the command."""

import json
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tooling.scripts import load

from hasten.cli import main
from hasten.errors import InputError
from hasten.explain.culprits import change_points, culprits, granger, walk
from hasten.explain.proximity import average_precision, soft_labels
from hasten.explain.series import Series


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return load("root_cause", "benchmarks")


def test_a_change_of_the_mean_is_found_to_the_row() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0.0, 1.0, 300)
    values[120:] += 8.0
    values[210:] -= 5.0
    assert change_points(values) == [120, 210]
    assert change_points(rng.normal(0.0, 1.0, 300)) == []


def test_a_lagged_cause_is_told_from_its_effect() -> None:
    rng = np.random.default_rng(1)
    cause, effect = rng.normal(size=400), rng.normal(size=400) * 0.1
    effect[2:] += cause[:-2]
    strength = granger(np.stack([cause, effect], axis=1))
    assert strength[0, 1] > 10 * strength[1, 0]


@given(st.integers(2, 8), st.integers(0, 10_000))
def test_a_walk_is_somewhere(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    share = walk((rng.random((size, size)) < 0.4).astype(float), rng.random(size), 0)
    assert share.sum() == pytest.approx(1.0)
    assert (share >= 0.0).all()


def test_the_walk_beats_the_baselines_on_petshop(benchmark: ModuleType) -> None:
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    known = [issue for issue in benchmark.issues() if issue.split == "test"]
    places = {
        name: np.array([benchmark.place(benchmark.RANKINGS[name], issue) for issue in known])
        for name in ("walk, staying", "correlation", "deviation", "deepest deviating call")
    }
    ours = places.pop("walk, staying")
    for top in (1, 3):
        assert all((ours <= top).mean() > (other <= top).mean() for other in places.values())


def test_precision_credits_what_is_close() -> None:
    labels = np.zeros(50, dtype=bool)
    labels[20:25] = True
    soft = soft_labels(labels, 3)
    assert soft[20] == 1.0
    assert soft[19] == pytest.approx(0.75**0.5)
    assert soft[16] == 0.0
    late = np.zeros(50)
    late[26] = 1.0  # two rows after the range
    assert average_precision(late, labels, buffer=3) > average_precision(late, labels, buffer=0)
    assert average_precision(labels.astype(float), labels, buffer=0) == pytest.approx(1.0)


def test_the_command_names_the_planted_series(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], benchmark: ModuleType
) -> None:
    series, root, alarm, shift = benchmark.network(7)
    path = tmp_path / "series.csv"
    rows = [",".join(["time_s", *series.names])]
    rows += [
        ",".join(map(str, (time, *row)))
        for time, row in zip(series.times, series.values.tolist(), strict=True)
    ]
    path.write_text("\n".join(rows))
    assert main(["explain", "--metrics", str(path), "--alarm", series.names[alarm], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert abs(found["since_s"] - shift) <= 5
    assert series.names[root] in [each["name"] for each in found["suspects"][:3]]
    assert main(["explain", "--metrics", str(path), "--alarm", "nobody"]) == 2
    assert main(["explain", "llama-3.1-8b", "--metrics", str(path)]) == 2
    assert main(["explain"]) == 2


def test_too_short_a_history_is_refused() -> None:
    series = Series(np.arange(5.0), ("a", "b"), np.zeros((5, 2)))
    with pytest.raises(InputError, match="at least 4 normal ones"):
        culprits(series, "a", 2.0)
