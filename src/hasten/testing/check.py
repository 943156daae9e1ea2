"""`check_policy`: all laws, one policy."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hasten.policies import load_policy, role_of
from hasten.testing import laws
from hasten.testing.broken import LawBroken
from hasten.testing.cases import random_case
from hasten.testing.laws import Trial


@dataclass(frozen=True)
class Law:
    """A law by name, and what it says."""

    name: str
    summary: str


LAWS = (
    Law("picklable", "A policy survives pickling, so that sweeps can send it to other processes."),
    Law("raises_nothing", "No method raises on valid requests."),
    Law(
        "proposals",
        "Every answer is of the kind that was asked for: tokens within bounds, a victim that runs.",
    ),
    Law("reads_only", "Requests and views are read, never written."),
    Law(
        "books",
        "KV blocks: free + held = total at every turn, recounted; so are the queues and the decode group.",
    ),
    Law("budgets", "No step exceeds the token budget or the sequence limit."),
    Law("clock", "The clock of a replica never goes back."),
    Law(
        "finishes",
        "Every request ends, under overload too, unless the policy declares that it may starve some.",
    ),
    Law("requests_conserved", "Every request ends once, with all of its tokens."),
    Law("stamps", "Arrival <= queued <= scheduled <= first token <= finish."),
    Law("same_seed", "Two runs of one case are equal to the last bit."),
    Law(
        "jump_equals_step",
        "Jumping gives the times of stepping to 1e-9 relative: TTFT, finish and every gap.",
    ),
    Law("order_independent", "Other request ids and addresses change nothing: no order of sets leaks in."),
    Law("no_peeking", "The length of an answer changes no decision before its end."),
)
_FUNCTIONS: tuple[Callable[[Trial], None], ...] = (
    laws.proposals_are_valid,
    laws.all_requests_finish,
    laws.requests_are_conserved,
    laws.stamps_are_ordered,
    laws.same_seed_same_result,
    laws.jumps_equal_steps,
    laws.names_do_not_matter,
    laws.nobody_peeks,
)


@dataclass(frozen=True)
class Checked:
    """What held: the laws, for one policy, over so many random cases."""

    role: str
    policy: str
    cases: int
    laws: tuple[Law, ...]


def check_policy(
    policy: Any,
    role: str | None = None,
    *,
    cases: int = 25,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Checked:
    """Run every law over `cases` random workloads; return what held.

    `policy` is an instance, a name ("sjf"), a name with parameters ("static:batch_size=4") or a path ("./mine.py");
    `role` is needed only for a name that several roles share. `progress(done, cases)` is called after each case.

    Raises LawBroken (an AssertionError) at the first violation: it names the law, what was violated and by how
    much, and the case, which the same `seed` brings back. Raises InputError when there is no such policy.
    """
    role = role_of(policy) if role is None else role
    made = load_policy(role, str(policy) if isinstance(policy, Path) else policy)
    frozen = _frozen(made)
    for number in range(cases):
        case = random_case(role, number, seed)
        try:
            trial = Trial(case, role, frozen)
            for function in _FUNCTIONS:
                function(trial)
        except LawBroken as broken:
            raise LawBroken(
                broken.law, f"{broken.message} [{type(made).__name__}, {case}]"
            ) from broken.__cause__
        if progress is not None:
            progress(number + 1, cases)
    return Checked(role, type(made).__name__, cases, LAWS)


def _frozen(policy: Any) -> bytes:
    """The pickled policy. Raises LawBroken (`picklable`)."""
    name = type(policy).__name__
    try:
        frozen = pickle.dumps(policy)
        thawed = pickle.loads(frozen)
    except Exception as error:
        raise LawBroken("picklable", f"{name} can't be pickled: {type(error).__name__}: {error}") from error
    if type(thawed) is not type(policy) or thawed != policy:
        raise LawBroken("picklable", f"{policy!r} comes back from pickling as {thawed!r}")
    return frozen
