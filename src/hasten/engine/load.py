"""Load on an OpenAI-compatible server: a workload replayed by the clock, by users, or turn by turn.

Latencies count from when a request should have been sent, not from when the client came to it: a client that falls
behind shows up in the figures (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np
import numpy.typing as npt

from hasten.errors import InputError
from hasten.jsontext import parse_json
from hasten.report.gaps import Gaps
from hasten.report.records import Records, Status
from hasten.workload import Workload

Progress = Callable[[int, int], None]
MOST_SAID = 300  # characters of a server's message that are kept


@dataclass(frozen=True)
class Target:
    """Where requests go and how they look. Prompts are random token ids in [first_token, vocab); times in seconds."""

    url: str
    model: str
    api_key: str | None = None
    first_token: int = 5
    vocab: int = 1000
    timeout: float = 600.0
    seed: int = 0


@dataclass
class Outcome:
    """How one request fared; times in seconds since the run began."""

    arrival: float = 0.0
    first_token: float = -1.0
    finish: float = -1.0
    output_tokens: int = 0
    cached_tokens: int = 0
    gaps: list[float] = field(default_factory=list)
    error: str | None = None
    detail: str = ""  # what the server said of it

    @property
    def token_times(self) -> npt.NDArray[np.float64]:
        """When each chunk with text arrived, in seconds."""
        return self.first_token + np.cumsum([0.0, *self.gaps])

    def token(self, now: float) -> None:
        """A chunk with text arrived."""
        if self.first_token < 0.0:
            self.first_token = now
        else:
            self.gaps.append(now - self.finish)
        self.finish = now
        self.output_tokens += 1


async def served_model(url: str, api_key: str | None = None) -> str:
    """The first model that the server at `url` offers. Raises InputError when it can't be asked."""
    try:
        async with (
            aiohttp.ClientSession(headers=_headers(api_key), timeout=aiohttp.ClientTimeout(total=10)) as web,
            web.get(f"{url}/v1/models") as answer,
        ):
            if answer.status != 200:
                raise InputError(f"{url}/v1/models answers {answer.status}: check the address and the key")
            return str((await answer.json())["data"][0]["id"])
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, IndexError, TypeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{url} can't be asked for its models ({reason}): is the server up?") from None


def _headers(api_key: str | None) -> dict[str, str]:
    return {} if api_key is None else {"Authorization": f"Bearer {api_key}"}


class Load:
    """One run of `work` against `target`."""

    def __init__(self, target: Target, work: Workload, progress: Progress | None = None) -> None:
        self.outcomes = [Outcome() for _ in range(len(work))]
        self._target = target
        self._work = work
        self._progress = progress
        self._ended = 0
        self._begin = 0.0

    async def run(self) -> Records:
        """Send everything, wait for all of it. Requests that failed count as turned away."""
        loop = asyncio.get_running_loop()
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=self._target.timeout)
        headers = _headers(self._target.api_key)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as web:
            self._begin = loop.time()
            if self._work.closed_loop is not None:
                await self._users(web)
            else:
                await self._schedule(web)
        return self.records()

    def records(self) -> Records:
        """The outcomes as columns."""
        outcomes = self.outcomes
        return Records(
            arrival=[each.arrival for each in outcomes],
            first_token=[each.first_token for each in outcomes],
            finish=[each.finish for each in outcomes],
            prompt_tokens=self._work.prompt_tokens,
            output_tokens=[each.output_tokens for each in outcomes],
            cached_tokens=[each.cached_tokens for each in outcomes],
            status=[Status.OK if each.error is None else Status.REJECTED for each in outcomes],
            gaps=Gaps.from_values([gap for each in outcomes if each.error is None for gap in each.gaps]),
        )

    @property
    def errors(self) -> dict[str, int]:
        """How many requests failed, by kind and what the server said of the first, the most frequent first."""
        alike: dict[str, list[str]] = {}
        for each in self.outcomes:
            if each.error is not None:
                alike.setdefault(each.error, []).append(each.detail)
        ordered = sorted(alike.items(), key=lambda item: -len(item[1]))
        return {f"{kind}: {said[0]}" if said[0] else kind: len(said) for kind, said in ordered}

    def _now(self) -> float:
        return asyncio.get_running_loop().time() - self._begin

    async def _users(self, web: aiohttp.ClientSession) -> None:
        closed = self._work.closed_loop
        rows = iter(range(len(self._work)))

        async def user() -> None:
            for row in rows:  # shared: every user takes the next
                await self._send(web, row, self._now())
                if closed is not None and closed.think_s:
                    await asyncio.sleep(closed.think_s)

        await asyncio.gather(*(user() for _ in range(closed.concurrency if closed is not None else 1)))

    async def _schedule(self, web: aiohttp.ClientSession) -> None:
        work = self._work
        waits = work.think_s is not None and work.parent is not None
        ended = [asyncio.Event() for _ in range(len(work))] if waits else []

        async def one(row: int) -> None:
            due = float(work.arrival[row])
            if waits and work.parent is not None and work.think_s is not None and work.parent[row] >= 0:
                await ended[int(work.parent[row])].wait()
                due = self._now() + float(work.think_s[row])
            await asyncio.sleep(max(0.0, due - self._now()))
            await self._send(web, row, due)
            if waits:
                ended[row].set()

        tasks = []
        for row in range(len(work)):  # a task per request under way, not one per row of a long trace
            if not waits:
                await asyncio.sleep(max(0.0, float(work.arrival[row]) - self._now()))
            tasks.append(asyncio.create_task(one(row)))
        await asyncio.gather(*tasks)

    async def _send(self, web: aiohttp.ClientSession, row: int, due: float) -> None:
        outcome = self.outcomes[row]
        outcome.arrival = due
        body = {
            "model": self._target.model,
            "prompt": self.prompt(row),
            "max_tokens": int(self._work.output_tokens[row]),
            "ignore_eos": True,
            "temperature": 0.0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        try:
            async with web.post(f"{self._target.url}/v1/completions", json=body) as answer:
                if answer.status != 200:
                    outcome.error, outcome.detail = f"status {answer.status}", _said(await answer.text())
                else:
                    await self._listen(answer, outcome)
        except (aiohttp.ClientError, TimeoutError) as error:
            outcome.error = type(error).__name__
        self._ended += 1
        if self._progress is not None:
            self._progress(self._ended, len(self.outcomes))

    async def _listen(self, answer: aiohttp.ClientResponse, outcome: Outcome) -> None:
        done = False
        async for line in answer.content:
            if not line.startswith(b"data: "):
                continue
            if line.startswith(b"data: [DONE]"):
                done = True
                break
            event: dict[str, Any] = parse_json(line[6:])
            if "error" in event:
                outcome.error, outcome.detail = "error in the stream", _said(line[6:])
                return
            if event.get("choices"):
                outcome.token(self._now())
            usage = event.get("usage")
            if usage:
                outcome.output_tokens = usage["completion_tokens"]
                outcome.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        if not done or outcome.first_token < 0.0:
            outcome.error = "the stream broke off"

    def prompt(self, row: int) -> list[int]:
        """Token ids of the prompt of `row`: equal block ids give equal blocks, whatever the row."""
        target, work = self._target, self._work
        length = int(work.prompt_tokens[row])
        tokens: list[int] = []
        if work.block_ids is not None:
            for block in work.blocks_of(row):
                numbers = random.Random(f"{target.seed}/block/{block}")
                tokens += [
                    numbers.randrange(target.first_token, target.vocab) for _ in range(work.block_tokens)
                ]
        numbers = random.Random(f"{target.seed}/row/{row}")
        tokens += [numbers.randrange(target.first_token, target.vocab) for _ in range(length - len(tokens))]
        return tokens[:length]


def _said(body: str | bytes) -> str:
    """The message of an error in the protocol's form, on one line; whatever else it is, the beginning of it."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body
    with suppress(ValueError, TypeError, KeyError):
        text = str(parse_json(text)["error"]["message"])
    return " ".join(text.split())[:MOST_SAID]
