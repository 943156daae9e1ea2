"""Flags that describe a deployment, and the deployment they make."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from hasten.cli.options import values
from hasten.deployment import KV_DTYPES, STEP_TIMES, Deployment
from hasten.errors import InputError

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_OWN_FLAGS = {
    "kv_dtype": "--kv-dtype",
    "kv_cache_tokens": "--kv-cache-tokens",
    "host_kv_bytes": "--host-kv",
    "step_times": "--latency",
    "calibration": "--calibration",
}


def add_model(parser: ArgumentParser, *, default: str | None = None) -> None:
    """The positional MODEL."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs=None if default is None else "?",
        default=default,
        help="built-in name, Hugging Face id of one, config.json, or a directory that holds one"
        + ("" if default is None else f" (default {default})"),
    )


def add_engine(parser: ArgumentParser, *, several: bool = False) -> None:
    """Flags of the engine and its settings; with `several`, --engine takes a comma list."""
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--engine",
        type=values.items if several else str,
        metavar="NAME,..." if several else "NAME",
        default=["vllm"] if several else "vllm",
        help="profile name or .toml file (see `hasten engines`; default vllm)",
    )
    group.add_argument(
        "--kv-dtype",
        choices=sorted(KV_DTYPES),
        metavar="TYPE",
        help=f"KV cache type: {', '.join(sorted(KV_DTYPES))}",
    )
    group.add_argument(
        "--kv-cache-tokens",
        type=values.count,
        metavar="N",
        help="KV capacity of one replica in tokens, as the engine logged it, instead of the computed one",
    )
    group.add_argument(
        "--host-kv",
        dest="host_kv_bytes",
        type=values.size,
        metavar="SIZE",
        help="host memory of one replica for KV that leaves the devices, such as 64GiB",
    )
    group.add_argument(
        "--latency",
        dest="step_times",
        choices=STEP_TIMES,
        metavar="SOURCE",
        help="step times from measured layers or operators (table), data sheets (analytical), data sheets as "
        "measured devices correct them (pool), or measured layers where there are any and data sheets elsewhere "
        "(auto, the default)",
    )
    group.add_argument(
        "--calibration",
        metavar="FILE",
        help="step times corrected by what `hasten calibrate` measured on this device and engine",
    )
    group.add_argument(
        "--set",
        action="append",
        type=values.assignment,
        default=[],
        metavar="KEY=VALUE",
        help=f"an engine setting, may be repeated: {', '.join(setting_names())}",
    )
    group.add_argument(
        "--prices",
        metavar="FILE",
        help="price file (.toml) that replaces the built-in prices, entry by entry",
    )


def add_split(parser: ArgumentParser, *, required: bool = True) -> None:
    """Flags of one deployment: device (`required` or not), parallel sizes, replicas."""
    group = parser.add_argument_group("deployment")
    group.add_argument(
        "--device",
        required=required,
        metavar="NAME",
        help="built-in name or alias (see `hasten devices`), or a .toml file",
    )
    for name, what in (
        ("tp", "tensor parallel size"),
        ("pp", "pipeline parallel size"),
        ("dp", "data parallel size within a replica"),
        ("ep", "expert parallel size: 1, or tp x dp"),
    ):
        group.add_argument(f"--{name}", type=values.count, default=1, metavar="N", help=f"{what} (default 1)")
    group.add_argument(
        "--replicas", type=values.count, default=1, metavar="N", help="equal replicas (default 1)"
    )


def setting_names() -> list[str]:
    """What `--set` takes: the keyword settings of a Deployment, less those with a flag of their own."""
    return [
        each.name for each in dataclasses.fields(Deployment) if each.kw_only and each.name not in _OWN_FLAGS
    ]


def settings_of(args: Namespace) -> dict[str, Any]:
    """The engine settings given by flags, as keywords of `Deployment.of`. Raises InputError."""
    given = read_settings(args.set)
    for name in _OWN_FLAGS:
        if getattr(args, name) is not None:
            given[name] = getattr(args, name)
    return given


def read_settings(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """`--set` pairs as values of the right type. Raises InputError for unknown or repeated keys and other types."""
    given: dict[str, Any] = {}
    kinds = typing.get_type_hints(Deployment)
    for key, text in pairs:
        if key in _OWN_FLAGS:
            raise InputError(
                f"--set {key}={text}: this setting has a flag of its own: use {_OWN_FLAGS[key]} {text}"
            )
        if key not in setting_names():
            raise InputError(f"--set {key}={text}: setting {key!r} is unknown: {_near(key)}")
        if key in given:
            raise InputError(f"--set {key}={text}: {key} is set twice")
        given[key] = _read(kinds[key], text, f"--set {key}={text}")
    return given


def _near(key: str) -> str:
    known = setting_names()
    close = difflib.get_close_matches(key, known, 1)
    return f"did you mean {close[0]}?" if close else f"use one of {', '.join(known)}"


def _read(kind: Any, text: str, where: str) -> Any:
    """`text` as the first type of a union that is not None."""
    kinds = [part for part in typing.get_args(kind) or (kind,) if part is not type(None)]
    if kinds[0] is bool:
        if text.lower() not in _WORDS:
            raise InputError(f"{where}: {text!r} is neither true nor false")
        return _WORDS[text.lower()]
    try:
        return kinds[0](text)
    except ValueError:
        wanted = "a whole number" if kinds[0] is int else "a number"
        raise InputError(f"{where}: {text!r} is not {wanted}") from None


def deployment_of(args: Namespace, **replaced: Any) -> Deployment:
    """The deployment that the flags describe; `replaced` stands in for flags of the same name. Raises InputError."""
    given: Mapping[str, Any] = {**vars(args), **replaced}
    from hasten.hardware import load_device

    return Deployment.of(
        given["model"],
        load_device(given["device"], prices=given["prices"]),
        engine=given["engine"],
        **{name: given[name] for name in ("tp", "pp", "dp", "ep", "replicas")},
        **{**settings_of(args), **replaced.get("settings", {})},
    )
