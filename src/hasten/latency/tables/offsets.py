"""Signed seconds that a step takes beyond its measured layers, by device and engine: `data/offsets.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from hasten.hardware.datafile import Fields, read_toml
from hasten.latency.tables.layers import DATA


@dataclass(frozen=True)
class Offsets:
    """Seconds per step and, besides, per step with a prefill; ``error`` is what a step is still off by, relatively.

    ``lockstep_step`` is added to every step of data-parallel ranks that step together: their hosts agree on each
    step's size, and the slowest rank's experts decide. A residual fitted to a recorded run, not a model of either.
    """

    every_step: float
    mixed_step: float
    origin: str
    error: float
    lockstep_step: float = 0.0


@lru_cache(maxsize=1)
def _all() -> dict[tuple[str, str], Offsets]:
    path = DATA / "offsets.toml"
    table = Fields(read_toml(path), str(path))
    found = {}
    for row in table.tables("offsets"):
        key = (row.text("device", example="h100-sxm"), row.text("engine", example="vllm-0.19"))
        found[key] = Offsets(
            every_step=row.number("every_step_ms", 0.0, low=-100.0, high=100.0) * 1e-3,
            mixed_step=row.number("mixed_step_ms", 0.0, low=-100.0, high=100.0) * 1e-3,
            origin=row.text("origin", example="fitted to ..."),
            error=row.number("error", 0.1, low=0.0, high=1.0),
            lockstep_step=row.number("lockstep_step_ms", 0.0, low=-100.0, high=100.0) * 1e-3,
        )
        row.finish()
    table.finish()
    return found


def find_offsets(device: str, engine: str) -> Offsets | None:
    """The offsets fitted for an engine profile on a device; None: nothing was."""
    return _all().get((device, engine))
