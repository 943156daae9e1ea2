"""The HTTP server, called as clients call it: with the real `openai` package, and with what no client should send."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.engine.checkpoints import write_servable
from tests.engine.serving import Running, running

openai = pytest.importorskip("openai", reason="the openai client is not installed")

GREEDY: dict[str, Any] = {"temperature": 0.0, "extra_body": {"ignore_eos": True}}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("tiny")
    write_servable(path)
    return path


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[Running]:
    with running(directory) as made:
        yield made


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[Any]:
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as made:
        yield made


def test_models_health_version_load(server: Running, client: Any) -> None:
    (model,) = client.models.list().data
    assert (model.id, model.max_model_len) == ("tiny", 512)
    assert client.models.retrieve("tiny").id == "tiny"
    assert server.ask("GET", "/health")[0] == server.ask("GET", "/ping")[0] == 200
    assert json.loads(server.ask("GET", "/version")[2])["version"]
    assert json.loads(server.ask("GET", "/load")[2]) == {"server_load": 0}


def test_a_completion_streams_what_it_answers_whole(client: Any) -> None:
    whole = client.completions.create(model="tiny", prompt="def f(x):", max_tokens=24, **GREEDY)
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage.prompt_tokens == 9
    assert whole.usage.completion_tokens == 24
    chunks = list(
        client.completions.create(
            model="tiny",
            prompt="def f(x):",
            max_tokens=24,
            stream=True,
            stream_options={"include_usage": True},
            **GREEDY,
        )
    )
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == whole.choices[0].text
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 24
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * 23 + ["length"]


def test_a_chat_streams_what_it_answers_whole(client: Any) -> None:
    messages = [{"role": "user", "content": "hello"}]
    whole = client.chat.completions.create(model="tiny", messages=messages, max_tokens=12, **GREEDY)
    assert whole.usage.prompt_tokens == len("<|user|>hello\n<|assistant|>")
    chunks = list(
        client.chat.completions.create(
            model="tiny", messages=messages, max_completion_tokens=12, stream=True, **GREEDY
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].choices[0].delta.content == ""
    told = "".join(chunk.choices[0].delta.content for chunk in chunks)
    assert told == whole.choices[0].message.content
    parts = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    assert client.chat.completions.create(model="tiny", messages=parts, max_tokens=12, **GREEDY).choices == (
        whole.choices
    )


def test_prompts_may_be_lists_and_n_gives_choices(client: Any) -> None:
    answer = client.completions.create(
        model="tiny", prompt=["one", "two"], n=2, max_tokens=4, seed=3, extra_body={"ignore_eos": True}
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert len({choice.text for choice in answer.choices}) > 1
    assert answer.usage.completion_tokens == 16
    assert answer.usage.prompt_tokens == 6
    tokens = client.completions.create(model="tiny", prompt=[5, 6, 7], max_tokens=1)
    assert tokens.usage.prompt_tokens == 3


def test_a_seed_repeats_an_answer(client: Any) -> None:
    def ask(seed: int) -> str:
        answer = client.completions.create(
            model="tiny", prompt="x", max_tokens=16, seed=seed, temperature=1.5
        )
        return str(answer.choices[0].text)

    assert ask(1) == ask(1) != ask(2)


def test_stop_strings_are_cut_off(client: Any) -> None:
    def ask(**options: Any) -> Any:
        return client.completions.create(
            model="tiny", prompt="abc", max_tokens=40, **GREEDY, **options
        ).choices[0]

    text = ask().text
    stop = text[10:12]
    cut = ask(stop=[stop])
    assert cut.finish_reason == "stop"
    assert cut.text == text[: text.find(stop)]
    assert ask(stop=["\x00never\x00"]).text == text


def test_logprobs(client: Any) -> None:
    answer = client.completions.create(
        model="tiny", prompt="abc", max_tokens=3, logprobs=2, **GREEDY
    ).choices[0]
    assert len(answer.logprobs.token_logprobs) == 3
    assert all(value <= 0.0 for value in answer.logprobs.token_logprobs)
    best = [max(top.values()) for top in answer.logprobs.top_logprobs]
    assert best == pytest.approx(answer.logprobs.token_logprobs)
    messages = [{"role": "user", "content": "a"}]
    chat = client.chat.completions.create(
        model="tiny", messages=messages, max_tokens=2, logprobs=True, top_logprobs=3, **GREEDY
    )
    content = chat.choices[0].logprobs.content
    assert [len(each.top_logprobs) for each in content] == [3, 3]


def test_a_repeated_prompt_comes_from_the_cache(client: Any) -> None:
    prompt = "the quick brown fox jumps over the lazy dog " * 3

    def cached(**options: Any) -> int:
        body = {"ignore_eos": True} | options
        answer = client.completions.create(model="tiny", prompt=prompt, max_tokens=2, extra_body=body)
        return int(answer.usage.prompt_tokens_details.cached_tokens)

    assert cached(cache_salt="mine") == 0
    assert cached(cache_salt="mine") == len(prompt) // 16 * 16 == 128
    assert cached(cache_salt="yours") == 0


def test_tokenize_and_back(server: Running) -> None:
    status, _, raw = server.ask("POST", "/tokenize", {"prompt": "héllo"})
    found = json.loads(raw)
    assert (status, found["count"]) == (200, 6)
    assert json.loads(server.ask("POST", "/detokenize", {"tokens": found["tokens"]})[2]) == {
        "prompt": "héllo"
    }
    chat = json.loads(server.ask("POST", "/tokenize", {"messages": [{"role": "user", "content": "a"}]})[2])
    assert chat["count"] == len("<|user|>a\n<|assistant|>")


def test_many_clients_at_once(server: Running, client: Any) -> None:
    prompts = [f"client {number} says" for number in range(24)]

    def ask(prompt: str) -> str:
        return str(
            client.completions.create(model="tiny", prompt=prompt, max_tokens=8, **GREEDY).choices[0].text
        )

    alone = [ask(prompt) for prompt in prompts]
    with ThreadPoolExecutor(24) as pool:
        assert list(pool.map(ask, prompts)) == alone
    assert server.idle()


BAD: list[tuple[Any, str | None]] = [
    (b"{", None),
    (b"[]", None),
    (b"\xff\xfe", None),
    (b"[" * 100_000, None),
    ({}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": [300]}, "prompt"),
    ({"prompt": [-1]}, "prompt"),
    ({"prompt": [[1], "a", None]}, "prompt"),
    ({"prompt": {"a": 1}}, "prompt"),
    ({"prompt": "\ud800"}, "prompt"),
    ({"prompt": "a" * 600}, "prompt"),
    ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
    ({"prompt": "a", "max_tokens": 512}, "prompt"),
    ({"prompt": "a", "max_tokens": 1.5}, "max_tokens"),
    ({"prompt": "a", "temperature": "hot"}, "temperature"),
    ({"prompt": "a", "temperature": -1}, "temperature"),
    (b'{"prompt": "a", "temperature": NaN}', "temperature"),
    (b'{"prompt": "a", "temperature": 1e999}', "temperature"),
    ({"prompt": "a", "top_p": 0}, "top_p"),
    ({"prompt": "a", "n": 0}, "n"),
    ({"prompt": "a", "n": 10**30}, "n"),
    ({"prompt": "a", "stop": [1]}, "stop"),
    ({"prompt": "a", "stop": ["x"] * 17}, "stop"),
    ({"prompt": "a", "seed": "x"}, "seed"),
    ({"prompt": "a", "logit_bias": {"x": 1}}, "logit_bias"),
    ({"prompt": "a", "logprobs": 50}, "logprobs"),
    ({"prompt": "a", "stream": "yes"}, "stream"),
    ({"prompt": "a", "stream_options": 3}, "stream_options"),
    ({"prompt": "a", "echo": True}, "echo"),
    ({"prompt": "a", "response_format": {"type": "json_object"}}, "response_format"),
]


@pytest.mark.parametrize(("body", "param"), BAD)
def test_bad_bodies_get_a_400_that_names_the_field(body: Any, param: str | None, server: Running) -> None:
    status, _, raw = server.ask("POST", "/v1/completions", body)
    error = json.loads(raw)["error"]
    assert status == 400, error
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert "\n" not in error["message"]


@pytest.mark.parametrize(
    "messages", [None, [], ["x"], [{"role": 1}], [{"role": "user", "content": [{"type": "image_url"}]}]]
)
def test_bad_messages(messages: Any, server: Running) -> None:
    status, _, raw = server.ask("POST", "/v1/chat/completions", {"messages": messages})
    assert (status, json.loads(raw)["error"]["param"]) == (400, "messages")


def test_other_errors_have_the_same_form(server: Running, client: Any) -> None:
    for method, path, body, wanted in (
        ("POST", "/v1/completions", {"model": "other", "prompt": "a"}, 404),
        ("GET", "/v1/models/other", None, 404),
        ("GET", "/nowhere", None, 404),
        ("POST", "/v1/completions", {"prompt": "a", "max_tokens": 0}, 400),
        ("GET", "/v1/completions", None, 405),
        ("POST", "/v1/completions", b" " * (9 * 2**20), 413),
        ("POST", "/detokenize", {"tokens": ["a"]}, 400),
    ):
        status, _, raw = server.ask(method, path, body)
        assert status == wanted, (path, raw)
        assert json.loads(raw)["error"]["message"]
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="other", prompt="a")


def test_a_dropped_connection_frees_its_kv(server: Running) -> None:
    for stream in (True, False):
        body = json.dumps({"prompt": "x", "max_tokens": 500, "stream": stream, "ignore_eos": True}).encode()
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            connection.sendall(head + body)
            while not server.server.service.engine.scheduler.running:
                time.sleep(0.001)
        before = server.server.service.engine.steps
        assert server.idle()
        assert server.server.service.engine.steps - before < 400  # it did not run to its end


def test_metrics_count_what_happened(directory: Path) -> None:
    with running(directory) as made:
        for _ in range(2):
            assert (
                made.ask(
                    "POST", "/v1/completions", {"prompt": "a" * 40, "max_tokens": 5, "ignore_eos": True}
                )[0]
                == 200
            )
        assert made.idle()
        status, headers, raw = made.ask("GET", "/metrics")
        assert status == 200
        assert headers["content-type"].startswith("text/plain; version=0.0.4")
        values = dict(line.rsplit(" ", 1) for line in raw.decode().splitlines() if not line.startswith("#"))
        labels = '{model_name="tiny",engine="0"}'
        wanted = {
            "prompt_tokens_total": 80,
            "generation_tokens_total": 10,
            "num_requests_running": 0,
            "num_requests_waiting": 0,
            "kv_cache_usage_perc": 0,
            "prefix_cache_hits_total": 32,
            "prefix_cache_queries_total": 80,
            "time_to_first_token_seconds_count": 2,
            "inter_token_latency_seconds_count": 8,
            "request_time_per_output_token_seconds_count": 2,
            "e2e_request_latency_seconds_count": 2,
            "request_generation_tokens_sum": 10,
        }
        assert {name: float(values[f"vllm:{name}{labels}"]) for name in wanted} == wanted
        assert (
            float(values['vllm:request_success_total{model_name="tiny",engine="0",finished_reason="length"}'])
            == 2
        )
        for name in ("time_to_first_token_seconds", "e2e_request_latency_seconds"):
            assert float(values[f'vllm:{name}_bucket{{model_name="tiny",engine="0",le="+Inf"}}']) == 2


def test_every_route_needs_the_key_when_one_is_set(directory: Path) -> None:
    with running(directory, api_key="secret") as made:
        routes = [
            (route.method, resource.canonical.replace("{name}", "tiny"))
            for resource in made.server.app().router.resources()
            for route in resource
        ]
        assert len(routes) >= 11
        for method, path in routes:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
                status, found, raw = made.ask(method, path, headers=headers)
                assert status == 401, (method, path)
                assert found["www-authenticate"] == "Bearer"
                assert method == "HEAD" or json.loads(raw)["error"]["code"] == "invalid_api_key"
        good = {"Authorization": "Bearer secret"}
        assert made.ask("GET", "/v1/models", headers=good)[0] == 200
        assert made.ask("POST", "/v1/completions", {"prompt": "a"}, good)[0] == 200


def test_a_full_queue_says_when_to_come_back(directory: Path) -> None:
    with running(directory, engine={"max_num_seqs": 1}, max_waiting=1) as made:
        body = {"prompt": "a", "max_tokens": 120, "ignore_eos": True}
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: made.ask("POST", "/v1/completions", body), range(6)))
        statuses = sorted(status for status, _, _ in answers)
        assert statuses[0] == 200
        assert statuses[-1] == 429
        for status, headers, raw in answers:
            if status == 429:
                assert headers["retry-after"] == "1"
                assert json.loads(raw)["error"]["type"] == "overloaded_error"
        assert made.ask("POST", "/v1/completions", {"prompt": "a", "n": 3})[0] == 429
        assert made.idle()


def test_a_drain_finishes_what_runs_and_takes_no_more(directory: Path) -> None:
    with running(directory) as made, ThreadPoolExecutor(2) as pool:
        body = {"prompt": "a", "max_tokens": 400, "ignore_eos": True}
        answer = pool.submit(made.ask, "POST", "/v1/completions", body)
        while not made.server.service.engine.scheduler.running:
            time.sleep(0.001)
        made.server.service.draining = True
        status, headers, _ = made.ask("POST", "/v1/completions", body)
        assert status == 503
        assert "retry-after" in headers
        assert made.ask("GET", "/health")[0] == 503
        assert made.wait(made.server.service.drain(10.0))
        assert answer.result(10)[0] == 200


def test_a_failing_engine_ends_every_request(directory: Path) -> None:
    with running(directory) as made:

        def fail(*_: Any) -> Any:
            raise MemoryError("no room")

        made.server.service.engine.executor.run = fail  # type: ignore[method-assign]
        status, _, raw = made.ask("POST", "/v1/completions", {"prompt": "a"})
        assert (status, json.loads(raw)["error"]["type"]) == (500, "server_error")
        assert made.ask("POST", "/v1/completions", {"prompt": "a"})[0] == 503
        assert made.ask("GET", "/health")[0] == 503
