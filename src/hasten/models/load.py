"""Loading a model shape: a built-in name, a config.json file, or a directory that holds one."""

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any

from hasten.errors import InputError
from hasten.jsontext import parse_json
from hasten.models.body import Body
from hasten.models.fields import MAX_TOKENS, Fields, shorten
from hasten.models.layers import LayerGroup
from hasten.models.shape import ModelShape, Quantisation
from hasten.models.storage import read_quantisation

SHAPES = Path(__file__).parent / "shapes"
FAMILIES = Path(__file__).parent / "families"
MAX_FILE_BYTES = 2**24

_DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "half": 2, "float32": 4, "float": 4, "float8_e4m3fn": 1}

# Words of a repository's name that say how a model was tuned, not what shape it has.
_TUNING = frozenset(("base", "chat", "hf", "instruct", "it", "meta"))


def model_names() -> list[str]:
    """Names of the built-in models, sorted."""
    return sorted(path.stem for path in SHAPES.glob("*.json"))


def load_model(name_or_path: str | PathLike[str]) -> ModelShape:
    """The shape of a built-in model (name or Hugging Face id), a config.json, or a directory with one.

    A name without a path separator is looked up among the built-in ones first; anything that exists as a path
    is read as a file. Raises InputError, naming the file and field, for whatever can't be understood.
    """
    text = str(name_or_path).strip()
    if not text:
        raise InputError("model '' is empty: give a built-in name or the path of a config.json")
    bare = isinstance(name_or_path, str) and not any(mark in text for mark in ("/", "\\"))
    if bare and (found := _builtin(text)):
        return found
    path = Path(name_or_path) if not isinstance(name_or_path, str) else Path(text)
    if _exists(path):
        return _load_path(path)
    if found := _builtin(text):
        return found
    if path.suffix == ".json":
        raise InputError(f"{shorten(text)}: no such file: give a built-in name or the path of a config.json")
    raise InputError(_unknown(text))


def _unknown(text: str) -> str:
    import difflib  # only errors pay for it

    names = {_key(name): name for name in model_names()}
    close = [names[key] for key in difflib.get_close_matches(_key(text), list(names), n=3, cutoff=0.5)]
    nearest = (
        f"nearest are {', '.join(close)}" if close else f"there are {len(names)}, from {min(names.values())}"
    )
    return f"model {shorten(text)} is neither a built-in name ({nearest}) nor an existing file or directory"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or with a null byte, is no path
        return False


# -- built-in names -----------------------------------------------------------------------------------------


def _key(name: str) -> str:
    """A name as it is compared: without organisation and tuning words, lower case, one kind of separator."""
    last = name.rstrip("/").rsplit("/", 1)[-1].lower()
    for mark in "._ ":
        last = last.replace(mark, "-")
    return "-".join(word for word in last.split("-") if word and word not in _TUNING)


def _builtin(name: str) -> ModelShape | None:
    stem = _builtin_stem(name)
    if stem is None:
        return None
    path = SHAPES / f"{stem}.json"
    values = _read_json(path, f"built-in model {stem}")
    return shape_from_config(values, where=f"built-in model {stem}", name=stem)


def _builtin_stem(name: str) -> str | None:
    names = model_names()
    lower = name.lower()
    if lower in names:
        return lower
    key = _key(name)
    by_key = {_key(each): each for each in names}
    return by_key.get(key) or _aliases().get(key)


@lru_cache(maxsize=1)
def _aliases() -> Mapping[str, str]:
    """Further names of the built-in models, from their files' `_aliases`."""
    found: dict[str, str] = {}
    for stem in model_names():
        values = _read_json(SHAPES / f"{stem}.json", f"built-in model {stem}")
        found.update({_key(alias): stem for alias in values.get("_aliases", [])})
    return found


# -- files --------------------------------------------------------------------------------------------------


def _load_path(path: Path) -> ModelShape:
    where = str(path)
    name = path.stem
    if path.is_dir():
        name = path.resolve().name
        path = path / "config.json"
        if not path.is_file():
            raise InputError(
                f"{where}: directory holds no config.json: give one that does, or the file itself"
            )
        where = str(path)
    elif path.name == "config.json":
        name = path.resolve().parent.name
    values = _read_json(path, where)
    extra = path.with_name("hf_quant_config.json")
    if values.get("quantization_config") is None and path.name == "config.json" and extra.is_file():
        return _with_modelopt(values, extra, where=where, name=name)
    return shape_from_config(values, where=where, name=name)


def _with_modelopt(values: Mapping[str, Any], extra: Path, *, where: str, name: str) -> ModelShape:
    """A shape whose storage stands in modelopt's separate file beside config.json."""
    outer = Fields(str(extra), _read_json(extra, str(extra)))
    inner = outer.inner("quantization")
    if inner is None:
        raise outer.fail("quantization", "is missing: give modelopt's quantization object")
    inner.values = {"quant_method": "modelopt", **inner.values}
    return replace(shape_from_config(values, where=where, name=name), quantisation=read_quantisation(inner))


def _read_json(path: Path, where: str) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise InputError(f"{where}: is {size} bytes, the limit is {MAX_FILE_BYTES}: is it a config.json?")
        values = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{where}: can't be read ({error.strerror or error}): give a config.json") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}: line {error.lineno}: not JSON ({error.msg}): give a config.json"
        ) from None
    except InputError:
        raise
    except ValueError as error:  # not UTF-8, a number of thousands of digits, deep nesting
        reason = str(error).splitlines()[0][:80]
        raise InputError(f"{where}: not readable as JSON ({reason}): give a config.json") from None
    if not isinstance(values, dict):
        raise InputError(f"{where}: holds {shorten(values)}: a model configuration is a JSON object")
    return values


# -- configuration to shape ---------------------------------------------------------------------------------


def shape_from_config(values: Mapping[str, Any], *, where: str, name: str) -> ModelShape:
    """The shape a parsed config.json describes; `where` names the file in errors.

    Raises InputError for an unknown architecture, a missing or malformed field, or one that could change the
    shape and is not understood.
    """
    fields = Fields(where, values)
    architecture, read = _family(fields)
    body = read(fields)
    quantisation = _quantisation(fields, body.fields)
    layers, order = _grouped(body)
    shape = ModelShape(
        name, architecture,
        hidden=body.hidden, vocab=body.vocab, layers=layers, layer_order=order, tied_embeddings=body.tied,
        mtp_layers=body.mtp_layers, max_context=_max_context(body.fields), quantisation=quantisation,
        dtype_bytes=_dtype_bytes(fields, body.fields),
        source=fields.text("_source") or where,
    )  # fmt: skip
    body.fields.refuse_unread(body.harmless)
    return shape


def _family(fields: Fields) -> tuple[str, Callable[[Fields], Body]]:
    known = _families()
    named = fields.strings("architectures")
    kind = fields.text("model_type")
    for each in named[:1] or [kind]:
        if each in known:
            return each, known[each]
    supported = ", ".join(sorted(each for each in known if "For" in each))
    if not named and not kind:
        raise fields.fail("architectures", f"is missing: supported are {supported}")
    field, value = ("architectures", named[0]) if named else ("model_type", kind)
    raise fields.fail(field, f"is {shorten(value)}: not supported; supported are {supported}")


@lru_cache(maxsize=1)
def _families() -> Mapping[str, Callable[[Fields], Body]]:
    """Readers by architecture and by model type: every file of the families folder."""
    found: dict[str, Callable[[Fields], Body]] = {}
    for path in sorted(FAMILIES.glob("[!_]*.py")):
        module = importlib.import_module(f"hasten.models.families.{path.stem}")
        found.update(module.READERS)
    return found


def _first(outer: Fields, inner: Fields, *names: str) -> Fields | None:
    """The object that holds one of the fields: the language model's own, else the file's top level."""
    found = None
    for holder in (outer, inner):
        for name in names:  # every name counts as read, whichever decides
            if holder.has(name):
                found = holder
    return found


def _dtype_bytes(outer: Fields, inner: Fields) -> float:
    """Bytes of a weight that isn't quantised: 2 where the file doesn't say."""
    holder = _first(outer, inner, "dtype", "torch_dtype")
    if holder is None:
        return 2
    older = holder.choice("torch_dtype", _DTYPE_BYTES, None)
    return float(holder.choice("dtype", _DTYPE_BYTES, older))


def _quantisation(outer: Fields, inner: Fields) -> Quantisation | None:
    holder = _first(outer, inner, "quantization_config", "compression_config")
    if holder is None:
        return None
    found = holder.inner("quantization_config") or holder.inner("compression_config")
    return None if found is None else read_quantisation(found)


def _max_context(fields: Fields) -> int:
    """Tokens a model accepts: its positions, or under yarn the original ones times the factor."""
    positions = fields.integer("max_position_embeddings", 0, at_least=0, at_most=MAX_TOKENS)
    rope = fields.inner("rope_scaling") or fields.inner("rope_parameters")
    if rope is None or "yarn" not in (rope.values.get("rope_type"), rope.values.get("type")):
        return positions
    original = rope.integer("original_max_position_embeddings", positions, at_most=MAX_TOKENS)
    factor = rope.values.get("factor", 1)
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 1 <= factor <= MAX_TOKENS:
        raise rope.fail("factor", f"is {shorten(factor)}: give a number of at least 1")
    return max(positions, int(original * factor))


def _grouped(body: Body) -> tuple[tuple[LayerGroup, ...], tuple[int, ...]]:
    """Equal layers together, and the group of each layer in order."""
    index: dict[LayerGroup, int] = {}
    order = tuple(index.setdefault(layer, len(index)) for layer in body.layers)
    layers = tuple(replace(layer, count=order.count(i)) for layer, i in index.items())
    return layers, order
