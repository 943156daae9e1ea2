"""The server's routes as an OpenAPI 3.1 document: what clients may send, and what they get."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from hasten.engine.protocol import MAX_N, MAX_PROMPTS
from hasten.engine.sampling import MAX_LOGPROBS, MAX_STOP_LENGTH, MAX_STOPS

Schema = dict[str, Any]

INT = 1 << 31


def _number(low: float, high: float, **more: Any) -> Schema:
    return {"type": ["number", "null"], "minimum": low, "maximum": high} | more


def _whole(low: int, high: int) -> Schema:
    return {"type": ["integer", "null"], "minimum": low, "maximum": high}


def _object(required: list[str] | None = None, /, **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": required or []}


def _list(items: Schema, low: int = 0, high: int | None = None) -> Schema:
    return {"type": "array", "items": items, "minItems": low} | ({} if high is None else {"maxItems": high})


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


TEXT: Schema = {"type": "string"}
NULL: Schema = {"type": "null"}
FLAG: Schema = {"type": ["boolean", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 0}
STOP_TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_STOP_LENGTH}

SAMPLING: dict[str, Schema] = {
    "model": {"type": ["string", "null"], "description": "the served model, or left out"},
    "temperature": _number(0.0, 2.0),
    "top_k": _whole(-1, INT),
    "top_p": {"type": ["number", "null"], "exclusiveMinimum": 0.0, "maximum": 1.0},
    "min_p": _number(0.0, 1.0),
    "repetition_penalty": {"type": ["number", "null"], "exclusiveMinimum": 0.0, "maximum": 100.0},
    "presence_penalty": _number(-2.0, 2.0),
    "frequency_penalty": _number(-2.0, 2.0),
    "logit_bias": {
        "type": ["object", "null"],
        "maxProperties": 1024,
        "propertyNames": {"pattern": "^[0-9]{1,9}$"},
        "additionalProperties": {"type": "number", "minimum": -100.0, "maximum": 100.0},
    },
    "seed": _whole(1 - (1 << 63), (1 << 63) - 1),
    "stop": {"anyOf": [NULL, STOP_TEXT, _list(STOP_TEXT, 0, MAX_STOPS)]},
    "stop_token_ids": {"anyOf": [NULL, _list({"type": "integer"}, 0, 128)]},
    "min_tokens": _whole(0, INT),
    "ignore_eos": FLAG,
    "n": _whole(1, MAX_N),
    "stream": FLAG,
    "stream_options": {
        "type": ["object", "null"],
        "properties": {"include_usage": FLAG, "continuous_usage_stats": FLAG},
    },
    "priority": _whole(-INT, INT),
    "cache_salt": {"type": ["string", "null"], "description": "prompts share cached prefixes under one salt"},
    "max_tokens": _whole(1, INT),
}
PROMPT: Schema = {"type": "string", "minLength": 1}
TOKENS = _list({"type": "integer"}, 1)
CONTENT: Schema = {"anyOf": [TEXT, _list(_object(["type", "text"], type={"const": "text"}, text=TEXT))]}
MESSAGE: Schema = {
    "anyOf": [
        _object(["role", "content"], role=TEXT, content=CONTENT),
        _object(["role"], role={"const": "assistant"}, content={"anyOf": [NULL, CONTENT]}),
    ]
}
MESSAGES = _list(MESSAGE, 1)

BODIES: dict[str, Schema] = {
    "CompletionRequest": _object(
        ["prompt"],
        prompt={"anyOf": [PROMPT, TOKENS, _list({"anyOf": [PROMPT, TOKENS]}, 1, MAX_PROMPTS)]},
        logprobs={"anyOf": [_whole(0, MAX_LOGPROBS), {"const": False}]},
        **SAMPLING,
    ),
    "ChatRequest": _object(
        ["messages"],
        messages=MESSAGES,
        chat_template_kwargs={"type": ["object", "null"]},
        max_completion_tokens=_whole(1, INT),
        logprobs=FLAG,
        top_logprobs=_whole(0, MAX_LOGPROBS),
        **SAMPLING,
    ),
    "TokenizeRequest": {
        "anyOf": [
            _object(["prompt"], prompt=TEXT, add_special_tokens=FLAG),
            _object(["messages"], messages=MESSAGES),
        ]
    },
    "DetokenizeRequest": _object(
        ["tokens"], tokens=_list({"type": "integer", "minimum": 0, "maximum": INT - 1})
    ),
}

USAGE = _object(
    ["prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"],
    prompt_tokens=COUNT,
    completion_tokens=COUNT,
    total_tokens=COUNT,
    prompt_tokens_details=_object(["cached_tokens"], cached_tokens=COUNT),
)
FINISH: Schema = {"enum": ["stop", "length"]}


def _answer(kind: str, choice: Schema) -> Schema:
    choice["properties"] |= {
        "index": COUNT,
        "finish_reason": FINISH,
        "logprobs": {"type": ["object", "null"]},
    }
    choice["required"] += ["index", "finish_reason", "logprobs"]
    return _object(
        ["id", "object", "created", "model", "choices", "usage"],
        id=TEXT,
        object={"const": kind},
        created=COUNT,
        model=TEXT,
        choices=_list(choice, 1),
        usage=_ref("Usage"),
    )


ANSWERS: dict[str, Schema] = {
    "Usage": USAGE,
    "Completion": _answer("text_completion", _object(["text"], text=TEXT)),
    "Chat": _answer(
        "chat.completion",
        _object(["message"], message=_object(["role", "content"], role={"const": "assistant"}, content=TEXT)),
    ),
    "Model": _object(
        ["id", "object", "created", "owned_by", "max_model_len"],
        id=TEXT,
        object={"const": "model"},
        created=COUNT,
        owned_by=TEXT,
        max_model_len=COUNT,
    ),
    "Models": _object(["object", "data"], object={"const": "list"}, data=_list(_ref("Model"), 1)),
    "Version": _object(["version"], version=TEXT),
    "Load": _object(["server_load"], server_load=COUNT),
    "Tokens": _object(
        ["count", "max_model_len", "tokens"], count=COUNT, max_model_len=COUNT, tokens=_list(COUNT)
    ),
    "Prompt": _object(["prompt"], prompt=TEXT),
    "Error": _object(
        ["error"],
        error=_object(
            ["message", "type", "param", "code"],
            message=TEXT,
            type=TEXT,
            param={"type": ["string", "null"]},
            code={"type": ["string", "null"]},
        ),
    ),
}

# Status and what it means; every one carries the protocol's error object.
ERRORS = {
    400: "the request can't be served: `param` names the field",
    401: "the API key is missing or wrong",
    404: "no such model or route",
    413: "the body is too large",
    429: "too many requests are running or waiting: come back after Retry-After seconds",
    500: "the engine failed",
    503: "the server is shutting down, or its engine failed",
}
_EVERY = (401,)
_READS = (400, 401, 413)
_ANSWERS = (400, 401, 404, 413, 429, 500, 503)


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _route(summary: str, content: Schema | None, errors: tuple[int, ...], body: str | None = None) -> Schema:
    found: Schema = {"description": "as asked"} | ({} if content is None else {"content": content})
    responses: Schema = {"200": found}
    for status in errors:
        responses[str(status)] = {"description": ERRORS[status], "content": _json(_ref("Error"))}
    route: Schema = {"summary": summary, "responses": responses}
    if body is not None:
        route["requestBody"] = {"required": True, "content": _json(_ref(body))}
    return route


def _streamed(name: str) -> Schema:
    return _json(_ref(name)) | {"text/event-stream": {"schema": TEXT}}


PLAIN = {"text/plain": {"schema": TEXT}}


def _paths() -> dict[str, dict[str, Schema]]:
    model = _route("One model", _json(_ref("Model")), (401, 404))
    model["parameters"] = [
        {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    ]
    return {
        "/v1/completions": {
            "post": _route("Continue prompts", _streamed("Completion"), _ANSWERS, "CompletionRequest")
        },
        "/v1/chat/completions": {"post": _route("Answer a chat", _streamed("Chat"), _ANSWERS, "ChatRequest")},
        "/v1/models": {"get": _route("The models", _json(_ref("Models")), _EVERY)},
        "/v1/models/{name}": {"get": model},
        "/health": {"get": _route("Whether requests are taken", None, (401, 503))},
        "/ping": {"get": _route("Whether requests are taken", None, (401, 503))},
        "/version": {"get": _route("The server's version", _json(_ref("Version")), _EVERY)},
        "/load": {"get": _route("Requests running or waiting", _json(_ref("Load")), _EVERY)},
        "/metrics": {"get": _route("Prometheus metrics", PLAIN, _EVERY)},
        "/tokenize": {
            "post": _route("Text or chat to tokens", _json(_ref("Tokens")), _READS, "TokenizeRequest")
        },
        "/detokenize": {"post": _route("Tokens to text", _json(_ref("Prompt")), _READS, "DetokenizeRequest")},
        "/openapi.json": {"get": _route("This document", _json({"type": "object"}), _EVERY)},
    }


def document(*, keyed: bool) -> Schema:
    """The whole document; `keyed`: every route needs the API key."""
    made: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "hasten",
            "version": version("hasten"),
            "description": "An OpenAI-compatible server. Prompt and answer together must fit the context window.",
        },
        "paths": _paths(),
        "components": {"schemas": BODIES | ANSWERS},
    }
    if keyed:
        made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{"key": []}]
    return made
