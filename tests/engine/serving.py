"""A server in a thread of its own, for tests."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from hasten.engine.build import EngineOptions, build_engine
from hasten.engine.config import load_config
from hasten.engine.server import Server, ServerOptions
from hasten.engine.service import Service
from hasten.engine.tokenizer import Tokenizer


class Running:
    """A server that listens, and plain HTTP to it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.wait(server.start())

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait(self, work: Any, seconds: float = 20.0) -> Any:
        """The result of a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def stop(self) -> None:
        """Drain and end."""
        self.wait(self.server.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower case) and body of one request; `body` is sent as it is when it is bytes."""
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, raw, headers or {})
            answer = connection.getresponse()
            named = {key.lower(): value for key, value in answer.getheaders()}
            return answer.status, named, answer.read()
        finally:
            connection.close()

    def idle(self, seconds: float = 10.0) -> bool:
        """Whether the engine comes to rest with no KV held."""

        async def rests() -> bool:
            engine = self.server.service.engine
            for _ in range(int(seconds / 0.01)):
                if not engine.num_unfinished and not engine.sequences:
                    return engine.scheduler.pool.free == engine.scheduler.pool.num_blocks
                await asyncio.sleep(0.01)
            return False

        return bool(self.wait(rests(), seconds + 5))


@contextmanager
def running(
    directory: Path, *, engine: dict[str, Any] | None = None, max_waiting: int = 64, **options: Any
) -> Iterator[Running]:
    """A server of the checkpoint in `directory` on any free port."""
    made = build_engine(
        EngineOptions(directory, **{"threads": 1, "max_num_seqs": 8, "dtype": "float32"} | (engine or {}))
    )
    config = load_config(directory)
    service = Service(made, Tokenizer(directory), max_waiting=max_waiting)
    settings = ServerOptions("tiny", **{"port": 0, "drain": 5.0} | options)
    server = Running(Server(service, settings, ends=config.eos, vocab=config.vocab))
    try:
        yield server
    finally:
        server.stop()
