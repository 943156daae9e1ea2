"""What was fitted to a user's own measurements: a few physical coefficients, how sure they are, and where they hold.

A calibration is a small JSON file. It belongs to one device and one engine, and corrects one kind of step times
(data sheets, measured layers or measured operators); `hasten.calibration` fits it.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from hasten.errors import InputError
from hasten.jsontext import parse_json
from hasten.latency.error import Spread, StepTimeError

FORMAT = 1
"""Version of the file."""

OTHER_MODEL = 0.10
"""Relative error that is added (in squares) when the model or its split is not the one that was measured."""

OUTSIDE = 0.05
"""Relative error that is added (in squares) for every doubling beyond the measured range."""


@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """Corrections of step times. Factors multiply seconds, seconds are added and may be negative.

    The defaults change nothing.
    """

    memory: float = 1.0  # factor on reading and writing device memory
    kv: float = 1.0  # a further factor on attention of decodes
    compute: float = 1.0  # factor on arithmetic
    kernel: float = 1.0  # factor on the fixed time of kernels
    communication: float = 1.0  # factor on messages between devices
    step_seconds: float = 0.0  # added to every step
    mixed_seconds: float = 0.0  # added besides to every step with a prefill
    sequence_seconds: float = 0.0  # added per sequence of a step
    front_end_seconds: float = 0.0  # added per request, before it reaches the engine
    front_end_token_seconds: float = 0.0  # added per prompt token, likewise

    def to_dict(self) -> dict[str, float]:
        """Under keys with units: factors as they are, times in milliseconds and microseconds."""
        return {_KEYS[name][0]: getattr(self, name) * _KEYS[name][1] for name in NAMES}


NAMES = tuple(each.name for each in fields(Coefficients))
FACTORS = ("memory", "kv", "compute", "kernel", "communication")
"""Coefficients that multiply; the others are seconds."""

# name -> (key in files, factor from the value here to the value there)
_KEYS = {
    **{name: (f"{name}_factor", 1.0) for name in FACTORS},
    "step_seconds": ("step_ms", 1e3),
    "mixed_seconds": ("mixed_step_ms", 1e3),
    "sequence_seconds": ("per_sequence_us", 1e6),
    "front_end_seconds": ("front_end_ms", 1e3),
    "front_end_token_seconds": ("front_end_per_prompt_token_us", 1e6),
}

NEUTRAL = Coefficients()


def shown(name: str) -> tuple[str, float, bool]:
    """How a coefficient is shown: its key, the factor on its value, and whether it multiplies."""
    return (*_KEYS[name], name in FACTORS)


def relative_error(spread: Spread) -> float:
    """Relative error that four of five steps stay within: 1.28 standard deviations of a single one."""
    return 1.28 * spread.single


def _widened(spread: Spread, by: float) -> Spread:
    """With a further systematic error of ``by``."""
    return replace(spread, systematic=math.hypot(spread.systematic, by))


@dataclass(frozen=True)
class Range:
    """The measured steps: largest figures seen (0: none of the kind) and smallest decode batch."""

    decodes_low: int = 0
    decodes_high: int = 0
    context_high: int = 0  # tokens in KV per decoding sequence
    prefill_high: int = 0  # prefill tokens in one step

    def doublings_outside(self, prefill_tokens: int, decodes: int, context: float) -> float:
        """How far a step lies outside, in doublings of the figure that is furthest out; 0: inside."""
        ratios = [1.0]
        if decodes:
            ratios.append(decodes / max(self.decodes_high, 1))
            ratios.append(max(self.decodes_low, 1) / decodes)
            ratios.append((context + 64) / (self.context_high + 64))
        if prefill_tokens:
            ratios.append((prefill_tokens + 64) / (self.prefill_high + 64))
        return math.log2(max(ratios))


@dataclass(frozen=True)
class Subject:
    """What was measured, by name; ``split`` is the label of the parallel sizes.

    ``base`` is the kind of step times that were corrected: analytical, layers or operators.
    """

    model: str
    device: str
    split: str
    engine: str  # profile name
    base: str


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Coefficients fitted to measurements of one deployment, with their errors and range.

    ``covariance`` is that of
    the logs of factors and of seconds, in the order of ``NAMES``. ``before`` and ``after`` are mean errors without
    sign of the samples, before and after, ``after`` with each sample left out of its own fit.
    """

    subject: Subject
    coefficients: Coefficients
    covariance: tuple[tuple[float, ...], ...]
    decode: Spread
    prefill: Spread
    range: Range = Range()
    samples: int = 0
    before: float = 0.0
    after: float = 0.0
    residual_quantiles: tuple[tuple[float, float], ...] = ()  # (percentile, relative error left out)
    pool_weights: tuple[
        float, ...
    ] = ()  # base pool: of every kernel (hasten.fewshot.pool), before the coefficients
    inputs: tuple[tuple[str, str, str], ...] = ()  # (name, kind, SHA-256)
    date: str | None = None  # as the caller gave it
    version: str = ""  # of hasten
    notes: tuple[str, ...] = ()

    def check(self, device: str, engine: str) -> None:
        """Raise InputError unless the calibration is of this device and engine (versions may differ)."""
        if device != self.subject.device:
            raise InputError(
                f"calibration is of {self.subject.device}, not {device}: calibrate there, or leave --calibration out"
            )
        if engine.partition("-")[0] != self.subject.engine.partition("-")[0]:
            raise InputError(
                f"calibration is of {self.subject.engine}, not {engine}: calibrate that one, or leave --calibration out"
            )

    def is_of(self, model: str, split: str) -> bool:
        """Whether this very model and split were measured."""
        return (model, split) == (self.subject.model, self.subject.split)

    def spread(self, prefill_tokens: int, decodes: int, context: float, *, model: str, split: str) -> Spread:
        """Error of a step, wider outside the measured range and for another model or split."""
        found = self.prefill if prefill_tokens else self.decode
        doublings = self.range.doublings_outside(prefill_tokens, decodes, context)
        found = found if doublings == 0.0 else _widened(found, OUTSIDE * doublings)
        return found if self.is_of(model, split) else _widened(found, OTHER_MODEL)

    def step_time_error(self, model: str, split: str) -> StepTimeError:
        """Errors of steps inside the measured range, wider for another model or split."""
        decode, prefill = self.decode, self.prefill
        if not self.is_of(model, split):
            decode, prefill = _widened(decode, OTHER_MODEL), _widened(prefill, OTHER_MODEL)
        return StepTimeError(decode, prefill, origin="calibrated", samples=self.samples)

    def to_dict(self) -> dict[str, Any]:
        """As the file holds it."""
        return {
            "hasten_calibration": FORMAT,
            "hasten_version": self.version,
            "date": self.date,
            **asdict(self.subject),
            "inputs": [{"name": n, "kind": k, "sha256": h} for n, k, h in self.inputs],
            "samples": self.samples,
            "coefficients": self.coefficients.to_dict(),
            "covariance_of": [
                f"log of {name}" if name in FACTORS else f"{name} in seconds" for name in NAMES
            ],
            "covariance": [list(row) for row in self.covariance],
            "error_before": self.before,
            "error_left_out": self.after,
            "errors": {
                kind: {"systematic": found.systematic, "residual": found.residual}
                for kind, found in (("decode", self.decode), ("prefill", self.prefill))
            },
            "residual_quantiles": [
                {"percentile": q, "relative_error": error} for q, error in self.residual_quantiles
            ],
            "range": {
                "decodes": [self.range.decodes_low, self.range.decodes_high],
                "context_tokens_per_sequence": self.range.context_high,
                "prefill_tokens": self.range.prefill_high,
            },
            "notes": list(self.notes),
            **({"pool_weights": list(self.pool_weights)} if self.pool_weights else {}),
        }

    def save(self, path: str | Path) -> None:
        """Write the file, in full or not at all."""
        from hasten.report.files import write_text

        write_text(Path(path), json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")


def load_calibration(path: str | Path) -> Calibration:
    """Read a file that `Calibration.save` wrote. Raises InputError naming the file and what is wrong in it."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: can't be read as a calibration: {reason}") from None
    try:
        raw = parse_json(text)
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}): write it again with `hasten calibrate`") from None
    if not isinstance(raw, dict) or raw.get("hasten_calibration") != FORMAT:
        raise InputError(f"{path}: no calibration of format {FORMAT}: write it with `hasten calibrate --out`")
    try:
        return _read(raw)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        reason = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: {reason}: write it again with `hasten calibrate`") from None


def _read(raw: dict[str, Any]) -> Calibration:
    given = raw["coefficients"]
    known = {key: (name, scale) for name, (key, scale) in _KEYS.items()}
    values = {known[key][0]: _number(value, key) / known[key][1] for key, value in given.items()}
    for name in FACTORS:
        if not 1e-3 < values.get(name, 1.0) < 1e3:
            raise ValueError(f"{name}_factor is {values[name]:g}, outside 0.001 to 1000")
    covariance = tuple(tuple(_number(each, "covariance") for each in row) for row in raw["covariance"])
    if len(covariance) != len(NAMES) or any(len(row) != len(NAMES) for row in covariance):
        raise ValueError(f"covariance is not {len(NAMES)} by {len(NAMES)}")
    errors, span = raw["errors"], raw["range"]
    decode, prefill = (
        Spread(_share(errors[kind]["systematic"], kind), _share(errors[kind]["residual"], kind))
        for kind in ("decode", "prefill")
    )
    return Calibration(
        subject=Subject(*(str(raw[each.name]) for each in fields(Subject))),
        coefficients=replace(NEUTRAL, **values),
        covariance=covariance,
        decode=decode,
        prefill=prefill,
        range=Range(
            int(span["decodes"][0]),
            int(span["decodes"][1]),
            int(span["context_tokens_per_sequence"]),
            int(span["prefill_tokens"]),
        ),
        samples=int(raw["samples"]),
        before=_share(raw["error_before"], "error_before"),
        after=_share(raw["error_left_out"], "error_left_out"),
        residual_quantiles=tuple(
            (float(each["percentile"]), float(each["relative_error"])) for each in raw["residual_quantiles"]
        ),
        pool_weights=tuple(_number(each, "pool_weights") for each in raw.get("pool_weights", ())),
        inputs=tuple((each["name"], each["kind"], each["sha256"]) for each in raw["inputs"]),
        date=raw["date"],
        version=str(raw["hasten_version"]),
        notes=tuple(map(str, raw["notes"])),
    )


def _number(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{key} is {value!r}, not a finite number")
    return float(value)


def _share(value: Any, key: str) -> float:
    found = _number(value, key)
    if found < 0.0:
        raise ValueError(f"{key} is {found:g}, below 0")
    return found
