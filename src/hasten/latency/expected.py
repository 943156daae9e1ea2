"""Errors to expect of step times that nobody calibrated, by where they come from: `errors.toml`, from held-out data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hasten.errors import InputError
from hasten.hardware import Device
from hasten.hardware.datafile import Fields, read_toml
from hasten.latency.error import Spread, StepTimeError

_FILE = Path(__file__).parent / "errors.toml"

UNTESTED = 1.5
"""Least factor on the spreads of a device generation that nothing was measured on: a judgement."""


@dataclass(frozen=True)
class Expected:
    """Errors of one kind of step times, ``layers`` or ``analytical``, of dense models or of mixtures of experts.

    ``measured`` are the kinds of deployments that stand behind them (see `kind_of`; empty: kinds make no difference),
    ``unseen`` the factor on all spreads under which every one of these would be covered had it been left out.
    """

    error: StepTimeError
    source: str
    measured: tuple[str, ...] = ()
    unseen: float = 1.0

    def widening(self, device: Device, weight_bits: float) -> float:
        """Factor on the spreads of weights of so many bits on ``device``: 1 where such were measured."""
        if not self.measured or kind_of(device, weight_bits) in self.measured:
            return 1.0
        return self.unseen if self.knows(device) else max(self.unseen, UNTESTED)

    def knows(self, device: Device) -> bool:
        """Whether anything was measured on a device of this generation."""
        return any(each.partition("/")[0] == _generation(device) for each in self.measured)


def kind_of(device: Device, weight_bits: float) -> str:
    """Generation of a device (major compute capability) and bits of a weight: what decides which kernels run."""
    return f"{_generation(device)}/{weight_bits:g}"


def _generation(device: Device) -> str:
    return (device.compute_capability or "").partition(".")[0]


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
        source = row.text("source", example="held-out points of ...")
        found[key] = Expected(error, source, row.texts("measured"), row.number("unseen", 1.0, low=1.0))
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
