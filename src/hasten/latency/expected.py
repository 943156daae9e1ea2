"""Errors to expect of step times that nobody calibrated, by where they come from: `errors.toml`, from held-out data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hasten.errors import InputError
from hasten.hardware.datafile import Fields, read_toml
from hasten.latency.error import Spread, StepTimeError

_FILE = Path(__file__).parent / "errors.toml"

TESTED_CAPABILITIES = ("9", "10")
"""Major compute capabilities of the devices whose published deployments stand behind the errors of data sheets."""

UNTESTED = 1.5
"""Factor on the spreads of a device of another kind: a judgement, as nothing was measured there."""


@dataclass(frozen=True)
class Expected:
    """Errors of one kind of step times, ``layers`` or ``analytical``, of dense models or of mixtures of experts."""

    error: StepTimeError
    source: str


@lru_cache(maxsize=1)
def _all() -> dict[tuple[str, str], Expected]:
    table = Fields(read_toml(_FILE), str(_FILE))
    found = {}
    for row in table.tables("errors"):
        key = (row.text("base", example="analytical"), row.text("kind", example="dense"))
        spreads = {
            name: Spread(
                row.number(f"{name}_systematic", low=0.0, high=10.0),
                row.number(f"{name}_residual", low=0.0, high=10.0),
            )
            for name in ("decode", "prefill")
        }
        error = StepTimeError(
            **spreads,
            origin=row.text("origin", example="analytical"),
            samples=row.integer("samples", low=0),
            correlation=row.number("correlation", low=-1.0, high=1.0),
        )
        found[key] = Expected(error, row.text("source", example="held-out points of ..."))
        row.finish()
    table.finish()
    return found


def expected_error(base: str, *, is_mixture: bool) -> Expected:
    """Errors of step times that come from measured ``layers``, from ``operators`` or are ``analytical``.

    Steps combined from operator tables were not found to be better than data sheets on published deployments, so
    they carry the same error. Raises InputError for another base.
    """
    names = {"layers": "layers", "operators": "analytical", "analytical": "analytical"}
    if base not in names:
        raise InputError(f"step times from {base!r} have no known error: use one of {', '.join(names)}")
    return _all()[names[base], "experts" if is_mixture else "dense"]
