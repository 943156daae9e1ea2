"""Far more load than fits, from clients that misbehave: everybody gets an answer or an error, and nothing leaks."""

import asyncio
import gc
import json
import random
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.engine.checkpoints import write_servable
from tests.engine.serving import Running, running

SLOTS, QUEUE = 16, 40
CLIENTS = 2 * (SLOTS + QUEUE)  # twice what the server takes at once
MAX_BODY = 20_000  # bytes
SMALL = {"kv_cache_gib": 6e-5, "max_num_seqs": SLOTS, "max_num_batched_tokens": 64}  # 15 blocks: preemptions


def body(numbers: random.Random) -> tuple[str, bytes]:
    """A path and what is sent there: mostly good, some malformed, some asking too much, some too large."""
    text = "".join(numbers.choice("abcdefgh ") for _ in range(numbers.randint(1, 100)))
    made: dict[str, Any] = {
        "max_tokens": numbers.randint(1, 40),
        "stream": numbers.random() < 0.5,
        "temperature": numbers.choice([0.0, 1.0]),
        "n": numbers.choice([1, 1, 2]),
        "priority": numbers.randrange(3),
    }
    chat = numbers.random() < 0.3
    made |= {"messages": [{"role": "user", "content": text}]} if chat else {"prompt": text}
    kind = numbers.random()
    if kind < 0.05:
        made["max_tokens"] = 10**6
    elif kind < 0.08:
        made["user"] = "x" * MAX_BODY
    raw = json.dumps(made).encode()
    if kind > 0.95:
        raw = numbers.choice([b"{" + raw, raw[:-2], b"", b"\xff" * 50, b"[]"])
    return "/v1/chat/completions" if chat else "/v1/completions", raw


def check_whole(raw: bytes, status: int) -> None:
    """An answer has text and a reason why it ended; an error says what was wrong."""
    found = json.loads(raw)
    if status != 200:
        assert found["error"]["message"]
        return
    for choice in found["choices"]:
        assert choice["finish_reason"] in ("stop", "length")
    assert found["usage"]["completion_tokens"] >= len(found["choices"])


async def send(web: aiohttp.ClientSession, numbers: random.Random, seen: Counter[Any]) -> None:
    """One client: patient, impatient, or gone after the first bytes of its stream."""
    path, raw = body(numbers)
    mood = numbers.random()
    patience = numbers.uniform(0.001, 0.3) if mood < 0.3 else 120.0
    try:
        timeout = aiohttp.ClientTimeout(total=patience)
        async with web.post(path, data=raw, timeout=timeout) as answer:
            if mood > 0.8 and answer.headers["Content-Type"].startswith("text/event-stream"):
                await answer.content.readany()
                answer.close()  # in the midst of the stream
                seen["left"] += 1
                return
            found = await answer.read()
            seen[answer.status] += 1
            if answer.headers["Content-Type"].startswith("text/event-stream"):
                assert found.endswith(b"data: [DONE]\n\n")
            else:
                check_whole(found, answer.status)
            if answer.status == 429:
                assert answer.headers["Retry-After"]
    except TimeoutError:
        seen["left"] += 1
    except (
        aiohttp.ClientOSError,
        aiohttp.ServerDisconnectedError,
    ):  # a body that is refused before it was sent
        assert len(raw) > MAX_BODY
        seen[413] += 1


async def storm(url: str, requests: int, seed: int) -> Counter[Any]:
    """`requests` requests from CLIENTS clients at once; what became of them."""
    seen: Counter[Any] = Counter()
    numbers = random.Random(seed)
    room = asyncio.Semaphore(CLIENTS)
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as web:

        async def one() -> None:
            async with room:
                await send(web, numbers, seen)

        await asyncio.gather(*(one() for _ in range(requests)))
    return seen


def check_rest(server: Running) -> None:
    """Nobody is inside, and nothing is held for anybody: KV blocks, sequences, tasks, counts of the metrics."""
    assert server.idle()
    engine = server.server.service.engine
    engine.tables.check()
    assert engine.tables.used == len(engine.scheduler.pool.index)
    assert not engine.scheduler.waiting
    values = dict(
        line.rsplit(" ", 1) for line in server.server.metrics.render().splitlines() if line[0] != "#"
    )
    assert values['vllm:num_requests_running{model_name="tiny",engine="0"}'] == "0"
    assert values['vllm:kv_cache_usage_perc{model_name="tiny",engine="0"}'] == "0.0"

    async def tasks() -> int:
        for _ in range(200):
            await asyncio.sleep(0.05)
            if len(asyncio.all_tasks()) <= 1:
                break
        return len(asyncio.all_tasks()) - 1  # without this one

    assert server.wait(tasks()) == 0
    assert server.ask("POST", "/v1/completions", {"prompt": "a"})[0] == 200


def run_storm(server: Running, requests: int, seed: int) -> None:
    seen = asyncio.run(storm(server.url, requests, seed))
    assert sum(seen.values()) == requests
    assert set(seen) == {200, 400, 413, 429, "left"}, seen
    check_rest(server)
    assert server.server.service.engine.scheduler.num_preemptions > 0


def test_nothing_leaks(tmp_path: Path) -> None:
    write_servable(tmp_path)
    with running(tmp_path, engine=SMALL, max_waiting=QUEUE, max_body=MAX_BODY) as server:
        run_storm(server, 500, seed=1)


@pytest.mark.slow
def test_nothing_leaks_in_ten_thousand_requests(tmp_path: Path) -> None:
    """Memory too: what Python holds after the last 5,000 requests is what it held before, but for 256 KiB."""
    write_servable(tmp_path)
    with running(tmp_path, engine=SMALL, max_waiting=QUEUE, max_body=MAX_BODY) as server:
        run_storm(server, 5_000, seed=1)
        gc.collect()
        tracemalloc.start()
        run_storm(server, 500, seed=2)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        run_storm(server, 4_500, seed=3)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    assert grown < 2**18, f"{grown:,} bytes"
