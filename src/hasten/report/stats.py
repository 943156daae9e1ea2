"""What a run counts about its replicas, as plain numbers a driver adds to while it runs (no numpy here)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields


@dataclass(slots=True)
class HostStats:
    """What the host memory of one replica, or of all together, did for its KV: blocks, tokens, bytes and seconds."""

    num_blocks: int = 0
    loads: int = 0  # requests whose prefix came from there, in part or all of it
    loaded_tokens: int = 0
    loaded_bytes: float = 0.0
    load_wait_seconds: float = 0.0  # from admission until the KV was there, summed over loads
    link_busy_seconds: float = 0.0  # time with a load under way
    written_bytes: float = 0.0  # to host memory
    bandwidth: float = 0.0  # of the link, B/s in one direction

    def write_share(self, seconds: float) -> float:
        """Share of `seconds` that the link needs for the writes; above 1 it can't keep up. NaN without a link."""
        return _share(self.written_bytes, self.bandwidth * seconds)


def total(parts: Sequence[HostStats]) -> HostStats:
    """Several host memories as one."""
    return HostStats(*(sum(getattr(part, each.name) for part in parts) for each in fields(HostStats)))


@dataclass(slots=True)
class ReplicaStats:
    """Counters of one replica. Times in seconds of the run's clock, KV in blocks."""

    num_blocks: int = 0  # KV blocks the replica has
    busy_seconds: float = 0.0  # time with a step running
    steps: int = 0
    decode_tokens: int = 0  # tokens computed in decode, one per sequence and step
    kv_block_seconds: float = 0.0  # integral over time of the blocks held by running requests
    kv_peak_blocks: int = 0  # most blocks held at once
    host: HostStats | None = None  # where host memory is a second tier of KV

    def utilisation(self, seconds: float) -> float:
        """Share of `seconds` with a step running, 0 to 1; NaN for no time at all."""
        return _share(self.busy_seconds, seconds)

    def kv_mean_share(self, seconds: float) -> float:
        """Share of the KV cache in use, averaged over `seconds`, 0 to 1; NaN without a cache or time."""
        return _share(self.kv_block_seconds, self.num_blocks * seconds)

    @property
    def kv_peak_share(self) -> float:
        """Largest share of the KV blocks held at once, 0 to 1; NaN without a cache."""
        return _share(self.kv_peak_blocks, self.num_blocks)

    @property
    def mean_batch(self) -> float:
        """Decoding sequences per step, averaged over all steps; NaN without a step."""
        return _share(self.decode_tokens, self.steps)


@dataclass(slots=True)
class RunStats:
    """Counters of a run: one entry per replica, the simulated time and the time the simulation took.

    `wall_seconds` differs from run to run and so appears in no result that must be reproducible.
    """

    replicas: list[ReplicaStats] = field(default_factory=list)
    simulated_seconds: float = 0.0  # first arrival to last event
    wall_seconds: float = 0.0

    @property
    def host(self) -> HostStats | None:
        """What the host memory of all replicas did together; None where there is none."""
        parts = [replica.host for replica in self.replicas if replica.host is not None]
        return total(parts) if parts else None

    @property
    def mean_batch(self) -> float:
        """Decoding sequences per step, averaged over the steps of all replicas; NaN without a step."""
        return _share(sum(r.decode_tokens for r in self.replicas), sum(r.steps for r in self.replicas))


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")
