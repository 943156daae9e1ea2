"""Fingerprints of what a simulation depends on: the inputs of a plan, and the code that runs it."""

from __future__ import annotations

import hashlib
import inspect
import pickle
import platform
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hasten.plan.probe import Setting

PACKAGE = Path(__file__).parents[1]


def inputs_of(setting: Setting) -> dict[str, str]:
    """SHA-256 of every input of a plan by its name; equal in every process that was given the same."""
    numbers = (setting.seed, setting.pessimism, setting.confidence)
    return {
        "workload": digest(setting.work),
        "limits": digest(setting.constraints),
        "deployments": digest(setting.shapes),
        "policies": digest(setting.policies),
        "seed, pessimism or confidence": digest(numbers),
        "version of hasten, NumPy or Python": code(),
    }


@lru_cache(maxsize=1)
def code() -> str:
    """SHA-256 of this package, its data included, and of the versions that its arithmetic rests on."""
    found = hashlib.sha256(f"{platform.python_version()} {np.__version__}".encode())
    for path in sorted(PACKAGE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            found.update(f"\0{path.relative_to(PACKAGE).as_posix()}\0".encode())
            found.update(path.read_bytes())
    return found.hexdigest()


def digest(value: object) -> str:
    """SHA-256 of a value by what it holds: fields of dataclasses, columns, items; never by identity or address."""
    return _digest(value, {}).hex()


def _digest(value: Any, known: dict[int, bytes]) -> bytes:
    """`known` holds digests of objects met before: shapes of a plan share model, device and engine."""
    if is_dataclass(value) and id(value) in known:
        return known[id(value)]
    found = hashlib.sha256()
    for part in _parts(value, known):
        found.update(len(part).to_bytes(8, "big") + part)
    if is_dataclass(value):
        known[id(value)] = found.digest()
    return found.digest()


def _parts(value: Any, known: dict[int, bytes]) -> Iterator[bytes]:
    if isinstance(value, np.ndarray):
        yield from (
            value.dtype.str.encode(),
            repr(value.shape).encode(),
            np.ascontiguousarray(value).tobytes(),
        )
    elif isinstance(value, np.generic):
        yield from _parts(value.item(), known)
    elif value is None or isinstance(value, bool | int | float | str | bytes | Path):
        yield f"{type(value).__name__} {value!r}".encode()
    elif isinstance(value, Mapping):
        yield b"mapping"
        yield from sorted(_digest(key, known) + _digest(each, known) for key, each in value.items())
    elif isinstance(value, set | frozenset):
        yield b"set"
        yield from sorted(_digest(each, known) for each in value)
    elif isinstance(value, tuple | list):
        yield b"sequence"
        for each in value:
            yield _digest(each, known)
    elif inspect.isroutine(value) or inspect.isclass(value):
        yield _source_of(value)
    else:
        yield _source_of(type(value))
        yield from _state(value, known)


def _state(value: Any, known: dict[int, bytes]) -> Iterator[bytes]:
    if is_dataclass(value):  # without what was derived from the fields and kept
        for each in fields(value):
            yield each.name.encode()
            yield _digest(getattr(value, each.name), known)
    elif hasattr(value, "__dict__"):
        yield _digest(vars(value), known)
    else:
        yield pickle.dumps(value, protocol=4)


def _source_of(kind: Any) -> bytes:
    """Name of a class or function; with the text of its file where that is no part of this package."""
    name = str(kind.__qualname__)
    module = inspect.getmodule(kind)
    file = getattr(module, "__file__", None)
    if module is None or file is None:
        return name.encode()
    if PACKAGE in Path(file).parents:
        return f"{module.__name__}.{name}".encode()
    return name.encode() + b"\0" + Path(file).read_bytes()
