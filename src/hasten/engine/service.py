"""The engine in a thread of its own, for an event loop: submit a prompt, await its outputs."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from hasten.core.request import Request
from hasten.engine.blocks import BlockNames
from hasten.engine.driver import Engine
from hasten.engine.sampling import Chooser, SamplingParams
from hasten.engine.sequence import Output, Sequence
from hasten.engine.text import StopFinder
from hasten.engine.tokenizer import Tokenizer

ERROR = "error"


class Overloaded(Exception):
    """The queue is full, or the server drains: come back later."""


class Answer:
    """The outputs of one sequence, as they come. `async for` ends after the one that says why it finished."""

    def __init__(self) -> None:
        self.sequence: Sequence | None = None
        self.is_over = False
        self._queue: asyncio.Queue[Output] = asyncio.Queue()

    def put(self, output: Output) -> None:
        """Called in the event loop."""
        self._queue.put_nowait(output)

    async def __aiter__(self) -> AsyncIterator[Output]:
        while not self.is_over:
            output = await self._queue.get()
            self.is_over = output.finish is not None
            yield output


class Service:
    """Owns the engine's thread. `max_waiting` bounds the requests beyond those that can run at once."""

    def __init__(self, engine: Engine, tokenizer: Tokenizer, *, max_waiting: int = 256) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        self.max_unfinished = engine.scheduler.limits.max_num_seqs + max_waiting
        self.max_len = engine.scheduler.max_len
        self.draining = False
        self.failure: str | None = None
        self.listener: Callable[[Output], None] | None = None  # hears every output, in the event loop
        self._ids = itertools.count()
        self._stop = False
        self._outbox: list[tuple[Answer, Output]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="hasten-engine", daemon=True)
        self._ends: tuple[int, ...] = ()

    def start(self, ends: tuple[int, ...]) -> None:
        """Start the thread; outputs go to the running event loop. `ends` are the model's end tokens."""
        self._ends = ends
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its current turn."""
        self._stop = True
        self.engine.wake()
        if self._thread.is_alive():
            self._thread.join()

    def check_room(self, count: int) -> None:
        """Raise Overloaded unless `count` more sequences may come."""
        if self.draining:
            raise Overloaded("the server is shutting down")
        if self.failure is not None:
            raise Overloaded(f"the engine failed: {self.failure}")
        if self.engine.num_unfinished + count > self.max_unfinished:
            raise Overloaded(
                f"{self.engine.num_unfinished} requests are running or waiting, the limit is {self.max_unfinished}"
            )

    def submit(
        self,
        prompt: list[int],
        max_tokens: int,
        params: SamplingParams,
        *,
        priority: int = 0,
        salt: str = "",
    ) -> Answer:
        """Queue a prompt. The caller has checked its length and `check_room`."""
        if self._loop is None:
            raise RuntimeError("start the service first")
        answer = Answer()
        size = self.engine.scheduler.limits.block_size
        number = next(self._ids)
        names = BlockNames(size, salt)
        request = Request(
            number,
            0.0,
            len(prompt),
            max_tokens,
            block_ids=names.of(prompt),
            block_tokens=size,
            priority=priority,
        )
        ends = params.stop_token_ids if params.ignore_eos else (*self._ends, *params.stop_token_ids)
        answer.sequence = Sequence(
            request,
            list(prompt),
            Chooser(params, prompt, ends, seed=secrets.randbits(62)),
            lambda output: self._outbox.append((answer, output)),
            ends=frozenset(ends),
            text=StopFinder(self.tokenizer, params.stop),
            names=names,
        )
        self.engine.submit(answer.sequence)
        return answer

    def cancel(self, answer: Answer) -> None:
        """The client of `answer` left. Does nothing once it is over."""
        if answer.sequence is not None and not answer.is_over:
            self.engine.cancel(answer.sequence)

    async def drain(self, longest: float, hurry: asyncio.Event | None = None) -> bool:
        """Take no more; wait up to `longest` seconds, or until `hurry`, for what runs. True: all of it ended."""
        self.draining = True
        loop = asyncio.get_running_loop()
        end = loop.time() + longest
        while self.engine.num_unfinished and self.failure is None and loop.time() < end:
            if hurry is not None and hurry.is_set():
                break
            await asyncio.sleep(0.02)
        return not self.engine.num_unfinished

    # ---- the engine's thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        engine = self.engine
        try:
            while not self._stop:
                worked = engine.turn()
                self._flush()
                if not worked:
                    engine.wait()
        except Exception as error:  # whatever it is, nobody may wait for ever
            self.failure = f"{type(error).__name__}: {error}"
        while True:
            for sequence in engine.abandon():
                sequence.end(ERROR)
            self._flush()
            if self._stop:
                return
            engine.wait()

    def _flush(self) -> None:
        """Hand what the turn brought to the event loop, all at once."""
        if not self._outbox or self._loop is None:
            return
        outbox, self._outbox = self._outbox, []
        with suppress(RuntimeError):  # the loop has gone: nobody listens
            self._loop.call_soon_threadsafe(self._deliver, outbox)

    def _deliver(self, outbox: list[tuple[Answer, Output]]) -> None:
        for answer, output in outbox:
            answer.put(output)
            if self.listener is not None:
                self.listener(output)
