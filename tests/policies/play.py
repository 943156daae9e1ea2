"""Small hand-made cases for the tests of single policies."""

from collections.abc import Sequence
from typing import Any

from hasten.core.limits import Limits
from hasten.core.policy import FOREVER
from hasten.latency.compiled import LinearCost
from hasten.policies import load_policy
from hasten.testing import Call, Case, Outcome
from hasten.testing import play as run

ROLES = {"schedule": "fcfs", "route": "round_robin", "cache": "lru", "admit": "always", "length": "oracle"}
STEP = 0.01  # s, whatever a step runs


def calls(
    arrivals: Sequence[float], prompts: Sequence[int], outputs: Sequence[int], **columns: Any
) -> list[Call]:
    """Calls from columns; `columns` holds further fields of Call, a value per call."""
    made = []
    for id, (arrival, prompt, output) in enumerate(zip(arrivals, prompts, outputs, strict=True)):
        others = {name: column[id] for name, column in columns.items()}
        made.append(Call(id, arrival, prompt, output, FOREVER, **others))
    return made


def play(
    arriving: Sequence[Call],
    limits: Limits | None = None,
    *,
    cost: LinearCost | None = None,
    replicas: int = 1,
    depth: int = 1,
    stepping: bool = False,
    **policies: Any,
) -> Outcome:
    """Run `arriving` with `policies` (role=spec or instance); every step lasts STEP unless `cost` says otherwise."""
    case = Case(
        "by hand",
        tuple(arriving),
        limits or Limits(1000),
        cost or LinearCost(STEP),
        ROLES,
        replicas=replicas,
        depth=depth,
    )
    specs = ROLES | policies

    def make(role: str) -> Any:
        spec = specs[role]
        return spec() if callable(spec) else load_policy(role, spec)

    return run(case, make, stepping=stepping)


def firsts(outcome: Outcome) -> list[int]:
    """Ids in the order of their first tokens, ties by id."""
    return sorted(outcome.rows, key=lambda id: (outcome.rows[id].first_token, id))


def steps(outcome: Outcome, id: int, name: str) -> int:
    """A stamp of request `id`, as a number of steps since time 0."""
    return round(getattr(outcome.rows[id], name) / STEP)
