"""One device split by shares between a prefill stream and a decode stream: their times, and the share to choose.

Source: "Proactive Intra-GPU Disaggregation of Prefill and Decode in LLM Serving" (Nexus), 2025, arXiv:2507.06608; some
of its equations are reconstructed from the prose. Saturations and decay have to come from a stated device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hasten.errors import InputError

SLACK_PREFILL, SLACK_DECODE = 1.3, 1.1  # x the time on the whole device that the other phase may take
KV_SWITCH = 0.7  # share of KV in use from which decodes come first
HYSTERESIS, STEP = 5, 1  # percent


@dataclass(frozen=True, slots=True)
class Demand:
    """What a step of one phase asks of the device: linear layers and attention, FLOPs and bytes."""

    dense_flops: float
    dense_bytes: float
    attention_flops: float
    attention_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitDevice:
    """`compute` (FLOP/s) and `bandwidth` (B/s) of the whole device, as reached.

    A phase on a share r of the device computes at min(r, saturation) + decay (r - saturation)+ of the whole, relative
    to that at r = 1, and draws up to r / `memory_saturation` of the bandwidth.
    """

    compute: float
    bandwidth: float
    prefill_saturation: float = 1.0
    decode_saturation: float = 0.5
    memory_saturation: float = 0.4
    decay: float = 0.1

    def __post_init__(self) -> None:
        if not min(self.compute, self.bandwidth) > 0.0 or not 0.0 <= self.decay <= 1.0:
            raise InputError("compute and bandwidth must be above 0, and decay a share from 0 to 1")
        for name in ("prefill_saturation", "decode_saturation", "memory_saturation"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise InputError(f"{name} is {getattr(self, name)}: it must be a share above 0, at most 1")

    def prefill_seconds(self, work: Demand, share: float, decode: Demand | None = None) -> float:
        """A prefill step on `share` of the device, beside `decode`, which takes its part of the bandwidth."""
        speed = self.compute * _speed(share, self.prefill_saturation, self.decay)
        reach = self.bandwidth * min(1.0, share / self.memory_saturation)
        left = (
            reach
            if decode is None
            else min(reach, self.bandwidth - self._decode_bandwidth(decode, work, share))
        )
        dense = max(work.dense_flops / speed, work.dense_bytes / left)
        return dense + max(work.attention_flops / speed, work.attention_bytes / left)

    def decode_seconds(self, work: Demand, share: float, prefill: Demand | None = None) -> float:
        """A decode step on `share`, beside `prefill` on the rest of the device."""
        speed = self.compute * _speed(share, self.decode_saturation, self.decay)
        reach = self.bandwidth * min(1.0, share / self.memory_saturation)
        if prefill is not None:
            reach = min(reach, self._decode_bandwidth(work, prefill, 1.0 - share))
        dense = max(work.dense_flops / speed, work.dense_bytes / reach)
        return dense + max(work.attention_flops / speed, work.attention_bytes / reach)

    def mixed_seconds(self, prefill: Demand, decode: Demand) -> float:
        """Both in one step on the whole device: linear layers read the weights once."""
        flops = prefill.dense_flops + decode.dense_flops
        weights = max(prefill.dense_bytes, decode.dense_bytes)
        dense = max(flops / self.compute, weights / self.bandwidth)
        return (
            dense
            + max(prefill.attention_flops / self.compute, prefill.attention_bytes / self.bandwidth)
            + max(decode.attention_flops / self.compute, decode.attention_bytes / self.bandwidth)
        )

    def _decode_bandwidth(self, decode: Demand, prefill: Demand, share: float) -> float:
        """B_d: by the share of prefill time in attention, m_d / (m_d + m_p) of the bandwidth against each part."""
        speed = self.compute * _speed(max(share, 0.01), self.prefill_saturation, self.decay)
        attention, dense = prefill.attention_flops / speed, prefill.dense_flops / speed
        in_attention = attention / (attention + dense) if attention + dense > 0.0 else 0.0
        # Bytes that prefill moves while decode moves its own: a compute-bound prefill leaves most of the bus idle.
        own = decode.dense_bytes + decode.attention_bytes
        seconds = own / self.bandwidth
        beside = [
            moved * min(1.0, seconds / (attention + dense)) if attention + dense > 0.0 else moved
            for moved in (prefill.attention_bytes, prefill.dense_bytes)
        ]
        return self.bandwidth * sum(
            part * own / (own + moved)
            for part, moved in zip((in_attention, 1.0 - in_attention), beside, strict=True)
        )


def best_share(device: SplitDevice, prefill: Demand, decode: Demand, *, kv_usage: float, current: int) -> int:
    """Percent of the device for prefill, by the greedy search; `current` unless it moves by more than HYSTERESIS.

    Below KV_SWITCH prefill is as fast as decode's slack allows; above it decode is, as prefill's slack allows.
    """
    if kv_usage < KV_SWITCH:
        limit = SLACK_DECODE * device.decode_seconds(decode, 1.0)

        def holds(percent: int) -> bool:
            return device.decode_seconds(decode, 1 - percent / 100, prefill) <= limit

        found = _greedy(current, holds, grow=STEP)
    else:
        limit = SLACK_PREFILL * device.prefill_seconds(prefill, 1.0)

        def holds(percent: int) -> bool:
            return device.prefill_seconds(prefill, percent / 100, decode) <= limit

        found = _greedy(current, holds, grow=-STEP)
    return found if abs(found - current) > HYSTERESIS else current


def _greedy(start: int, holds: Callable[[int], bool], *, grow: int) -> int:
    """Shrink the target's share until the other phase keeps its slack, then grow it until that is tight."""
    at = start
    while 5 < at < 95 and not holds(at):
        at -= grow
    while 5 < at + grow < 95 and holds(at + grow):
        at += grow
    return min(max(at, 5), 95)


def _speed(share: float, saturation: float, decay: float) -> float:
    """Share of the whole device's arithmetic that a phase reaches on `share` of it."""

    def reached(r: float) -> float:
        return min(r, saturation) + decay * max(0.0, r - saturation)

    return reached(share) / reached(1.0)
