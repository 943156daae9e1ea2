"""An OpenAI-compatible HTTP server in front of the engine."""

from __future__ import annotations

import asyncio
import hmac
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from aiohttp import web

from hasten.engine.answers import Replies
from hasten.engine.metrics import Metrics
from hasten.engine.openapi import document
from hasten.engine.protocol import BadRequest, Body, Call, error_body, read_call, read_chat
from hasten.engine.sequence import REFUSED, Output
from hasten.engine.service import ERROR, Answer, Overloaded, Service
from hasten.errors import InputError

RETRY_AFTER_S = 1
SAME_SIGNAL_S = 1.0  # signals so close are one: a terminal and whoever started the server both pass Ctrl-C on
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class ServerOptions:
    """How the server presents itself and what it takes. Sizes in bytes, times in seconds."""

    model: str  # the name that clients use
    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None  # every route needs it when it is set
    max_body: int = 8 * 2**20
    drain: float = 30.0  # how long a stop waits for answers under way


class Server:
    """Routes and their handlers."""

    def __init__(
        self, service: Service, options: ServerOptions, *, ends: tuple[int, ...], vocab: int
    ) -> None:
        self.service = service
        self.options = options
        self.metrics = Metrics(service.engine, options.model)
        service.listener = self.metrics.saw
        self.port = options.port  # the one that is bound, once it runs
        self._ends = ends
        self._vocab = vocab
        self._created = int(time.time())
        self._runner: web.AppRunner | None = None

    def app(self) -> web.Application:
        """The application: every answer, errors included, is in the protocol's form."""
        app = web.Application(client_max_size=self.options.max_body, middlewares=[self._guard])
        app.add_routes(
            [
                web.post("/v1/completions", self._completions),
                web.post("/v1/chat/completions", self._chats),
                web.get("/v1/models", self._models),
                web.get("/v1/models/{name:.+}", self._model),
                web.get("/health", self._health),
                web.get("/ping", self._health),
                web.get("/version", self._version),
                web.get("/load", self._load),
                web.get("/metrics", self._metrics),
                web.post("/tokenize", self._tokenize),
                web.post("/detokenize", self._detokenize),
                web.get("/openapi.json", self._openapi),
            ]
        )
        return app

    # ---- life -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the engine's thread and listen. Raises InputError when the address can't be had."""
        self.service.start(self._ends)
        self._runner = web.AppRunner(self.app(), handler_cancellation=True, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.options.host, self.options.port)
        try:
            await site.start()
        except OSError as error:
            await self.stop()
            raise InputError(
                f"{self.options.host}:{self.options.port} can't be listened on ({error.strerror}): choose another port"
            ) from None
        self.port = self._runner.addresses[0][1]

    async def stop(self, hurry: asyncio.Event | None = None) -> None:
        """Drain: no new requests, what runs may finish in time or until `hurry`, the rest is cancelled."""
        await self.service.drain(self.options.drain, hurry)
        if self._runner is not None:
            await self._runner.cleanup()
        await asyncio.to_thread(self.service.stop)

    async def run(self, ready: Callable[[str], None], draining: Callable[[int], None]) -> None:
        """Serve until SIGTERM or SIGINT, then drain; a second signal ends that.

        `ready(url)` is called once requests are taken, `draining(requests)` when some have to be waited for.
        """
        stop, hurry = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        first = 0.0

        def told() -> None:
            nonlocal first
            if not stop.is_set():
                first = loop.time()
                stop.set()
            elif loop.time() - first > SAME_SIGNAL_S:
                hurry.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told)
        await self.start()
        ready(f"http://{self.options.host}:{self.port}")
        await stop.wait()
        if self.service.engine.num_unfinished:
            draining(self.service.engine.num_unfinished)
        await self.stop(hurry)

    # ---- every request ----------------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check the key, and turn every error into the protocol's form."""
        try:
            if not self._knows(request):
                return _error(
                    401, "the API key is missing or wrong", "authentication_error", code="invalid_api_key"
                )
            return await handler(request)
        except BadRequest as error:
            kind = "not_found_error" if error.status == 404 else "invalid_request_error"
            return _error(error.status, error.message, kind, error.param, error.code)
        except Overloaded as error:
            status = 503 if self.service.draining or self.service.failure else 429
            return _error(status, str(error), "overloaded_error", code="overloaded", retry=True)
        except web.HTTPRequestEntityTooLarge:
            limit = self.options.max_body
            return _error(413, f"the body exceeds {limit:,} bytes", "invalid_request_error")
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:
            message = f"{request.method} {request.path[:200]} is not served: GET /openapi.json lists what is"
            return _error(error.status, message, "invalid_request_error", headers=error.headers)
        except web.HTTPException as error:
            return _error(error.status, error.reason, "invalid_request_error", headers=error.headers)

    def _knows(self, request: web.Request) -> bool:
        key = self.options.api_key
        if key is None:
            return True
        given = request.headers.get("Authorization", "")
        return hmac.compare_digest(given.encode(errors="replace"), f"Bearer {key}".encode())

    # ---- answers ----------------------------------------------------------------------------------------

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, chat=False)

    async def _chats(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, chat=True)

    async def _answer(self, request: web.Request, *, chat: bool) -> web.StreamResponse:
        self.service.check_room(1)
        body = Body(await request.read())
        call = read_call(
            body,
            self.service.tokenizer,
            chat=chat,
            model=self.options.model,
            max_len=self.service.max_len,
            vocab=self._vocab,
        )
        self.service.check_room(len(call.prompts) * call.n)
        answers = [self._submit(call, prompt, choice) for prompt in call.prompts for choice in range(call.n)]
        replies = Replies(call, answers, self.service.tokenizer, self.options.model)
        try:
            async with aclosing(self._outputs(answers)) as outputs:
                if call.stream:
                    return await self._stream(request, replies, outputs)
                async for index, output in outputs:
                    failure = _failure(output)
                    if failure is not None:
                        return _error(failure[0], failure[1], "server_error")
                    replies.add(index, output)
                return web.json_response(replies.whole())
        finally:
            for answer in answers:
                self.service.cancel(answer)

    def _submit(self, call: Call, prompt: list[int], choice: int) -> Answer:
        params = call.params.for_choice(choice)
        limit = call.max_tokens or self.service.max_len - len(prompt)
        return self.service.submit(prompt, limit, params, priority=call.priority, salt=call.salt)

    async def _outputs(self, answers: list[Answer]) -> AsyncGenerator[tuple[int, Output]]:
        """The outputs of all answers as they come, with the answer's index."""
        if len(answers) == 1:
            async for output in answers[0]:
                yield 0, output
            return
        merged: asyncio.Queue[tuple[int, Output]] = asyncio.Queue()

        async def pump(index: int, answer: Answer) -> None:
            async for output in answer:
                merged.put_nowait((index, output))

        tasks = [asyncio.create_task(pump(index, answer)) for index, answer in enumerate(answers)]
        try:
            left = len(answers)
            while left:
                index, output = await merged.get()
                left -= output.finish is not None
                yield index, output
        finally:
            for task in tasks:
                task.cancel()

    async def _stream(
        self, request: web.Request, replies: Replies, outputs: AsyncGenerator[tuple[int, Output]]
    ) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
        )
        first = await anext(outputs)  # an answer that is refused has a status of its own
        failure = _failure(first[1])
        if failure is not None:
            return _error(failure[0], failure[1], "server_error")
        await response.prepare(request)
        with suppress(ConnectionError):  # the client left: `finally` of the caller cancels
            for event in replies.opening():
                await response.write(event)
            await response.write(replies.chunk(*first))
            async for index, output in outputs:
                failure = _failure(output)
                if failure is not None:
                    await response.write(replies.event(error_body(failure[1], "server_error")))
                    break
                await response.write(replies.chunk(index, output))
            await response.write(replies.closing())
            await response.write_eof()
        return response

    # ---- the rest ---------------------------------------------------------------------------------------

    def _card(self) -> dict[str, Any]:
        return {
            "id": self.options.model,
            "object": "model",
            "created": self._created,
            "owned_by": "hasten",
            "root": self.options.model,
            "max_model_len": self.service.max_len,
        }

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [self._card()]})

    async def _model(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name != self.options.model:
            raise BadRequest(f"the model {name[:100]!r} does not exist", "model", 404)
        return web.json_response(self._card())

    async def _health(self, request: web.Request) -> web.Response:
        if self.service.draining or self.service.failure is not None:
            raise Overloaded(self.service.failure or "the server is shutting down")
        return web.Response()

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": version("hasten")})

    async def _load(self, request: web.Request) -> web.Response:
        return web.json_response({"server_load": self.service.engine.num_unfinished})

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(
            text=self.metrics.render(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def _openapi(self, request: web.Request) -> web.Response:
        return web.json_response(document(keyed=self.options.api_key is not None))

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = Body(await request.read())
        tokenizer = self.service.tokenizer
        if "messages" in body.values:
            tokens = read_chat(body, tokenizer)[0]
        else:
            text = body.text("prompt")
            if body.values.get("prompt") is None:
                raise BadRequest("prompt or messages is missing", "prompt")
            try:
                tokens = tokenizer.encode(text, special=body.flag("add_special_tokens", True))
            except InputError as error:
                raise BadRequest(str(error), "prompt") from None
        return web.json_response(
            {"count": len(tokens), "max_model_len": self.service.max_len, "tokens": tokens}
        )

    async def _detokenize(self, request: web.Request) -> web.Response:
        body = Body(await request.read())
        tokens = body.values.get("tokens")
        if not isinstance(tokens, list) or not all(
            type(each) is int and 0 <= each < 1 << 31 for each in tokens
        ):
            raise BadRequest("tokens must be a list of token ids", "tokens")
        return web.json_response({"prompt": self.service.tokenizer.decode(tokens)})


def _failure(output: Output) -> tuple[int, str] | None:
    """Status and message of an answer that the engine did not serve."""
    if output.finish == REFUSED:
        return 429, "the engine refused the request: it can't hold it, or its admission policy says no"
    if output.finish == ERROR:
        return 500, "the engine failed: the request was not served"
    if output.finish is not None and output.sampled is None:
        return 500, "the request was cancelled"
    return None


def _error(
    status: int,
    message: str,
    kind: str,
    param: str | None = None,
    code: str | int | None = None,
    *,
    retry: bool = False,
    headers: Any = None,
) -> web.Response:
    response = web.json_response(error_body(message, kind, param, code), status=status)
    if retry or status == 429:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if headers is not None and "Allow" in headers:
        response.headers["Allow"] = headers["Allow"]
    return response
