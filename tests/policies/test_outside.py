"""A policy from outside the package: by path and by entry point, loaded, simulated and checked."""

import sys
from pathlib import Path

import pytest

import hasten
from hasten.core.limits import Limits
from hasten.errors import InputError
from hasten.latency.compiled import LinearCost
from hasten.policies import load_policy, policy_card, policy_names
from hasten.testing import Call, Case, check_policy, play

SHORTEST_PROMPT = '''
"""Shortest prompt first."""
from dataclasses import dataclass

from hasten import SchedulingPolicy


@dataclass
class ShortestPrompt(SchedulingPolicy):
    """Admit short prompts first, but count every second of waiting as so many tokens less.

    Paper: none.
    Needs: nothing.
    """

    patience: float = 100.0  # tokens per second of waiting

    def rank(self, request, view):
        return request.prompt_tokens - self.patience * (view.now - request.arrival)
'''


def finish_order(policy: object) -> list[int]:
    """Ids in the order of their first tokens when four prompts of falling length wait for one slot."""
    calls = tuple(Call(id, 0.001 * id, prompt, 2, 9) for id, prompt in enumerate((50, 90, 70, 10)))
    case = Case("one slot", calls, Limits(100, max_num_seqs=1), LinearCost(0.01), {})
    made = {"schedule": policy}
    outcome = play(case, lambda role: made.get(role) or load_policy(role, DEFAULTS[role]))
    return sorted(outcome.rows, key=lambda id: outcome.rows[id].first_token)


DEFAULTS = {"cache": "lru", "route": "round_robin", "admit": "always", "length": "mean"}


def test_by_path(tmp_path: Path) -> None:
    path = tmp_path / "shortest_prompt.py"
    path.write_text(SHORTEST_PROMPT)
    assert finish_order(load_policy("schedule", f"{path}")) == [0, 3, 2, 1]
    assert finish_order(load_policy("schedule", f"{path}:patience=1e9")) == [0, 1, 2, 3]
    checked = check_policy(f"{path}:patience=5", cases=4)
    assert (checked.role, checked.policy) == ("schedule", "ShortestPrompt")


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, entry: str) -> None:
    """A distribution with one module and one entry point, importable until the test ends."""
    (folder / f"{name}.py").write_text(SHORTEST_PROMPT)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[hasten.policies.schedule]\n{entry}\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize("target", ["outside_a", "outside_a:ShortestPrompt"])
def test_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    install(tmp_path, monkeypatch, "outside_a", f"shortest = {target}")
    assert "shortest" in policy_names("schedule")
    assert "outside_a" not in sys.modules
    made = load_policy("schedule", "shortest:patience=0")
    assert made.patience == 0.0
    assert finish_order(made) == [0, 3, 2, 1]
    card = policy_card("schedule", "shortest")
    assert (card.name, card.parameters[0].comment) == ("shortest", "tokens per second of waiting")
    check_policy("shortest", cases=3)


def test_simulated_like_a_built_in_one(tmp_path: Path) -> None:
    path = tmp_path / "shortest_prompt.py"
    path.write_text(SHORTEST_PROMPT)
    work = hasten.parse_workload("poisson:rate=20,n=60,prompt=400,output=20")
    deployment = hasten.Deployment.of("llama-3.1-8b", "h100-sxm")
    by_path = hasten.simulate(deployment, work, schedule=str(path))
    assert by_path.output_tokens == 60 * 20


def test_a_name_claimed_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "outside_b", "fcfs = outside_b")
    with pytest.raises(
        InputError, match=r"schedule policy 'fcfs' exists twice, in .*fcfs.py and in outside_b"
    ):
        load_policy("schedule", "sjf")


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("nowhere_at_all", "can't be loaded: ModuleNotFoundError"),
        ("outside_c:dataclass", "is no subclass of SchedulingPolicy"),
        ("outside_c:Nothing", "can't be loaded: AttributeError"),
    ],
)
def test_a_bad_entry_point_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, says: str
) -> None:
    install(tmp_path, monkeypatch, "outside_c", f"bad = {target}")
    with pytest.raises(InputError, match=says) as caught:
        load_policy("schedule", "bad")
    assert "'bad'" in str(caught.value)
