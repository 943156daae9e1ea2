"""A served run on record: what the core heard and what it decided, turn by turn, as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from hasten.core.limits import Limits
from hasten.core.request import SLO, Request
from hasten.engine.step import Decision
from hasten.errors import InputError
from hasten.jsontext import parse_json

FORMAT = "hasten-recording-2"


class Arrival(NamedTuple):
    """A request as the server got it, at `arrival` (s)."""

    id: int
    arrival: float
    prompt_tokens: int
    max_tokens: int
    block_ids: tuple[int, ...]
    block_tokens: int
    session: int
    priority: int
    slo: SLO | None

    def request(self) -> Request:
        """A fresh request like it."""
        return Request(
            self.id,
            self.arrival,
            self.prompt_tokens,
            self.max_tokens,
            block_ids=self.block_ids,
            block_tokens=self.block_tokens,
            session=self.session,
            priority=self.priority,
            slo=self.slo,
        )


class Departure(NamedTuple):
    """The client of request `id` left at `at` (s), before its answer had ended."""

    id: int
    at: float


@dataclass
class Turn:
    """One turn of the loop at `now` (s): the answers that had ended by content with their numbers of tokens, the names
    of the blocks that answers filled (of all who ended or left), the input in the order it came, and the decision.
    """

    now: float
    stopped: dict[int, int] = field(default_factory=dict)
    named: dict[int, tuple[int, ...]] = field(default_factory=dict)
    inbox: list[Arrival | Departure] = field(default_factory=list)
    decision: Decision | None = None


class Recorder:
    """What the driver tells about its turns, in the order of the methods; every whole turn goes to `sink`."""

    def __init__(self, sink: Callable[[Turn], None], close: Callable[[], None] | None = None) -> None:
        self._sink = sink
        self._close = close
        self._turn = Turn(0.0)

    def close(self) -> None:
        """No more turns come. Raises InputError when some could not be kept."""
        if self._close is not None:
            self._close()

    def stopped(self, lengths: dict[int, int]) -> None:
        """Answers that ended by their content in the step that ended: request -> output tokens."""
        self._turn.stopped = lengths

    def named(self, request: Request, ids: tuple[int, ...]) -> None:
        """`request` ended or left: its answer filled blocks of these names, after the prompt's."""
        self._turn.named[request.id] = ids

    def arrived(self, request: Request) -> None:
        """`request` was drained from the input."""
        self._turn.inbox.append(
            Arrival(
                request.id,
                request.arrival,
                request.prompt_tokens,
                request.max_tokens,
                request.block_ids,
                request.block_tokens,
                request.session,
                request.priority,
                request.slo,
            )
        )

    def cancelled(self, request: Request, at: float) -> None:
        """The client of `request` left at `at` (s)."""
        self._turn.inbox.append(Departure(request.id, at))

    def decided(self, now: float, decision: Decision | None) -> None:
        """The turn at `now` (s) is over: what it runs, None when nothing."""
        turn = self._turn
        turn.now = now
        turn.decision = decision
        self._turn = Turn(0.0)
        self._sink(turn)


@dataclass
class Recording:
    """Every turn of one engine. `settings` says under which limits, and names the policies."""

    limits: Limits
    settings: Mapping[str, Any] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)
    cut_off: str | None = None  # what is missing at the end of the file, in one line

    @property
    def steps(self) -> int:
        """Turns that ran a batch."""
        return sum(turn.decision is not None for turn in self.turns)

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read a recording. A last line that was cut off is left out, and `cut_off` names it.

        Raises InputError naming file and line for anything else that is broken.
        """
        number = 0
        line = ""
        try:
            with path.open(encoding="utf-8") as file:
                number = 1
                head = parse_json(next(file, "null"))
                if not isinstance(head, dict) or head.get("format") != FORMAT:
                    raise InputError(
                        f"{path}: line 1: is no {FORMAT}: record one with `hasten serve --record`"
                    )
                made = cls(Limits(**head["limits"]), head["settings"])
                for line in file:
                    number += 1
                    made.turns.append(_turn_from_json(parse_json(line)))
        except InputError:
            raise
        except OSError as error:
            raise InputError(f"{path}: can't be read: {error.strerror}") from None
        except (ValueError, TypeError, KeyError) as error:
            if number == 1 or line.endswith("\n"):
                reason = f"no {error}" if isinstance(error, KeyError) else str(error)[:80]
                raise InputError(f"{path}: line {number}: broken ({reason}): record the run again") from None
            made.cut_off = f"{path}: line {number}: cut off: the {number - 2:,} turns before it are whole"
        return made


class RecordingFile:
    """Writes turns as they come, so that a long run needs no memory: a header line, then a line per turn.

    A write that fails ends the recording, not the run: `close` tells.
    """

    def __init__(self, path: Path, limits: Limits, settings: Mapping[str, Any]) -> None:
        self._path = path
        self._turns = 0
        self._failure: str | None = None
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path}: can't be written: {error.strerror}") from None
        self._write({"format": FORMAT, "limits": asdict(limits), "settings": dict(settings)})

    def add(self, turn: Turn) -> None:
        """Write one turn."""
        if self._failure is None:
            self._write(_turn_to_json(turn))
            self._turns += 1

    def close(self) -> None:
        """Write what is left. Raises InputError when something could not be written."""
        try:
            self._file.close()
        except OSError as error:
            self._failure = self._failure or error.strerror
        if self._failure is not None:
            raise InputError(
                f"{self._path}: can't be written ({self._failure}): the recording ends within turn {self._turns:,}"
            )

    def _write(self, values: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(values) + "\n")
        except OSError as error:
            self._failure = error.strerror


def _turn_to_json(turn: Turn) -> dict[str, Any]:
    return {
        "now_s": turn.now,
        "stopped": list(turn.stopped.items()),
        "named": list(turn.named.items()),
        "inbox": [_input_to_json(each) for each in turn.inbox],
        "decision": None if turn.decision is None else turn.decision._asdict(),
    }


def _input_to_json(given: Arrival | Departure) -> dict[str, Any]:
    if isinstance(given, Departure):
        return {"leaves": given.id, "at_s": given.at}
    values = given._asdict()
    values["arrival_s"] = values.pop("arrival")
    slo = values.pop("slo")
    values["slo_s"] = None if slo is None else asdict(slo)
    return values


def _turn_from_json(values: dict[str, Any]) -> Turn:
    found = values["decision"]
    if found is not None:
        found = Decision(
            tuple((int(a), int(b), int(c)) for a, b, c in found["chunks"]),
            tuple(found["decodes"]),
            found["decode_context"],
            found["padding"],
            tuple(found["preempted"]),
            tuple(found["closing"]),
        )
    return Turn(
        values["now_s"],
        {int(key): int(value) for key, value in values["stopped"]},
        {int(key): tuple(ids) for key, ids in values["named"]},
        [_input_from_json(each) for each in values["inbox"]],
        found,
    )


def _input_from_json(values: dict[str, Any]) -> Arrival | Departure:
    if "leaves" in values:
        return Departure(values["leaves"], values["at_s"])
    slo = values["slo_s"]
    return Arrival(
        values["id"],
        values["arrival_s"],
        values["prompt_tokens"],
        values["max_tokens"],
        tuple(values["block_ids"]),
        values["block_tokens"],
        values["session"],
        values["priority"],
        None if slo is None else SLO(**slo),
    )
