"""Workloads named by a short text, as on a command line.

    PATH or SAMPLE[:option=value,...]     mooncake.jsonl:block_tokens=16    mooncake-conversation:spread=false
    KIND:key=value,...                    poisson:rate=8,prompt=lognormal:1024:0.6,output=200,n=1000
    agents:kind=NAME,rate=R,n=N           agents:kind=swe,rate=0.5,n=100 (programs of calls and tools, per second)

Kinds and their keys: poisson (rate), gamma (rate, cv), constant (rate), ramp (start, end, shape), burst (none), closed
(users, think in s). Every kind takes n or duration (s); prompt and output, or lengths (a trace, whose rows are drawn
in pairs); prefix (shared tokens), prefix_groups, block_tokens; seed.

A length is TOKENS, uniform:LOW:HIGH, lognormal:MEAN:SIGMA[:HIGH], lognormal-median:MEDIAN:SIGMA[:HIGH] or trace:NAME.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hasten.errors import InputError
from hasten.workload.agents import agents
from hasten.workload.arrivals import Arrivals, Burst, Constant, Gamma, Poisson, Ramp
from hasten.workload.catalogue import reader_for, reader_named
from hasten.workload.columns import MAX_TOKENS, ClosedLoop
from hasten.workload.lengths import Empirical, Fixed, Lengths, Lognormal, Uniform
from hasten.workload.programs import BLOCK_TOKENS
from hasten.workload.rows import shortened
from hasten.workload.samples import sample_names
from hasten.workload.samples.loading import read_columns
from hasten.workload.source import Source, path_exists
from hasten.workload.synthetic import SharedPrefix, synthesise
from hasten.workload.workload import Workload

_EXAMPLE = "poisson:rate=8,prompt=lognormal:1024:0.6,output=200,n=1000"


def _real(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{key} = {text!r} is not a number") from None


def _whole(key: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{key} = {text!r} is not a whole number") from None


def _word(key: str, text: str) -> str:
    return text


# kind -> (what it makes, {key: (parameter, parser)})
_KINDS: dict[
    str, tuple[Callable[..., Arrivals | ClosedLoop], dict[str, tuple[str, Callable[[str, str], Any]]]]
] = {
    "poisson": (Poisson, {"rate": ("rate", _real)}),
    "gamma": (Gamma, {"rate": ("rate", _real), "cv": ("cv", _real)}),
    "constant": (Constant, {"rate": ("rate", _real)}),
    "ramp": (Ramp, {"start": ("start", _real), "end": ("end", _real), "shape": ("shape", _word)}),
    "burst": (Burst, {}),
    "closed": (ClosedLoop, {"users": ("concurrency", _whole), "think": ("think_s", _real)}),
}
_COMMON = ("n", "duration", "prompt", "output", "lengths", "prefix", "prefix_groups", "block_tokens", "seed")


def parse_workload(
    text: str,
    *,
    rate: float | None = None,
    limit: int | None = None,
    format: str | None = None,
    drop_bad: bool = False,
    seed: int | None = None,
) -> Workload:
    """A workload from a path, a sample's name or a synthetic spec (see the module's first lines).

    `rate`, `limit`, `format` and `drop_bad` are those of `Workload.from_trace`; a `seed` in the text wins over the
    argument. Raises InputError with the part of the text that can't be used.
    """
    kind, _, rest = text.partition(":")
    if kind in _KINDS and not path_exists(text):
        if format is not None:
            raise InputError(f"workload {text!r}: format is for trace files, a synthetic workload has none")
        try:
            made = _synthetic(kind, _pairs(rest), 0 if seed is None else seed)
        except InputError as error:
            raise InputError(f"workload {text!r}: {error}") from None
        made = made if limit is None else made.head(limit)
        return made if rate is None else made.scaled(rate=rate)
    if kind == "agents" and not path_exists(text):
        try:
            return _agents(_pairs(rest), 0 if seed is None else seed)
        except InputError as error:
            raise InputError(f"workload {text!r}: {error}") from None
    source, options = _trace_and_options(text)
    if source is None:
        kinds, samples = ", ".join((*_KINDS, "agents")), ", ".join(sample_names())
        raise InputError(
            f"workload {shortened(text)} is no file, no sample ({samples}) and no kind ({kinds}): "
            f"check the path, or write one like {_EXAMPLE}"
        )
    typed = _typed(source, options, format) if options else {}
    if seed is not None and "seed" not in typed and _takes_seed(source, format):
        typed["seed"] = seed
    return Workload.from_trace(source, rate, limit=limit, format=format, drop_bad=drop_bad, **typed)


def _synthetic(kind: str, pairs: dict[str, str], seed: int) -> Workload:
    make, own = _KINDS[kind]
    for key in pairs:
        if key not in own and key not in _COMMON:
            raise InputError(f"{kind} has no key {key!r}: its keys are {', '.join((*own, *_COMMON))}")
    given = {parameter: parse(key, pairs[key]) for key, (parameter, parse) in own.items() if key in pairs}
    needed = [
        key
        for key, (parameter, _) in own.items()
        if parameter not in given
        and inspect.signature(make).parameters[parameter].default is inspect.Parameter.empty
    ]
    if needed:
        raise InputError(f"{kind} needs {needed[0]}: add {needed[0]}=NUMBER")
    if ("n" in pairs) == ("duration" in pairs):
        raise InputError("give either n (number of requests) or duration (s)")
    if "lengths" not in pairs and not {"prompt", "output"} <= pairs.keys():
        raise InputError("give prompt and output (tokens), or lengths (a trace)")
    return synthesise(
        make(**given),
        prompt=_lengths("prompt", pairs["prompt"]) if "prompt" in pairs else None,
        output=_lengths("output", pairs["output"]) if "output" in pairs else None,
        pairs=Workload.from_trace(pairs["lengths"]) if "lengths" in pairs else None,
        num_requests=_whole("n", pairs["n"]) if "n" in pairs else None,
        duration=_real("duration", pairs["duration"]) if "duration" in pairs else None,
        prefix=_prefix(pairs),
        seed=_whole("seed", pairs["seed"]) if "seed" in pairs else seed,
    )


def _agents(pairs: dict[str, str], seed: int) -> Workload:
    keys = ("kind", "rate", "n", "seed", "block_tokens")
    for key in pairs:
        if key not in keys:
            raise InputError(f"agents have no key {key!r}: their keys are {', '.join(keys)}")
    for key in keys[:3]:
        if key not in pairs:
            raise InputError(f"agents need {key}: for example kind=swe,rate=0.5,n=100")
    return agents(
        pairs["kind"],
        rate=_real("rate", pairs["rate"]),
        num_programs=_whole("n", pairs["n"]),
        seed=_whole("seed", pairs["seed"]) if "seed" in pairs else seed,
        block_tokens=_whole("block_tokens", pairs.get("block_tokens", str(BLOCK_TOKENS))),
    )


def _prefix(pairs: dict[str, str]) -> SharedPrefix | None:
    if "prefix" not in pairs:
        for key in ("prefix_groups", "block_tokens"):
            if key in pairs:
                raise InputError(f"{key} is for a shared prefix: add prefix=TOKENS")
        return None
    return SharedPrefix(
        tokens=_whole("prefix", pairs["prefix"]),
        groups=_whole("prefix_groups", pairs.get("prefix_groups", "1")),
        block_tokens=_whole("block_tokens", pairs.get("block_tokens", "16")),
    )


def _lengths(key: str, text: str) -> Lengths:
    kind, *values = text.split(":")
    if kind == "trace":
        workload = Workload.from_trace(text.partition(":")[2])
        return Empirical(workload.prompt_tokens if key == "prompt" else workload.output_tokens)
    if not values:
        return Fixed(_whole(key, kind))
    if kind == "uniform" and len(values) == 2:
        return Uniform(_whole(key, values[0]), _whole(key, values[1]))
    if kind in ("lognormal", "lognormal-median") and len(values) in (2, 3):
        centre = _real(key, values[0])
        return Lognormal(
            mean=centre if kind == "lognormal" else None,
            median=None if kind == "lognormal" else centre,
            sigma=_real(key, values[1]),
            high=_whole(key, values[2]) if len(values) == 3 else MAX_TOKENS,
        )
    raise InputError(
        f"{key} = {text!r} is no length: use TOKENS, uniform:LOW:HIGH, lognormal:MEAN:SIGMA[:HIGH], "
        "lognormal-median:MEDIAN:SIGMA[:HIGH] or trace:NAME"
    )


def _pairs(text: str) -> dict[str, str]:
    """`a=1,b=2` as a mapping; raises InputError for a part without = or a key given twice."""
    pairs: dict[str, str] = {}
    for part in text.split(",") if text else []:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not (key and equals and value):
            raise InputError(f"part {part!r} is not key=value")
        if key in pairs:
            raise InputError(f"key {key!r} is given twice")
        pairs[key] = value
    return pairs


def _trace_and_options(text: str) -> tuple[str | None, dict[str, str]]:
    """The path or sample the text names, with the options after its last colon; None when there is none."""
    if _is_trace(text):
        return text, {}
    source, colon, rest = text.rpartition(":")
    if colon and _is_trace(source):
        return source, _pairs(rest)
    return None, {}


def _is_trace(text: str) -> bool:
    return text in sample_names() or path_exists(text)


def _reader_options(source: str, format: str | None) -> dict[str, inspect.Parameter]:
    if path_exists(source):
        return reader_for(Path(source), Source(Path(source)).head(), format).options()
    return reader_named(read_columns(source)["about"]["format"]).options()


def _takes_seed(source: str, format: str | None) -> bool:
    return "seed" in _reader_options(source, format)


def _typed(source: str, options: dict[str, str], format: str | None) -> dict[str, Any]:
    """Options of a reader as the types of their defaults."""
    known = _reader_options(source, format)
    typed: dict[str, Any] = {}
    for key, text in options.items():
        default = known[key].default if key in known else None
        if isinstance(default, bool):
            if text not in ("true", "false"):
                raise InputError(f"workload {source!r}: {key} = {text!r} must be true or false")
            typed[key] = text == "true"
        elif isinstance(default, int):
            typed[key] = _whole(key, text)
        elif isinstance(default, float):
            typed[key] = _real(key, text)
        else:
            typed[key] = text
    return typed
