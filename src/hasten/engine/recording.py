"""A served run on record: what the core heard and what it decided, turn by turn, as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from hasten.core.limits import Limits
from hasten.core.request import SLO, Request
from hasten.engine.step import Decision
from hasten.errors import InputError

FORMAT = "hasten-recording-1"


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
    """One turn of the loop at `now` (s): the answers that had ended by content with their numbers of tokens, the
    input in the order it came, and the decision.
    """

    now: float
    stopped: dict[int, int] = field(default_factory=dict)
    inbox: list[Arrival | Departure] = field(default_factory=list)
    decision: Decision | None = None


@dataclass
class Recording:
    """Every turn of one engine. `settings` says under which limits, and names the policies."""

    limits: Limits
    settings: Mapping[str, Any] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)
    _next: Turn = field(default_factory=lambda: Turn(0.0))

    # ---- written by the driver, in this order -----------------------------------------------------------

    def stopped(self, lengths: dict[int, int]) -> None:
        """Answers that ended by their content in the step that ended: request -> output tokens."""
        self._next.stopped = lengths

    def arrived(self, request: Request) -> None:
        """`request` was drained from the input."""
        self._next.inbox.append(
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
        self._next.inbox.append(Departure(request.id, at))

    def decided(self, now: float, decision: Decision | None) -> None:
        """The turn at `now` (s) is over: what it runs, None when nothing."""
        turn = self._next
        turn.now = now
        turn.decision = decision
        self.turns.append(turn)
        self._next = Turn(0.0)

    @property
    def steps(self) -> int:
        """Turns that ran a batch."""
        return sum(turn.decision is not None for turn in self.turns)

    # ---- files ------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write a header line and a line per turn."""
        with path.open("w", encoding="utf-8") as file:
            head = {"format": FORMAT, "limits": asdict(self.limits), "settings": dict(self.settings)}
            file.write(json.dumps(head) + "\n")
            for turn in self.turns:
                file.write(json.dumps(_turn_to_json(turn)) + "\n")

    @classmethod
    def load(cls, path: Path) -> Recording:
        """Read what `save` wrote. Raises InputError naming file and line."""
        number = 0
        try:
            with path.open(encoding="utf-8") as file:
                number = 1
                head = json.loads(next(file, "null"))
                if not isinstance(head, dict) or head.get("format") != FORMAT:
                    raise InputError(
                        f"{path}: line 1: is no {FORMAT}: record one with `hasten serve --record`"
                    )
                made = cls(Limits(**head["limits"]), head["settings"])
                for line in file:
                    number += 1
                    made.turns.append(_turn_from_json(json.loads(line)))
        except InputError:
            raise
        except OSError as error:
            raise InputError(f"{path}: can't be read: {error.strerror}") from None
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}: line {number}: broken ({error!r}): record the run again") from None
        return made


def _turn_to_json(turn: Turn) -> dict[str, Any]:
    return {
        "now_s": turn.now,
        "stopped": list(turn.stopped.items()),
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
    inbox = [_input_from_json(each) for each in values["inbox"]]
    return Turn(values["now_s"], {int(key): int(value) for key, value in values["stopped"]}, inbox, found)


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
