"""Golden decision traces: a refactor must not move them.

`python tests/policies/test_golden.py` writes golden.json anew, for a change that means to change decisions.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from hasten.core.limits import Limits
from hasten.core.policy import FOREVER
from hasten.core.request import SLO
from hasten.latency.compiled import LinearCost
from hasten.policies import load_policy, policy_names, roles
from hasten.testing import Call, Case, Outcome, play

GOLDEN = Path(__file__).with_name("golden.json")
COMPANIONS = {
    "schedule": "fcfs",
    "route": "least_outstanding",
    "cache": "lru",
    "admit": "always",
    "length": "mean:prior=20",
}
ROLE_COMPANIONS: dict[str, dict[str, str]] = {"length": {"schedule": "sjf"}}
VARIANTS = [("schedule", "static:batch_size=4,hold=false"), ("schedule", "static:batch_size=4,wait=0.05")]


def scattered(number: int, low: int, high: int, salt: int) -> int:
    """A number from low to high that depends on nothing but its arguments."""
    mixed = (number + 1) * 2654435761 ^ (salt + 1) * 40503
    return low + (mixed >> 7) % (high - low + 1)


def scenario(depth: int) -> Case:
    """Two replicas under pressure: prompts with common prefixes, KV for a few, limits of two kinds, priorities."""
    calls = []
    for id in range(60):
        prompt = scattered(id, 4, 150, 1)
        group = scattered(id, 0, 2, 2)
        shared = scattered(id, 0, prompt // 16, 3)
        ids = [1000 * group + k for k in range(shared)] + [
            10**6 + 100 * id + k for k in range(prompt // 16 - shared)
        ]
        calls.append(
            Call(
                id,
                0.0131 * id + 0.0007 * scattered(id, 0, 9, 4),
                prompt,
                scattered(id, 1, 70, 5),
                FOREVER if id % 4 else 40,
                block_ids=tuple(ids),
                block_tokens=16,
                session=group,
                priority=scattered(id, 0, 2, 6),
                slo=SLO(ttft=0.05 * scattered(id, 1, 6, 7)) if id % 3 else None,
            )
        )
    limits = Limits(40, max_num_seqs=6, max_num_batched_tokens=96)
    cost = LinearCost(0.004, per_sequence=1e-4, per_context=2e-6, per_prefill_token=3e-5)
    return Case("golden", tuple(calls), limits, cost, COMPANIONS, replicas=2, depth=depth)


def run(role: str, spec: str, depth: int) -> Outcome:
    specs = COMPANIONS | ROLE_COMPANIONS.get(role, {}) | {role: spec}

    def make(role: str) -> Any:
        return load_policy(role, specs[role])

    return play(scenario(depth), make, stepping=depth == 1)


def fingerprint(outcome: Outcome) -> str:
    """A hash of every decision and every record; times to nine digits, so that rounding doesn't count."""
    lines = [f"{index} {what}" for _, index, *what in outcome.decisions]
    for id, row in sorted(outcome.rows.items()):
        times = " ".join(f"{value:.9g}" for value in row[:5])
        lines.append(f"{id} {times} {row[5:]}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


ALL = [
    (role, spec, depth)
    for depth in (1, 2)
    for role, spec in [*((role, name) for role in roles() for name in policy_names(role)), *VARIANTS]
]
KNOWN: dict[str, str] = json.loads(GOLDEN.read_text())
# A new policy has no trace to keep until somebody writes the file anew: adding one touches no list.
SCENARIOS = [each for each in ALL if "{}/{}/{}".format(*each) in KNOWN]


@pytest.mark.parametrize(("role", "spec", "depth"), SCENARIOS)
def test_decisions_do_not_move(role: str, spec: str, depth: int) -> None:
    assert fingerprint(run(role, spec, depth)) == KNOWN[f"{role}/{spec}/{depth}"]


def test_scenarios_differ_where_policies_do() -> None:
    """The scenario tells policies apart: only what equals the default there has its fingerprint."""
    assert len(SCENARIOS) == len(KNOWN), (
        "a trace is of no policy in the folders: run this file to write them anew"
    )
    for depth in (1, 2):
        default = KNOWN[f"schedule/fcfs/{depth}"]
        same = {name for name, value in KNOWN.items() if value == default and name.endswith(f"/{depth}")}
        expected = {"schedule/fcfs", "route/least_outstanding", "cache/lru", "admit/always"}
        expected |= {"schedule/dynamic_splitfuse", "schedule/sarathi"}  # their budgets bind nobody here
        assert same == {f"{name}/{depth}" for name in expected}


def test_the_scenario_hurts() -> None:
    rows = run("schedule", "fcfs", 1).rows.values()
    assert sum(row.preemptions for row in rows) > 5
    assert sum(row.cached_tokens for row in rows) > 200


if __name__ == "__main__":
    found = {f"{role}/{spec}/{depth}": fingerprint(run(role, spec, depth)) for role, spec, depth in ALL}
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
