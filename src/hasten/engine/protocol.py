"""What OpenAI clients send and expect: bodies read field by field, answers as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from hasten.engine.sampling import MAX_LOGPROBS, Sampled, SamplingParams
from hasten.engine.tokenizer import Tokenizer
from hasten.errors import InputError
from hasten.jsontext import parse_json

MAX_N = 32
MAX_PROMPTS = 64
COMPLETION_TOKENS = 16  # the protocol's default

# Fields that would change the answer and are not served, with the values that ask for nothing.
_NOT_SERVED: dict[str, tuple[Any, ...]] = {
    "echo": (False,),
    "suffix": ("",),
    "tools": ([],),
    "functions": ([],),
    "audio": (),
    "prediction": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "structured_outputs": (),
    "prompt_embeds": (),
    "use_beam_search": (False,),
    "prompt_logprobs": (),
}


class BadRequest(Exception):
    """A body that can't be served: `message` for the client, `param` the field, `status` the HTTP status."""

    def __init__(self, message: str, param: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.status = status

    @property
    def code(self) -> str | None:
        """The protocol's name of the mistake."""
        return "model_not_found" if self.status == 404 and self.param == "model" else None


def error_body(
    message: str, kind: str, param: str | None = None, code: str | int | None = None
) -> dict[str, Any]:
    """The protocol's error object."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class Body:
    """A JSON object from a client."""

    def __init__(self, raw: bytes) -> None:
        try:
            values = parse_json(raw)
        except ValueError as error:
            raise BadRequest(f"the body is no valid JSON: {error}") from None
        if not isinstance(values, dict):
            raise BadRequest("the body must be a JSON object")
        self.values: dict[str, Any] = values

    def number(self, name: str, default: float) -> float:
        """A finite number."""
        value = self.values.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e18:
            raise BadRequest(f"{name} must be a number", name)
        return float(value)

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        value = self.values.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise BadRequest(f"{name} must be a whole number from {low} to {high}", name)
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise BadRequest(f"{name} must be true or false", name)
        return value

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise BadRequest(f"{name} must be a string", name)
        return value


@dataclass(frozen=True)
class Call:
    """What a client wants: one answer per prompt and choice. `max_tokens` None: the rest of the context window."""

    prompts: list[list[int]]
    params: SamplingParams
    chat: bool
    n: int = 1
    max_tokens: int | None = None
    stream: bool = False
    usage: bool = False  # a last chunk with the usage
    running_usage: bool = False  # usage in every chunk
    priority: int = 0
    salt: str = ""


def read_call(body: Body, tokenizer: Tokenizer, *, chat: bool, model: str, max_len: int, vocab: int) -> Call:
    """The call in `body`, for a model of `max_len` tokens and `vocab` token ids. Raises BadRequest naming the field."""
    asked = body.text("model", model)
    if asked != model:
        raise BadRequest(f"the model {asked[:100]!r} does not exist: this server has {model!r}", "model", 404)
    for name, harmless in _NOT_SERVED.items():
        value = body.values.get(name)
        if value is not None and value not in harmless:
            raise BadRequest(f"{name} is not supported by this server", name)
    kind = body.values.get("response_format")
    if kind is not None and kind != {"type": "text"}:
        raise BadRequest("response_format must be text: guided decoding is not supported", "response_format")
    options = body.values.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise BadRequest("stream_options must be an object", "stream_options")
    wanted = Body(json.dumps(options or {}).encode())
    n = body.integer("n", 1, 1, MAX_N)
    if body.integer("best_of", n, 1, MAX_N) != n:
        raise BadRequest("best_of must equal n: other answers are not ranked", "best_of")
    limit = body.integer("max_tokens", 0, 1, 1 << 31) or None
    if chat:
        limit = body.integer("max_completion_tokens", 0, 1, 1 << 31) or limit
    call = Call(
        read_chat(body, tokenizer) if chat else read_prompts(body, tokenizer),
        read_params(body, chat=chat),
        chat,
        n=n,
        max_tokens=limit if chat or limit else COMPLETION_TOKENS,
        stream=body.flag("stream"),
        usage=wanted.flag("include_usage"),
        running_usage=wanted.flag("continuous_usage_stats"),
        priority=body.integer("priority", 0, -(1 << 31), 1 << 31),
        salt=body.text("cache_salt"),
    )
    for prompt in call.prompts:
        check_prompt(prompt, call, vocab, max_len)
    return call


def check_prompt(prompt: list[int], call: Call, vocab: int, max_len: int) -> None:
    """Raise BadRequest for a prompt that is empty, too long, or names tokens that do not exist."""
    name = "messages" if call.chat else "prompt"
    if not prompt:
        raise BadRequest(f"{name} has no tokens", name)
    if any(not 0 <= token < vocab for token in prompt):
        raise BadRequest(f"{name} names a token outside [0, {vocab})", name)
    wanted = call.max_tokens or 1
    if len(prompt) + wanted > max_len:
        raise BadRequest(
            f"This model's maximum context length is {max_len} tokens. However, you requested "
            f"{len(prompt) + wanted} tokens ({len(prompt)} in the {name}, {wanted} in the completion).",
            name,
        )


def read_prompts(body: Body, tokenizer: Tokenizer) -> list[list[int]]:
    """The prompts of a completion: a string, a list of strings, token ids, or a list of these."""
    value = body.values.get("prompt")
    many: list[Any]
    if isinstance(value, str) or (
        isinstance(value, list) and value and all(_is_token(each) for each in value)
    ):
        many = [value]
    elif isinstance(value, list) and 0 < len(value) <= MAX_PROMPTS:
        many = value
    else:
        raise BadRequest(
            f"prompt must be a string, token ids, or a list of up to {MAX_PROMPTS} of these", "prompt"
        )
    prompts = []
    for each in many:
        if isinstance(each, str):
            prompts.append(_encoded(tokenizer, each, "prompt"))
        elif isinstance(each, list) and all(_is_token(token) for token in each):
            prompts.append([int(token) for token in each])
        else:
            raise BadRequest("prompt must be a string, token ids, or a list of these", "prompt")
    return prompts


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _encoded(tokenizer: Tokenizer, text: str, name: str) -> list[int]:
    try:
        return tokenizer.encode(text)
    except InputError as error:
        raise BadRequest(str(error), name) from None


def read_chat(body: Body, tokenizer: Tokenizer) -> list[list[int]]:
    """The prompt of a chat, by the checkpoint's template."""
    messages = body.values.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages must be a list of at least one message", "messages")
    plain = [_message(each) for each in messages]
    options = body.values.get("chat_template_kwargs")
    if options is not None and not isinstance(options, dict):
        raise BadRequest("chat_template_kwargs must be an object", "chat_template_kwargs")
    if body.values.get("chat_template") is not None:
        raise BadRequest("chat_template is taken from the checkpoint only", "chat_template")
    reserved = {"messages", "add_generation_prompt", "bos_token", "eos_token"}
    extra = {str(key): value for key, value in (options or {}).items() if key not in reserved}
    try:
        return [tokenizer.chat(plain, **extra)]
    except InputError as error:
        raise BadRequest(str(error), "messages") from None


def _message(value: Any) -> dict[str, Any]:
    """One message; content parts of type text are joined."""
    if not isinstance(value, dict) or not isinstance(value.get("role"), str):
        raise BadRequest("every message needs a role and content", "messages")
    content = value.get("content")
    if isinstance(content, list):
        parts = []
        for part in content:
            if (
                not isinstance(part, dict)
                or part.get("type") != "text"
                or not isinstance(part.get("text"), str)
            ):
                raise BadRequest("only content parts of type text are supported", "messages")
            parts.append(part["text"])
        content = "".join(parts)
    if content is None and value["role"] == "assistant":
        content = ""
    if not isinstance(content, str):
        raise BadRequest("every message needs a role and content", "messages")
    return {**value, "content": content}


def read_params(body: Body, *, chat: bool) -> SamplingParams:
    """How to sample. Raises BadRequest naming the field."""
    stop = body.values.get("stop")
    stops = [stop] if isinstance(stop, str) else [] if stop is None else stop
    if not isinstance(stops, list) or not all(isinstance(each, str) for each in stops):
        raise BadRequest("stop must be a string or a list of strings", "stop")
    given = body.values.get("stop_token_ids")
    ids = [] if given is None else given
    if not isinstance(ids, list) or not all(_is_token(each) for each in ids) or len(ids) > 128:
        raise BadRequest("stop_token_ids must be a list of token ids", "stop_token_ids")
    seed = body.values.get("seed")
    if seed is not None and not (_is_token(seed) and abs(seed) < 1 << 63):
        raise BadRequest("seed must be a 64-bit whole number", "seed")
    top_k = body.integer("top_k", 0, -1, 1 << 31)
    try:
        return SamplingParams(
            temperature=body.number("temperature", 1.0),
            top_k=max(0, top_k),
            top_p=body.number("top_p", 1.0),
            min_p=body.number("min_p", 0.0),
            repetition_penalty=body.number("repetition_penalty", 1.0),
            presence_penalty=body.number("presence_penalty", 0.0),
            frequency_penalty=body.number("frequency_penalty", 0.0),
            seed=seed,
            stop=tuple(stops),
            stop_token_ids=tuple(ids),
            min_tokens=body.integer("min_tokens", 0, 0, 1 << 31),
            ignore_eos=body.flag("ignore_eos"),
            logprobs=_logprobs(body, chat),
            logit_bias=_bias(body),
        )
    except InputError as error:
        raise BadRequest(str(error), str(error).split()[0]) from None


def _logprobs(body: Body, chat: bool) -> int | None:
    if not chat:
        value = body.values.get("logprobs")
        return None if value is None or value is False else body.integer("logprobs", 0, 0, MAX_LOGPROBS)
    top = body.integer("top_logprobs", 0, 0, MAX_LOGPROBS)
    if body.flag("logprobs"):
        return top
    if top:
        raise BadRequest("top_logprobs needs logprobs to be true", "top_logprobs")
    return None


def _bias(body: Body) -> dict[int, float]:
    given = body.values.get("logit_bias")
    if given is None:
        return {}
    if not isinstance(given, dict) or len(given) > 1024:
        raise BadRequest("logit_bias must be an object of at most 1024 tokens", "logit_bias")
    found = {}
    for token, bias in given.items():
        number = isinstance(bias, int | float) and not isinstance(bias, bool) and math.isfinite(bias)
        if not (token.isascii() and token.isdecimal()) or len(token) > 9 or not number:
            raise BadRequest("logit_bias must map token ids to numbers", "logit_bias")
        found[int(token)] = float(bias)
    return found


def completion_logprobs(tokens: list[tuple[Sampled, int]], tokenizer: Tokenizer) -> dict[str, list[Any]]:
    """Log probabilities as completions show them, from (token, offset of its text in the answer)."""
    return {
        "tokens": [tokenizer.piece(each.token) for each, _ in tokens],
        "token_logprobs": [each.logprob for each, _ in tokens],
        "top_logprobs": [
            {tokenizer.piece(token): logprob for token, logprob in each.top} for each, _ in tokens
        ],
        "text_offset": [offset for _, offset in tokens],
    }


def chat_logprobs(tokens: list[tuple[Sampled, int]], tokenizer: Tokenizer) -> dict[str, list[Any]]:
    """Log probabilities as chats show them."""

    def entry(token: int, logprob: float | None) -> dict[str, Any]:
        piece = tokenizer.piece(token)
        return {"token": piece, "logprob": logprob, "bytes": list(piece.encode())}

    return {
        "content": [
            {
                **entry(each.token, each.logprob),
                "top_logprobs": [entry(token, logprob) for token, logprob in each.top],
            }
            for each, _ in tokens
        ]
    }
