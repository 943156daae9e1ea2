"""The trainer of the tiny model: what it holds out, how its rate runs, and that an interruption changes nothing."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tooling.scripts import load

pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("torch", "tokenizers")), reason="needs the extra `engine`"
)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = load("train_tiny")
    monkeypatch.setattr(made, "WINDOW", 24)
    monkeypatch.setattr(made, "SAVE_EVERY", 1)
    return made


def test_one_file_in_twenty_is_held_out(script: Any) -> None:
    held_out = [
        name for name in (f"module_{number}.py" for number in range(4000)) if script.is_held_out(name)
    ]
    assert len(held_out) == pytest.approx(4000 * 13 / 256, rel=0.15)
    assert [name for name in held_out if script.is_held_out(name)] == held_out


def test_the_rate_warms_up_and_falls_to_nothing(script: Any) -> None:
    short, long = script.Recipe(steps=400), script.Recipe(steps=4000)
    assert short.rate(0) == pytest.approx(1 / 40)
    assert [short.rate(step) for step in range(300)] == [long.rate(step) for step in range(300)]
    assert short.rate(short.fall) == 1.0
    assert short.rate(350) == pytest.approx(0.5)
    assert short.rate(399) == pytest.approx(0.01)


def weights_after(script: Any, steps: int, state: Path, threads: int = 2) -> dict[str, Any]:
    modules = [np.random.default_rng(3).integers(0, 2048, 400)]
    with ThreadPoolExecutor(threads) as pool:
        found: dict[str, Any] = script.train(modules, script.Recipe(steps=steps), state, "run", pool)
    return found


def test_an_interrupted_run_ends_with_the_same_weights(script: Any, tmp_path: Path) -> None:
    whole = weights_after(script, 3, tmp_path / "whole.training")
    part = tmp_path / "part.training"
    real = script.save

    def stop(state: Path, about: dict[str, str], *more: Any) -> None:
        real(state, about, *more)
        if about["done"] == "1":
            raise KeyboardInterrupt

    script.save = stop
    with pytest.raises(KeyboardInterrupt):
        weights_after(script, 3, part)
    script.save = real
    again = weights_after(script, 3, part, threads=1)
    assert all((again[name] == whole[name]).all() for name in whole)


def test_a_state_of_another_run_is_refused(script: Any, tmp_path: Path) -> None:
    state = tmp_path / "tiny.training"
    weights_after(script, 2, state)
    with pytest.raises(SystemExit, match="belongs to a run with another text or recipe"):
        weights_after(script, 3, state)  # its rate has fallen for two steps
    assert script.Recipe(steps=3).name == script.Recipe().name != replace(script.Recipe(), seed=1).name
