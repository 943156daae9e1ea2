"""Programs: calls to the model that wait for each other, for tools and for users, as columns of one workload.

An agent's turn calls a tool and comes back with its result; parallel calls and sub-agents fork and join; a retrieval
step is a tool. A call's prompt begins with the text of a call before it (prompt and answer), so the prefix cache
finds it: block ids follow from that, nobody writes them down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hasten.errors import InputError
from hasten.workload.joins import ragged_joins
from hasten.workload.workload import Workload

BLOCK_TOKENS = 64
"""Tokens per named block: prefix hits are whole multiples of it."""

Text = tuple[tuple[int, int], ...]
"""Runs of full blocks, as (id, blocks): what one call added to the text of the call that it continues."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call to the model within a program.

    tokens      prompt tokens that are new: what comes on top of the text it continues
    output      tokens of the answer
    after       numbers of the program's earlier calls it waits for; empty: it starts with the program
    wait_s      seconds between the end of the last of these and this call: a tool's time, or a user's
    tool        kind of tool that ran in this time; None: a user thought, or nothing happened
    continues   number of the earlier call whose prompt and answer its prompt begins with, -1 for the program's
                shared beginning alone; None: the first of `after`
    quorum      how many of `after` suffice, 0 = all
    """

    tokens: int
    output: int
    after: tuple[int, ...] = ()
    wait_s: float = field(default=0.0, kw_only=True)
    tool: str | None = field(default=None, kw_only=True)
    continues: int | None = field(default=None, kw_only=True)
    quorum: int = field(default=0, kw_only=True)


@dataclass(frozen=True, slots=True)
class Program:
    """A DAG of calls that starts at `arrival` (s). Calls stand after those they wait for.

    `shared_tokens` tokens begin every prompt of every program with the same `shared` name: a system prompt.
    """

    arrival: float
    calls: tuple[Call, ...]
    shared: str = field(default="", kw_only=True)
    shared_tokens: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        if not self.calls:
            raise InputError(f"the program at {self.arrival} s has no calls: give at least one")
        for number, call in enumerate(self.calls):
            links = (*call.after, *(() if call.continues in (None, -1) else (call.continues,)))
            for link in links:
                if not 0 <= (-1 if link is None else link) < number:
                    raise InputError(f"call {number} refers to call {link}, which does not stand before it")


def workload_of(
    programs: Sequence[Program], *, block_tokens: int = BLOCK_TOKENS, origin: str = "programs"
) -> Workload:
    """One row per call, programs in order of arrival, each with a session number of its own.

    Raises InputError when there is no program, or naming the row that is out of range.
    """
    if not programs:
        raise InputError("there are no programs: give at least one")
    rows = _Rows(block_tokens)
    for number, program in enumerate(sorted(programs, key=lambda each: each.arrival)):
        rows.add(program, number)
    return rows.workload(origin)


class _Rows:
    """The columns under way. Texts are told apart by the runs of full blocks that they consist of."""

    def __init__(self, block_tokens: int) -> None:
        self.block_tokens = block_tokens
        self.arrival: list[float] = []
        self.prompt: list[int] = []
        self.output: list[int] = []
        self.texts: list[Text] = []
        self.session: list[int] = []
        self.parent: list[int] = []
        self.joins: list[list[int]] = []
        self.quorum: list[int] = []
        self.wait: list[float] = []
        self.tool: list[int] = []
        self._tools: dict[str, int] = {}
        self._shared: dict[tuple[str, int], Text] = {}
        self._runs = 0

    def add(self, program: Program, session: int) -> None:
        """Append the calls of one program."""
        first = len(self.arrival)
        beginning = self._beginning(program)
        for call in program.calls:
            before = call.continues if call.continues is not None else call.after[0] if call.after else -1
            if before >= 0:
                row = first + before
                context, text = self.prompt[row] + self.output[row], self.texts[row]
            else:
                context, text = program.shared_tokens, beginning
            prompt = context + call.tokens
            self.arrival.append(program.arrival)
            self.prompt.append(prompt)
            self.output.append(call.output)
            self.texts.append(self._grown(text, prompt + call.output))
            self.session.append(session)
            waits = [first + earlier for earlier in call.after]
            self.parent.append(waits[0] if waits else -1)
            self.joins.append(waits[1:])
            self.quorum.append(call.quorum)
            self.wait.append(call.wait_s)
            self.tool.append(-1)
            if call.tool is not None:
                kind = self._tools.setdefault(call.tool, len(self._tools))
                for row in waits:
                    self.tool[row] = kind

    def _beginning(self, program: Program) -> Text:
        key = (program.shared, program.shared_tokens)
        if key not in self._shared:
            self._shared[key] = self._grown((), program.shared_tokens)
        return self._shared[key]

    def _grown(self, text: Text, tokens: int) -> Text:
        """The runs of a text of `tokens` tokens that begins with the full blocks of `text`."""
        more = tokens // self.block_tokens - sum(blocks for _, blocks in text)
        if more <= 0:
            return text
        self._runs += 1
        return (*text, (self._runs, more))

    def workload(self, origin: str) -> Workload:
        """The columns, checked."""
        counts = [len(each) for each in self.texts]
        runs = [run for each in self.texts for run in each]
        links = any(self.joins)
        return Workload(
            arrival=np.array(self.arrival),
            prompt_tokens=np.array(self.prompt),
            output_tokens=np.array(self.output),
            block_ids=np.array([key for key, _ in runs], dtype=np.int64),
            block_spans=np.array([blocks for _, blocks in runs], dtype=np.int32),
            block_offsets=np.concatenate(([0], np.cumsum(counts, dtype=np.int64))),
            block_tokens=self.block_tokens,
            session=np.array(self.session),
            parent=np.array(self.parent),
            think_s=np.array(self.wait),
            joins=ragged_joins(self.joins, self.quorum) if links else None,
            tool=np.array(self.tool) if self._tools else None,
            tools=tuple(self._tools),
            names_answers=True,
            origin=origin,
        )
