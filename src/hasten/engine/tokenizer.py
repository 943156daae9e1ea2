"""Text to tokens and back, and chats to prompts: tokenizer.json and the checkpoint's chat template."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer as Encoder

from hasten.engine.config import read_json
from hasten.errors import InputError

MAX_PROMPT_CHARACTERS = 2**24


class Tokenizer:
    """The tokenizer of a checkpoint directory. Raises InputError naming the file when it can't be used."""

    def __init__(self, directory: Path) -> None:
        path = directory / "tokenizer.json"
        if not path.is_file():
            raise InputError(f"{path}: no such file: the server needs the tokenizer of the checkpoint")
        try:
            self._encoder: Any = Encoder.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: can't be used ({reason}): fetch the file again") from None
        self._encoder.no_truncation()
        self._encoder.no_padding()
        settings = directory / "tokenizer_config.json"
        self._settings = read_json(settings) if settings.exists() else {}
        self._template = _template(directory, self._settings)

    @property
    def has_template(self) -> bool:
        """Whether chats can be turned into prompts."""
        return self._template is not None

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Tokens of `text`; `special` adds what the checkpoint puts around a prompt."""
        if len(text) > MAX_PROMPT_CHARACTERS:
            raise InputError(
                f"the prompt has {len(text):,} characters: the limit is {MAX_PROMPT_CHARACTERS:,}"
            )
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InputError("the prompt holds half of a surrogate pair: send valid Unicode") from None
        return list(self._encoder.encode(text, add_special_tokens=special).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of `tokens`, special ones left out."""
        return str(self._encoder.decode(list(tokens), skip_special_tokens=True))

    def piece(self, token: int) -> str:
        """One token as it is named in log probabilities."""
        return str(self._encoder.decode([token], skip_special_tokens=False))

    def chat(self, messages: list[dict[str, Any]], **options: Any) -> list[int]:
        """The prompt of a chat. Raises InputError when there is no template, or it refuses the messages."""
        if self._template is None:
            raise InputError(
                "this checkpoint has no chat template (tokenizer_config.json, chat_template.jinja): use completions"
            )
        try:
            text = self._template.render(
                messages=messages,
                add_generation_prompt=True,
                bos_token=_token(self._settings.get("bos_token")),
                eos_token=_token(self._settings.get("eos_token")),
                **options,
            )
        except Exception as error:  # templates compute: whatever they raise is about these messages
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"the chat template refuses these messages: {reason}") from None
        return self.encode(text, special=False)


def _token(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def _template(directory: Path, settings: dict[str, Any]) -> jinja2.Template | None:
    path = directory / "chat_template.jinja"
    source: Any = None
    try:
        if path.exists():
            source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from None
    if source is None:
        source = settings.get("chat_template")
    if isinstance(source, list):  # several, by name
        named = {each.get("name"): each.get("template") for each in source if isinstance(each, dict)}
        source = named.get("default")
    if not isinstance(source, str):
        return None
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _now
    try:
        return environment.from_string(source)
    except jinja2.TemplateError as error:
        raise InputError(
            f"{directory}: the chat template is broken: {' '.join(str(error).split())}"
        ) from None


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _now(format: str) -> str:
    return datetime.datetime.now(datetime.UTC).strftime(format)
