"""Where the seconds of one step go."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """Seconds of one step, split into parts that sum to it, with their origin and error.

    Each kernel's time beyond its fixed part is charged to what bounds it: to arithmetic, or to memory traffic
    in proportion to its bytes. ``origin`` is measured, calibrated, table or analytical; ``error`` is the
    relative error to expect of ``seconds``, 0.25 meaning a quarter too low or too high.
    """

    weights: float = 0.0  # reading weights
    kv: float = 0.0  # reading the KV cache
    compute: float = 0.0  # arithmetic, and reading and writing activations
    communication: float = 0.0  # collectives between devices, sends between stages
    launches: float = 0.0  # the fixed time of every kernel, whatever its size
    host: float = 0.0  # waiting for the host, plus the engine's own offset, which may be negative
    origin: str = "analytical"
    error: float = 0.25

    @property
    def seconds(self) -> float:
        """Duration of the step: the sum of the six parts."""
        return self.weights + self.kv + self.compute + self.communication + self.launches + self.host
