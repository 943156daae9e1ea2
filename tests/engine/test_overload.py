"""Far more load than fits, from clients that misbehave: everybody gets an answer or an error, and nothing leaks."""

import asyncio
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
from tests.engine.checkpoints import write_servable
from tests.engine.serving import running

REQUESTS = 400


def body(numbers: random.Random) -> bytes:
    """A request: mostly good, some malformed, some too large."""
    made: dict[str, Any] = {
        "prompt": "".join(numbers.choice("abcdefgh ") for _ in range(numbers.randint(1, 100))),
        "max_tokens": numbers.randint(1, 40),
        "stream": numbers.random() < 0.5,
        "temperature": numbers.choice([0.0, 1.0]),
        "n": numbers.choice([1, 1, 2]),
    }
    kind = numbers.random()
    if kind < 0.05:
        made["max_tokens"] = 10**6
    return (b"{" if kind > 0.95 else b"") + json.dumps(made).encode()


async def send(web: aiohttp.ClientSession, numbers: random.Random, seen: Counter[Any]) -> None:
    patience = numbers.uniform(0.001, 0.3) if numbers.random() < 0.3 else 60.0
    try:
        timeout = aiohttp.ClientTimeout(total=patience)
        async with web.post("/v1/completions", data=body(numbers), timeout=timeout) as answer:
            raw = await answer.read()
            seen[answer.status] += 1
            if answer.headers["Content-Type"].startswith("text/event-stream"):
                assert raw.endswith(b"data: [DONE]\n\n")
            else:
                assert ("error" in json.loads(raw)) == (answer.status != 200)
    except TimeoutError:
        seen["left"] += 1


async def storm(url: str) -> Counter[Any]:
    seen: Counter[Any] = Counter()
    numbers = random.Random(1)
    room = asyncio.Semaphore(80)
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as web:

        async def one() -> None:
            async with room:
                await send(web, numbers, seen)

        await asyncio.gather(*(one() for _ in range(REQUESTS)))
    return seen


def test_nothing_leaks(tmp_path: Path) -> None:
    write_servable(tmp_path)
    small = {"kv_cache_gib": 6e-5, "max_num_seqs": 16, "max_num_batched_tokens": 64}  # 15 blocks: preemptions
    with running(tmp_path, engine=small, max_waiting=40) as server:
        seen = asyncio.run(storm(server.url))
        assert sum(seen.values()) == REQUESTS
        assert set(seen) == {200, 400, 429, "left"}
        assert server.idle()
        engine = server.server.service.engine
        assert engine.scheduler.num_preemptions > 0
        engine.tables.check()
        assert engine.tables.used == len(engine.scheduler.pool.index)
        values = dict(
            line.rsplit(" ", 1) for line in server.server.metrics.render().splitlines() if line[0] != "#"
        )
        assert values['vllm:num_requests_running{model_name="tiny",engine="0"}'] == "0"
        assert server.ask("POST", "/v1/completions", {"prompt": "a"})[0] == 200
