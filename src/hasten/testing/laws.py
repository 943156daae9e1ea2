"""The laws that compare runs. Each takes a `Trial` and raises LawBroken with what, where and by how much.

Four more are checked while a run goes on: `books` (hasten.testing.books), `budgets`, `clock` and `finishes`
(hasten.testing.runs), and `proposals` (hasten.testing.watch).
"""

from __future__ import annotations

import math
import pickle
from functools import cached_property
from typing import Any

from hasten.core.request import REJECTED as TURNED_AWAY
from hasten.errors import InputError
from hasten.policies import load_policy
from hasten.policies.card import needs_of
from hasten.sim.recorder import OK
from hasten.testing.broken import LawBroken
from hasten.testing.cases import Case, new_name
from hasten.testing.runs import Outcome, Row, count_gaps, play
from hasten.testing.watch import watch

RELATIVE = 1e-9
ABSOLUTE_S = 1e-12
COUNTS = Row._fields[5:]
_HINTS = {
    "schedule": "; horizon() may promise no more steps than a refusal lasts (1 is always right), and what changes with "
    "time needs wakes_at()",
    "route": "; reads_progress = False is for routers that look at counts of requests alone, reads_load = False for "
    "those that don't even look at these",
}
ORACLE = "true output length"
"""What the `Needs:` of a policy that may ask for the truth must say."""


class Trial:
    """One case, and the runs of it that the laws ask for. `frozen` is the pickled policy under test."""

    def __init__(self, case: Case, role: str, frozen: bytes) -> None:
        self.case = case
        self.role = role
        self._frozen = {
            other: pickle.dumps(load_policy(other, spec))
            for other, spec in case.companions.items()
            if other != role
        }
        self._frozen[role] = frozen
        policies = [self.make(role) for role in self._frozen]
        self.sees_truth = any(ORACLE in needs_of(type(policy)) for policy in policies)
        self.may_starve = any(bool(getattr(policy, "may_starve", False)) for policy in policies)

    def make(self, role: str) -> Any:
        """A fresh policy of `role`: the one under test, or its companion."""
        return pickle.loads(self._frozen[role])

    def run(self, case: Case, *, stepping: bool = False, watched: bool = False) -> Outcome:
        """Play `case`; whatever the policy raises breaks a law."""

        def make(role: str) -> Any:
            made = self.make(role)
            return watch(made) if watched and role == self.role else made

        try:
            return play(case, make, stepping=stepping)
        except LawBroken:
            raise
        except (Exception, InputError) as error:
            raise LawBroken("raises_nothing", f"{type(error).__name__}: {error}") from error

    @cached_property
    def stepped(self) -> Outcome:
        """Step by step, audited, every answer of the policy checked."""
        return self.run(self.case, stepping=True, watched=True)

    @cached_property
    def jumped(self) -> Outcome:
        """As a simulation plays it."""
        return self.run(self.case)

    def breaks_same_seed(self, stepping: bool) -> str | None:
        """How a second run differs from the first; None if it doesn't."""
        first = self.stepped if stepping else self.jumped
        return difference(first, self.run(self.case, stepping=stepping))


def difference(a: Outcome, b: Outcome) -> str | None:
    """The first request that fared differently, to the last bit; None when all are equal."""
    for id in sorted(a.rows.keys() | b.rows.keys()):
        one, other = a.rows.get(id), b.rows.get(id)
        if one != other:
            return f"request {id}: {_explain(one, other)}"
    return None if a.gaps == b.gaps else "gaps between tokens differ"


def _explain(one: Row | None, other: Row | None) -> str:
    if one is None or other is None:
        return "it ended in one run only"
    fields = zip(Row._fields, one, other, strict=True)
    return ", ".join(f"{name} {left!r} and {right!r}" for name, left, right in fields if left != right)


def proposals_are_valid(trial: Trial) -> None:
    """Answers are of the kind asked for, nothing is raised, and books, budgets and clock hold after every turn."""
    trial.stepped  # noqa: B018 - the auditor looks on


def all_requests_finish(trial: Trial) -> None:
    """Every request ends, also under overload, unless the policy declares that it may starve some."""
    waiting = [call for call in trial.case.calls if call.id not in trial.stepped.rows]
    if waiting and not trial.may_starve:
        first = waiting[0]
        raise LawBroken(
            "finishes",
            f"{len(waiting)} of {len(trial.case.calls)} requests wait for ever, first request {first.id} "
            f"(arrival {first.arrival:.6g} s): they are never admitted",
        )


def requests_are_conserved(trial: Trial) -> None:
    """Every request that ends does so once, with all of its tokens."""
    outcome = trial.stepped
    calls = {call.id: call for call in trial.case.calls}
    for id, row in outcome.rows.items():
        call = calls.get(id)
        if call is None:
            raise LawBroken("requests_conserved", f"request {id} ended and never arrived")
        limits = trial.case.limits
        room = min(limits.max_model_len, limits.num_blocks * limits.block_size) - call.prompt
        expected = min(call.output, call.cap, room) if row.status == OK else 0
        if row.output_tokens != expected:
            raise LawBroken(
                "requests_conserved", f"request {id} has {row.output_tokens} tokens of {expected}"
            )
    if len(outcome.rows) == len(calls) and len(outcome.gaps) != count_gaps(outcome):
        raise LawBroken(
            "requests_conserved", f"{len(outcome.gaps)} gaps between tokens, expected {count_gaps(outcome)}"
        )


def stamps_are_ordered(trial: Trial) -> None:
    """Arrival <= queued <= scheduled <= first token <= finish, for every request that was served."""
    for id, row in trial.stepped.rows.items():
        if row.status != OK:
            continue
        stamps = row[:5]
        for name, before, after in zip(Row._fields[1:5], stamps, stamps[1:], strict=False):
            if after < before:
                raise LawBroken(
                    "stamps",
                    f"request {id}: {name} at {after!r} s, {before - after:.3g} s before what comes first",
                )


def same_seed_same_result(trial: Trial) -> None:
    """Two runs of one case are equal to the last bit: no clock, no ambient randomness, no state outside the policy."""
    found = trial.breaks_same_seed(stepping=False)
    if found is not None:
        raise LawBroken("same_seed", f"two runs of one case differ: {found}")


def jumps_equal_steps(trial: Trial) -> None:
    """Jumping gives every request the TTFT and finish of stepping, and the same gaps, to 1e-9 relative."""
    stepped, jumped = trial.stepped, trial.jumped
    found = _jump_difference(stepped, jumped)
    if found is None:
        return
    repeated = trial.breaks_same_seed(stepping=True) or trial.breaks_same_seed(stepping=False)
    if repeated is not None:  # chance, not the jump
        raise LawBroken("same_seed", f"two runs of one case differ: {repeated}")
    raise LawBroken("jump_equals_step", found + _HINTS.get(trial.role, ""))


def _jump_difference(stepped: Outcome, jumped: Outcome) -> str | None:
    for id in sorted(stepped.rows.keys() | jumped.rows.keys()):
        a, b = stepped.rows.get(id), jumped.rows.get(id)
        if a is None or b is None:
            return f"request {id} ended in one mode only"
        if a[5:] != b[5:]:
            differ = ", ".join(
                f"{n} {x} and {y}" for n, x, y in zip(a._fields, a, b, strict=True) if n in COUNTS and x != y
            )
            return f"request {id}, stepping and jumping: {differ}"
        for name, left, right in (("TTFT", a.ttft, b.ttft), ("finish", a.finish, b.finish)):
            if not is_equal(left, right):
                return f"request {id}: {name} {left:.12g} s stepping, {right:.12g} s jumping ({right - left:+.3g} s)"
    if len(stepped.gaps) != len(jumped.gaps):
        return f"{len(stepped.gaps)} gaps between tokens stepping, {len(jumped.gaps)} jumping"
    for rank, (left, right) in enumerate(zip(stepped.gaps, jumped.gaps, strict=True)):
        if not is_equal(left, right):
            return (
                f"gap {rank} of {len(stepped.gaps)} by size: {left:.12g} s stepping, {right:.12g} s jumping"
            )
    return None


def is_equal(left: float, right: float) -> bool:
    """Whether two times (s) agree to 1e-9 relative."""
    return math.isclose(left, right, rel_tol=RELATIVE, abs_tol=ABSOLUTE_S)


def names_do_not_matter(trial: Trial) -> None:
    """Other ids and addresses of requests change nothing: no order of a set or of hashes leaks into decisions."""
    renamed = trial.run(trial.case.renamed())
    before = Outcome(
        rows={new_name(id): row for id, row in trial.jumped.rows.items()}, gaps=trial.jumped.gaps
    )
    found = difference(before, renamed)
    if found is None:
        return
    repeated = trial.breaks_same_seed(stepping=False)
    if repeated is not None:
        raise LawBroken("same_seed", f"two runs of one case differ: {repeated}")
    raise LawBroken(
        "order_independent",
        f"with other ids in the same order the result changes (new id) {found}: sort before you use",
    )


def nobody_peeks(trial: Trial) -> None:
    """Until a request ends nobody knows its length: longer answers change no decision made before."""
    if trial.sees_truth:
        return
    before = trial.stepped
    ends = sorted(before.known_at.values())
    if not ends:
        return
    until = ends[len(ends) // 2]
    late = {call.id for call in trial.case.calls if before.known_at.get(call.id, math.inf) > until}
    after = trial.run(trial.case.lengthened(late), stepping=True)
    _same_doors(trial.case, before, after, until)
    for one, other in zip(before.decisions, after.decisions, strict=False):
        if one[0] >= until and other[0] >= until:
            return
        if one != other:
            _blame_chance(trial)
            raise LawBroken(
                "no_peeking",
                f"at {one[0]:.6g} s replica {one[1]} decided otherwise after answers that end later than "
                f"{until:.6g} s had been lengthened: {one[2:]} became {other[2:]}",
            )


def _same_doors(case: Case, before: Outcome, after: Outcome, until: float) -> None:
    """Predictions, and who was turned away, of the calls that arrived before `until` (s)."""
    for call in case.calls:
        if call.arrival >= until:
            break
        one, other = before.predicted[call.id], after.predicted[call.id]
        if one != other:
            raise LawBroken(
                "no_peeking",
                f"request {call.id}: predicted {one:g} tokens, and {other:g} when its answer is longer; a predictor "
                f"that may ask for the truth says so in its docstring: Needs: the {ORACLE}",
            )
        rows = before.rows.get(call.id), after.rows.get(call.id)
        if (rows[0] and rows[0].status) != (rows[1] and rows[1].status) and TURNED_AWAY in (
            rows[0] and rows[0].status,
            rows[1] and rows[1].status,
        ):
            raise LawBroken(
                "no_peeking", f"request {call.id} is turned away or not by the length of its answer"
            )


def _blame_chance(trial: Trial) -> None:
    repeated = trial.breaks_same_seed(stepping=True)
    if repeated is not None:
        raise LawBroken("same_seed", f"two runs of one case differ: {repeated}")
