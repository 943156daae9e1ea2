"""A policy's parameters are its dataclass fields: their names, their types, and how text becomes a value."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from typing import Any

from hasten.errors import InputError

MISSING = dataclasses.MISSING
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def fields_of(cls: type) -> list[dataclasses.Field[Any]]:
    """The fields that a user may set, in order."""
    if not dataclasses.is_dataclass(cls):
        return []
    return [field for field in dataclasses.fields(cls) if field.init]


def types_of(cls: type) -> dict[str, Any]:
    """The annotation of every field, strings resolved.

    Raises InputError when an annotation names something the module doesn't define.
    """
    try:
        return typing.get_type_hints(cls)
    except (NameError, TypeError) as error:
        raise InputError(f"{cls.__name__}: a parameter's type can't be read: {error}") from error


def type_name(kind: Any) -> str:
    """How `kind` is written in documentation: `float`, `int or none`, `a | b`."""
    if typing.get_origin(kind) is typing.Literal:
        return " | ".join(str(choice) for choice in typing.get_args(kind))
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " or ".join(type_name(part) for part in typing.get_args(kind))
    return "none" if kind is type(None) else getattr(kind, "__name__", str(kind))


def make(cls: type, text: str, where: str) -> Any:
    """An instance of `cls` with the parameters of `text`: "name=value,name=value", or nothing.

    `where` names the policy in error messages. Raises InputError for an unknown or missing parameter, a value of
    the wrong type, NaN, or a value the policy itself refuses.
    """
    given = _split(text, where)
    fields = {field.name: field for field in fields_of(cls)}
    kinds = types_of(cls) if given else {}
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in fields:
            raise InputError(f"{where} has no parameter {name!r}: {_known(name, list(fields))}")
        values[name] = _convert(value, kinds[name], f"{where}: {name}")
    for name, field in fields.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"{where} needs a value for {name!r}: write {name}=...")
    try:
        return cls(**values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} can't be made: {type(error).__name__}: {error}") from error


def closest_first(name: str, known: list[str]) -> list[str]:
    """`known`, those that resemble `name` in front."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return near + [other for other in known if other not in near]


def _known(name: str, known: list[str]) -> str:
    return f"use one of {', '.join(closest_first(name, known))}" if known else "it takes none"


def _split(text: str, where: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for part in text.split(",") if text.strip() else ():
        name, sign, value = part.partition("=")
        name = name.strip()
        if not sign or not name:
            raise InputError(f"{where}: {part.strip()!r} is not name=value: write e.g. x=3,y=0.1")
        if name in given:
            raise InputError(f"{where}: {name} is set twice, to {given[name]!r} and {value.strip()!r}")
        given[name] = value.strip()
    return given


def _convert(text: str, kind: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        for choice in typing.get_args(kind):
            if str(choice) == text:
                return choice
        allowed = ", ".join(str(choice) for choice in typing.get_args(kind))
        raise InputError(f"{where} is {text!r}: use one of {allowed}")
    if origin in (typing.Union, types.UnionType):
        parts = typing.get_args(kind)
        if type(None) in parts and text.lower() == "none":
            return None
        return _convert(text, next(part for part in parts if part is not type(None)), where)
    if kind is bool:
        if text.lower() not in _WORDS:
            raise InputError(f"{where} is {text!r}: use true or false")
        return _WORDS[text.lower()]
    if kind is str:
        return text
    if kind not in (int, float):
        raise InputError(
            f"{where} has type {type_name(kind)}, which text can't set: pass an instance instead"
        )
    try:
        value = kind(text)
    except ValueError:
        allowed = "a whole number" if kind is int else "a number"
        raise InputError(f"{where} is {text!r}: it must be {allowed}") from None
    if kind is float and math.isnan(value):
        raise InputError(f"{where} is {text!r}: it must be a number, and NaN is none")
    return value
