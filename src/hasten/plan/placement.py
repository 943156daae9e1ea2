"""Placement of prefill and decode: how each is split, and how many instances of each, by goodput per device.

Goodput is the highest rate (requests/s) at which the share of requests asked for meets its limits. The search takes
it as a function or a table: from simulations, or measured.

Source: "DistServe: Disaggregating Prefill and Decoding for Goodput-optimized Large Language Model Serving", OSDI 2024,
arXiv:2401.09670, algorithms 1 and 2 and the queues of section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hasten.errors import InputError


@dataclass(frozen=True, slots=True, order=True)
class Split:
    """One instance over `tp` x `pp` devices."""

    tp: int = 1
    pp: int = 1

    @property
    def devices(self) -> int:
        """Devices of the instance."""
        return self.tp * self.pp


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Instances of both phases, and the rate (requests/s) they carry together."""

    prefill: Split
    num_prefill: int
    decode: Split
    num_decode: int
    rate: float

    @property
    def devices(self) -> int:
        """Devices of all instances."""
        return self.num_prefill * self.prefill.devices + self.num_decode * self.decode.devices

    @property
    def rate_per_device(self) -> float:
        """Requests/s and device."""
        return self.rate / self.devices


def splits(heads: int, layers: int, most: int) -> list[Split]:
    """All splits of up to `most` devices: tp divides the KV heads or heads given, pp the layers."""
    return [
        Split(tp, pp)
        for tp in range(1, most + 1)
        if heads % tp == 0
        for pp in range(1, most // tp + 1)
        if layers % pp == 0
    ]


def place(rate: float, prefill: Mapping[Split, float], decode: Mapping[Split, float]) -> Placement:
    """Algorithm 1, for links that hardly cost: each phase by its own best goodput per device, then enough of each.

    `prefill` and `decode` are goodputs of one instance (requests/s) by split. Raises InputError when no split of a
    phase has any.
    """
    if not rate > 0.0:
        raise InputError(f"rate is {rate}: it must be above 0 requests/s")
    first, second = _best(prefill, "prefill"), _best(decode, "decode")
    num_prefill, num_decode = math.ceil(rate / prefill[first]), math.ceil(rate / decode[second])
    return Placement(
        prefill=first,
        num_prefill=num_prefill,
        decode=second,
        num_decode=num_decode,
        rate=min(num_prefill * prefill[first], num_decode * decode[second]),
    )


def place_near(
    rate: float, goodput: Callable[[Split, Split], float], *, heads: int, layers: int, node_devices: int
) -> Placement:
    """Algorithm 2, for slow links between nodes: stages of both phases that hold the same layers share a node.

    The model is cut into segments of equal layers, one node each; in a node the segment's stages of both phases fit:
    tp_p pp_p + tp_d pp_d <= node_devices. `goodput(prefill, decode)` is that of a pair whose pipelines run over all
    segments. Raises InputError when no pair has any.
    """
    if not rate > 0.0:
        raise InputError(f"rate is {rate}: it must be above 0 requests/s")
    found: list[tuple[float, Split, Split]] = []
    for segments in range(1, layers + 1):
        if layers % segments:
            continue
        inside = splits(heads, layers // segments, node_devices - 1)
        for first in inside:
            for second in inside:
                if first.devices + second.devices <= node_devices:
                    pair = Split(first.tp, first.pp * segments), Split(second.tp, second.pp * segments)
                    found.append((goodput(*pair), *pair))
    score, first, second = max(
        found, key=lambda each: each[0] / (each[1].devices + each[2].devices), default=(0.0, Split(), Split())
    )
    if not score > 0.0:
        raise InputError("no pair of splits meets the limits at any rate: loosen them, or use faster devices")
    pairs = math.ceil(rate / score)
    return Placement(prefill=first, num_prefill=pairs, decode=second, num_decode=pairs, rate=pairs * score)


def best_ratio(
    goodput: Callable[[int, int], float], most: int, ratios: Iterable[tuple[int, int]] | None = None
) -> tuple[int, int]:
    """Numbers of prefill and decode instances (one device each) with the highest goodput per instance.

    All pairs without a common divisor of up to `most` instances together, or those given; of equals the smallest.
    """
    if most < 2:
        raise InputError(f"most is {most}: two pools need at least 2 instances")
    tried = ratios or [
        (one, total - one)
        for total in range(2, most + 1)
        for one in range(1, total)
        if math.gcd(one, total) == 1
    ]
    return max(tried, key=lambda pair: goodput(*pair) / sum(pair))


def mean_ttft(step: float, rate: float, *, speed_up: float = 1.0, pp: int = 1) -> float:
    """Mean TTFT (s) of equal prompts of `step` seconds at Poisson `rate`, one at a time: an M/D/1 queue.

    D/K + R D^2 / (2 K (K - R D)) when tensor parallelism makes the step K = `speed_up` times as fast; D + R D^2 /
    (2 PP (PP - R D)) in a pipeline of PP equal stages. Infinite at or above the capacity.
    """
    speed = speed_up * pp
    if rate * step >= speed:
        return math.inf
    return step / speed_up + rate * (step / speed) ** 2 / (2 * (1 - rate * step / speed))


def pipeline_ttft(
    arrivals: Sequence[float],
    prompts: Sequence[int],
    seconds: Callable[[list[int]], float],
    *,
    stages: int,
    saturation: int,
) -> list[float]:
    """TTFT (s) of each prompt in a pipeline of `stages`, first come, first served.

    Stage one takes whole prompts up to `saturation` tokens together (at least one); a batch of them takes
    `seconds(batch)` at every stage and waits where the batch before is still there.
    """
    free = [0.0] * stages
    found: list[float] = []
    at = 0
    while at < len(arrivals):
        now = max(free[0], arrivals[at])
        batch = [prompts[at]]
        for other in range(at + 1, len(arrivals)):
            if arrivals[other] > now or sum(batch) + prompts[other] > saturation:
                break
            batch.append(prompts[other])
        each = seconds(batch)
        for stage in range(stages):
            now = free[stage] = max(now, free[stage]) + each
        found.extend(now - arrivals[row] for row in range(at, at + len(batch)))
        at += len(batch)
    return found


def _best(goodputs: Mapping[Split, float], phase: str) -> Split:
    found = max(goodputs, key=lambda split: goodputs[split] / split.devices, default=None)
    if found is None or not goodputs[found] > 0.0:
        raise InputError(
            f"no split of {phase} meets the limits at any rate: loosen them, or use faster devices"
        )
    return found
