"""A scenario: what the live page plays, as a handful of bounded values that fit in an address or a small file.

Names are chosen from lists that the program made: what is built in, and what the user named on the command line. So no
request can make the program read another file.
"""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hasten.deployment import KV_DTYPES
from hasten.errors import InputError
from hasten.hardware import device_names
from hasten.jsontext import parse_json
from hasten.models import model_names
from hasten.policies import policy_names
from hasten.profiles import profile_names
from hasten.workload.samples import sample_names

MOST_REQUESTS = 20_000
NOBODY = "none"  # no length predictor
FILE_BYTES = 16_384

Value = str | int | float | None


@dataclass(frozen=True, kw_only=True)
class Control:
    """One value of a scenario: its limits, and how a page lets it be moved. A `log` slider moves by factors."""

    name: str
    label: str
    group: str
    options: tuple[str, ...] = ()  # a choice among these, where there are any
    low: float = -math.inf
    high: float = math.inf
    is_whole: bool = False
    is_optional: bool = False  # None: the engine's default, or no limit
    unit: str = ""
    log: bool = False

    def read(self, value: Any) -> Value:
        """The value if it can be. Raises InputError."""
        if value is None and self.is_optional:
            return None
        if self.options:
            if not isinstance(value, str) or value not in self.options:
                raise InputError(
                    f"{self.name} is {str(value)[:60]!r}: choose one of {len(self.options)} listed"
                )
            return value
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not self.low <= value <= self.high
        ):
            raise InputError(f"{self.name} is {str(value)[:60]!r}: give {self.low:g} to {self.high:g}")
        if self.is_whole:
            if value != int(value):
                raise InputError(f"{self.name} is {value!r}: give a whole number")
            return int(value)
        return float(value)

    def to_dict(self) -> dict[str, Any]:
        """What a page needs to draw it."""
        return dataclasses.asdict(self)


DEFAULTS: Mapping[str, Value] = {
    "model": "llama-3.1-8b",
    "device": "h100-sxm",
    "tp": "1",
    "replicas": 1,
    "workload": "azure-conv",
    "rate_req_per_s": 8.0,
    "requests": 2_000,
    "seed": 0,
    "ttft_ms": 1_000.0,
    "tpot_ms": 50.0,
    "e2e_ms": None,
    "engine": "vllm",
    "kv_dtype": "auto",
    "max_num_seqs": None,
    "max_num_batched_tokens": None,
    "schedule": "fcfs",
    "route": "round_robin",
    "cache": "lru",
    "length": NOBODY,
}


_NUMBERS = (
    Control(name="replicas", label="replicas", group="deployment", low=1, high=64, is_whole=True, log=True),
    Control(name="rate_req_per_s", label="rate", group="traffic", low=0.01, high=1e3, unit="req/s", log=True),
    Control(
        name="requests",
        label="requests",
        group="traffic",
        low=10,
        high=MOST_REQUESTS,
        is_whole=True,
        log=True,
    ),
    Control(name="seed", label="seed", group="traffic", low=0, high=10_000, is_whole=True),
    Control(
        name="ttft_ms", label="TTFT", group="limits", low=1, high=6e5, unit="ms", is_optional=True, log=True
    ),
    Control(
        name="tpot_ms", label="TPOT", group="limits", low=0.1, high=6e4, unit="ms", is_optional=True, log=True
    ),
    Control(
        name="e2e_ms", label="E2E", group="limits", low=1, high=3.6e6, unit="ms", is_optional=True, log=True
    ),
    Control(
        name="max_num_seqs",
        label="sequences",
        group="engine",
        low=1,
        high=8192,
        is_whole=True,
        is_optional=True,
        log=True,
    ),
    Control(
        name="max_num_batched_tokens",
        label="tokens per step",
        group="engine",
        low=64,
        high=131_072,
        is_whole=True,
        is_optional=True,
        log=True,
    ),
)


def controls(extra: Mapping[str, Sequence[str]] | None = None) -> tuple[Control, ...]:
    """Every value of a scenario; `extra` are names that the user gave, by control: files among them."""
    choices = (
        ("model", "model", "deployment", model_names()),
        ("device", "device", "deployment", device_names()),
        ("tp", "tensor parallel", "deployment", ("1", "2", "4", "8", "16")),
        ("workload", "workload", "traffic", sample_names()),
        ("engine", "engine", "engine", ("vllm", *profile_names())),  # vllm: its newest
        ("kv_dtype", "KV type", "engine", sorted(KV_DTYPES)),
        ("schedule", "schedule", "policies", policy_names("schedule")),
        ("route", "route", "policies", policy_names("route")),
        ("cache", "cache", "policies", policy_names("cache")),
        ("length", "answer lengths", "policies", (NOBODY, *policy_names("length"))),
    )
    found = {control.name: control for control in _NUMBERS}
    for name, label, group, known in choices:
        options = tuple(dict.fromkeys((*(extra or {}).get(name, ()), *known)))
        found[name] = Control(name=name, label=label, group=group, options=options)
    return tuple(found[name] for name in DEFAULTS)


def scenario(given: Any, known: Sequence[Control]) -> dict[str, Value]:
    """Every value, those not given at their default. Raises InputError for unknown names and values out of bounds."""
    if not isinstance(given, dict):
        raise InputError("a scenario is an object of names and values")
    names = [control.name for control in known]
    for name in given:
        if name not in names:
            raise InputError(f"scenario names {str(name)[:60]!r}: known are {', '.join(names)}")
    return {control.name: control.read(given.get(control.name, DEFAULTS[control.name])) for control in known}


def load_scenario(path: Path) -> dict[str, Any]:
    """What a file that the page saved holds, to be checked by `scenario`. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size > FILE_BYTES:
        raise InputError(f"{path}: {path.stat().st_size:,} bytes, a scenario has at most {FILE_BYTES:,}")
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not a scenario: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: not a scenario: expected an object of names and values")
    return found


def command(values: Mapping[str, Value]) -> str:
    """The `hasten simulate` line that plays the same."""
    words = ["hasten", "simulate", str(values["model"])]
    flags = {"device": "--device", "tp": "--tp", "replicas": "--replicas", "workload": "--workload"}
    flags |= {"rate_req_per_s": "--rate", "requests": "--limit", "seed": "--seed", "engine": "--engine"}
    flags |= {"kv_dtype": "--kv-dtype", "schedule": "--schedule", "route": "--route", "cache": "--cache"}
    always = ("device", "workload", "rate_req_per_s", "requests")
    for name, flag in flags.items():
        if name in always or values[name] != DEFAULTS[name]:
            words += [flag, _text(values[name])]
    if values["length"] != NOBODY:
        words += ["--length", str(values["length"])]
    for name in ("ttft", "tpot", "e2e"):
        if values[f"{name}_ms"] is not None:
            words += [f"--{name}", f"{_text(values[f'{name}_ms'])}ms"]
    for name in ("max_num_seqs", "max_num_batched_tokens"):
        if values[name] is not None:
            words += ["--set", f"{name}={values[name]}"]
    return shlex.join(words)


def _text(value: Value) -> str:
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
