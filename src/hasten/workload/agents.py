"""Agent programs drawn from published or measured statistics: `agents:kind=swe,rate=0.5,n=100`.

The kinds and where their numbers come from stand in agents.json. A program begins with the text its kind shares with
every other program (system prompt, tool descriptions); every call continues the text of the one before it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hasten.errors import InputError
from hasten.workload.arrivals import Poisson
from hasten.workload.columns import Floats
from hasten.workload.programs import BLOCK_TOKENS, Call, Program, workload_of
from hasten.workload.streams import stream
from hasten.workload.workload import Workload

MAX_PROGRAMS = 100_000
_FILE = Path(__file__).with_name("agents.json")


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution of tokens, counts or seconds: measured quantiles, or a clipped lognormal."""

    levels: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    mu: float = 0.0
    sigma: float = 0.0
    high: float = math.inf

    @classmethod
    def of(cls, data: dict[str, Any], levels: tuple[float, ...]) -> Spread:
        """From the file's notation: quantiles, [mean, sigma, high] or [median, sigma, high]."""
        if "quantiles" in data:
            return cls(levels=levels, values=tuple(map(float, data["quantiles"])))
        if "lognormal" in data:
            mean, sigma, high = data["lognormal"]
            return cls(mu=math.log(mean) - sigma**2 / 2, sigma=sigma, high=high)
        median, sigma, high = data["lognormal-median"]
        return cls(mu=math.log(median), sigma=sigma, high=high)

    def draw(self, rng: np.random.Generator, num: int) -> Floats:
        """`num` values above 0. Between two quantiles the logarithm is uniform, so that tails keep their weight."""
        if self.values:
            drawn = np.exp(np.interp(rng.random(num) * 100.0, self.levels, np.log(self.values)))
        else:
            drawn = np.minimum(np.exp(rng.normal(self.mu, self.sigma, num)), self.high)
        return np.asarray(drawn, dtype=np.float64)

    def whole(self, rng: np.random.Generator, num: int) -> list[int]:
        """`num` whole numbers of 1 or more."""
        counts: list[int] = np.maximum(1, np.rint(self.draw(rng, num))).astype(np.int64).tolist()
        return counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Tokens: what all programs begin with, the longest context, and what the first and later prompts add."""

    shared_tokens: int
    max_context: int
    first: Spread
    more: Spread
    output: Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of agent: its texts in tokens, its tools in seconds. `width` calls run side by side in every round."""

    name: str
    about: str
    source: str
    calls: Spread
    texts: Texts
    tools: tuple[tuple[str, float, Spread], ...] = ()  # name, share, seconds
    user: Spread | None = None  # seconds; instead of tools
    width: int = 1
    sub_agents: int = 0


@cache
def kinds() -> dict[str, Kind]:
    """The built-in kinds by name."""
    raw = json.loads(_FILE.read_text(encoding="utf-8"))
    levels = tuple(map(float, raw["levels_percent"]))
    return {name: _kind(name, data, levels) for name, data in raw["kinds"].items()}


def _kind(name: str, data: dict[str, Any], levels: tuple[float, ...]) -> Kind:
    return Kind(
        name=name,
        about=data["about"],
        source=data["source"],
        calls=Spread.of(data["calls"], levels),
        texts=Texts(
            shared_tokens=data["shared_tokens"],
            max_context=data["max_context"],
            first=Spread.of(data["first"], levels),
            more=Spread.of(data["more"], levels),
            output=Spread.of(data["output"], levels),
        ),
        tools=tuple(
            (tool["name"], tool["share"], Spread.of(tool["seconds"], levels))
            for tool in data.get("tools", ())
        ),
        user=Spread.of(data["user_s"], levels) if "user_s" in data else None,
        width=data.get("width", 1),
        sub_agents=data.get("sub_agents", 0),
    )


def agents(
    kind: str, *, rate: float, num_programs: int, seed: int = 0, block_tokens: int = BLOCK_TOKENS
) -> Workload:
    """`num_programs` programs of one kind that arrive by a Poisson process at `rate` programs per second.

    Raises InputError for an unknown kind or a number out of range.
    """
    known = kinds()
    if kind not in known:
        raise InputError(f"agents have no kind {kind!r}: choose {', '.join(known)}")
    if num_programs < 1:
        raise InputError(f"number of programs = {num_programs} is below 1: ask for at least one")
    if num_programs > MAX_PROGRAMS:
        raise InputError(f"number of programs = {num_programs:,} is above {MAX_PROGRAMS:,}: ask for fewer")
    chosen = known[kind]
    arrivals = Poisson(rate).times(stream(seed, "arrivals"), num_programs).tolist()
    programs = programs_of(chosen, arrivals, seed=seed)
    origin = f"agents: {num_programs} programs of kind {kind} at {rate:g}/s, seed {seed} ({chosen.source})"
    return workload_of(programs, block_tokens=block_tokens, origin=origin)


def programs_of(kind: Kind, arrivals: Sequence[float], *, seed: int = 0) -> list[Program]:
    """A program of `kind` for every time of `arrivals` (s): to be mixed with others, or of a kind of your own."""
    draws = _Draws(kind, seed)
    shared = kind.texts.shared_tokens
    return [Program(at, tuple(draws.calls()), shared=kind.name, shared_tokens=shared) for at in arrivals]


class _Draws:
    """One kind's random choices, each from a stream of its own."""

    def __init__(self, kind: Kind, seed: int) -> None:
        self.kind = kind
        self._shape, self._text, self._tool = (
            stream(seed, f"agents/{role}") for role in ("shape", "text", "tool")
        )

    def calls(self) -> list[Call]:
        """The calls of one program."""
        kind = self.kind
        num = kind.calls.whole(self._shape, 1)[0]
        tokens = kind.texts.first.whole(self._text, 1) + kind.texts.more.whole(self._text, num)
        output = kind.texts.output.whole(self._text, num + 1)
        if kind.sub_agents:
            return self._handed_out(num, tokens, output)
        if kind.width > 1:
            return self._rounds(num, tokens, output)
        return self._chain(num, tokens, output)

    def _chain(self, num: int, tokens: list[int], output: list[int]) -> list[Call]:
        calls = [Call(tokens[0], output[0])]
        context = self.kind.texts.shared_tokens + tokens[0] + output[0]
        for number in range(1, num):
            context += tokens[number] + output[number]
            if context > self.kind.texts.max_context:
                break
            tool, seconds = self._wait()
            calls.append(Call(tokens[number], output[number], (number - 1,), wait_s=seconds, tool=tool))
        return calls

    def _rounds(self, num: int, tokens: list[int], output: list[int]) -> list[Call]:
        """Rounds of `width` calls side by side; each continues the first of the round before, and waits for all.

        A path that has grown to the longest context begins again at the root, as a tree search does.
        """
        calls: list[Call] = []
        before: tuple[int, ...] = ()
        context, root = self.kind.texts.shared_tokens, None
        while len(calls) < num:
            begin, tool, seconds = len(calls), None, 0.0
            if before:
                tool, seconds = self._wait()
            for _ in range(min(self.kind.width, num - begin)):
                at = len(calls)
                calls.append(Call(tokens[at], output[at], before, wait_s=seconds, tool=tool, continues=root))
            before = tuple(range(begin, len(calls)))
            context, root = context + tokens[begin] + output[begin], None
            if context > self.kind.texts.max_context:
                context, root = self.kind.texts.shared_tokens, -1
        return calls

    def _handed_out(self, num: int, tokens: list[int], output: list[int]) -> list[Call]:
        """A plan, sub-agents that each work through a chain of their own, and a conclusion from all of them."""
        calls = [Call(tokens[0], output[0])]
        each = max(1, (num - 2) // self.kind.sub_agents)
        ends = []
        for _ in range(self.kind.sub_agents):
            last = 0
            for step in range(each):
                at = len(calls)
                tool, seconds = self._wait() if step else (None, 0.0)
                text = -1 if step == 0 else last
                calls.append(Call(tokens[at], output[at], (last,), wait_s=seconds, tool=tool, continues=text))
                last = at
            ends.append(last)
        heard = sum(output[end] for end in ends)
        calls.append(Call(heard, output[-1], tuple(ends), continues=0))
        return calls

    def _wait(self) -> tuple[str | None, float]:
        """Which tool runs, and for how many seconds; a user's time has no tool, and without both nothing happens."""
        if self.kind.user is not None:
            return None, float(self.kind.user.draw(self._tool, 1)[0])
        if not self.kind.tools:
            return None, 0.0
        shares = np.array([share for _, share, _ in self.kind.tools])
        name, _, seconds = self.kind.tools[int(self._tool.choice(len(shares), p=shares / shares.sum()))]
        return name, float(seconds.draw(self._tool, 1)[0])
