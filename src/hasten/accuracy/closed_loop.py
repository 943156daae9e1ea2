"""Published closed-loop points: deployments under a fixed number of users, simulated as they were measured.

The load generator of InferenceX sends ten requests per user, all users at once at first and each again when it is
answered; lengths are drawn evenly. So a tenth of the requests meets a burst of prefills, and later ones queue behind
whatever their step holds: both are simulated, and the figures compared are means over all requests, the burst included.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from hasten.deployment import Deployment
from hasten.disaggregation import Disaggregated
from hasten.errors import InputError
from hasten.latency.compiled import StepCost
from hasten.models import ModelShape, Quantisation, load_model
from hasten.report import metrics
from hasten.sim.run import simulate
from hasten.workload import Workload
from hasten.workload.columns import ClosedLoop
from hasten.workload.lengths import Uniform
from hasten.workload.synthetic import synthesise

_FILE = Path(__file__).parent / "points" / "inferencex.csv"

REQUESTS_PER_USER = 10
TOKENS_PER_STEP = 8192
"""What InferenceX's launch scripts set for vLLM, whatever the device; other engines keep their defaults."""

_STORED = {
    "fp8": Quantisation("fp8", 8, activation_bits=8),
    "fp4": Quantisation("nvfp4", 4, activation_bits=4, group_size=16, scale_bits=8),
}

Group = tuple[str, str, str, str]
"""Model, device, engine and precision."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One deployment at one concurrency with what was measured (s).

    ``tp`` and ``ep`` are those of the engine, or of each decode worker; the workers are 0 where one engine does both,
    and where they were not recorded.
    """

    model: str
    device: str
    engine: str
    input_tokens: int
    output_tokens: int
    concurrency: int = 1
    ttft: float = math.nan
    tpot: float = math.nan
    version: str = ""
    precision: str = ""  # "": as the model comes
    kv_dtype: str = "auto"
    tp: int = 1
    ep: int = 1
    mode: str = "agg"
    decode_workers: int = 0
    prefill_workers: int = 0
    prefill_tp: int = 0
    prefill_ep: int = 0
    shortest_share: float = 1.0
    measured: str = ""  # date

    @property
    def group(self) -> Group:
        """What its points may share a calibration with: one checkpoint on one device under one engine."""
        return (self.model, self.device, self.engine, self.precision)

    @property
    def is_split(self) -> bool:
        """Whether prefill and decode ran on devices of their own."""
        return self.mode == "disagg"

    @property
    def shape(self) -> ModelShape:
        """The model as it was stored; one that comes quantised otherwise stays as it is."""
        model, stored = load_model(self.model), _STORED.get(self.precision)
        own = model.quantisation
        if stored is None or (own is not None and own.method in ("mxfp4", stored.method)):
            return model
        return replace(model, quantisation=stored)

    @property
    def mean_share(self) -> float:
        """Mean length drawn, as a share of the stated one."""
        return 0.5 * (1.0 + self.shortest_share)

    @property
    def prefill_load(self) -> float:
        """Share of the devices' peak that prefilling alone takes at the measured latencies (Little's law)."""
        deployment = self.deployment()
        rate = self.concurrency / (self.ttft + self.tpot * (self.output_tokens * self.mean_share - 1.0))
        work = deployment.latency.work([(round(self.input_tokens * self.mean_share), 0)])
        peak = deployment.device.peak_flops
        return rate * sum(each.flops / peak(each.dtype) for each in work.kernels)

    def deployment(self, **settings: object) -> Deployment:
        """What was run; ``settings`` add to what is known. Raises InputError when it doesn't fit or is unknown."""
        known: dict[str, object] = {"kv_dtype": self.kv_dtype, "prefix_caching": False}
        if self.engine == "vllm":
            known["max_num_batched_tokens"] = TOKENS_PER_STEP
        sizes = {"tp": self.tp, "ep": self.ep}
        return Deployment.of(self.shape, self.device, **sizes, engine=self.engine, **{**known, **settings})  # type: ignore[arg-type]

    def pools(self) -> Disaggregated:
        """The two pools of a split deployment whose workers were recorded. Raises InputError as `deployment`."""
        prefill = replace(self, tp=self.prefill_tp, ep=self.prefill_ep).deployment(
            replicas=self.prefill_workers
        )
        decode = self.deployment(replicas=self.decode_workers)
        device = decode.device
        is_near = prefill.devices + decode.devices <= (device.link_devices or 1)
        link = device.link if is_near else device.network
        if link is None:
            raise InputError(f"{device.name}: no link between the pools is known")
        return Disaggregated.of(prefill, decode, link)

    def workload(self) -> Workload:
        """The requests of the load generator: drawn lengths, each asked for exactly, ten per user."""
        low = self.shortest_share
        drawn = synthesise(
            ClosedLoop(self.concurrency),
            prompt=Uniform(max(1, int(self.input_tokens * low)), self.input_tokens),
            output=Uniform(max(2, int(self.output_tokens * low)), self.output_tokens),
            num_requests=REQUESTS_PER_USER * self.concurrency,
        )
        return drawn.replaced(max_tokens=drawn.output_tokens)


@dataclass(frozen=True)
class Simulated:
    """What was simulated for a point, in seconds."""

    point: Point
    ttft: float
    tpot: float

    @property
    def ttft_error(self) -> float:
        """Predicted / measured - 1."""
        return self.ttft / self.point.ttft - 1.0

    @property
    def tpot_error(self) -> float:
        """Predicted / measured - 1."""
        return self.tpot / self.point.tpot - 1.0

    @property
    def log_errors(self) -> tuple[float, float]:
        """log(measured / predicted) of TTFT and TPOT."""
        return math.log(self.point.ttft / self.ttft), math.log(self.point.tpot / self.tpot)


@lru_cache(maxsize=1)
def load_points() -> tuple[Point, ...]:
    """All shipped points."""
    with _FILE.open(encoding="utf-8", newline="") as file:
        return tuple(_point(row) for row in csv.DictReader(file))


def _point(row: dict[str, str]) -> Point:
    lengths = ("input_tokens", "output_tokens", "concurrency")
    pools = ("decode_workers", "prefill_workers", "prefill_tp", "prefill_ep")
    text = ("mode", "engine", "version", "model", "device", "precision", "kv_dtype", "measured")
    return Point(
        **{name: row[name] for name in text},  # type: ignore[arg-type]
        **{name: int(row[name]) for name in ("tp", "ep", *lengths, *pools)},  # type: ignore[arg-type]
        shortest_share=float(row["shortest_share"]),
        ttft=float(row["ttft_ms"]) * 1e-3,
        tpot=float(row["tpot_ms"]) * 1e-3,
    )


def simulate_point(
    point: Point, change: Callable[[Deployment], StepCost] | None = None, **settings: object
) -> Simulated:
    """Means of TTFT and TPOT of a point as it was measured; ``change`` gives other step times for its deployment.

    A split deployment is simulated as its two pools. Raises InputError when the model doesn't fit.
    """
    if point.is_split:
        records = simulate(point.pools(), point.workload()).records
    else:
        deployment = point.deployment(**settings)
        cost = deployment.cost if change is None else change(deployment)
        records = simulate(deployment, point.workload(), cost=cost).records
    return Simulated(point, float(np.mean(metrics.ttft(records))), float(np.nanmean(metrics.tpot(records))))


def is_doubtful(point: Point) -> str | None:
    """Why a record can't be what it says, in words; None: it may be.

    Prefills that leave less than a third of the peak for everything else were not all computed (cached prefixes, or
    a batch that was filled before the clock started). Waiting longer than decoding means that the engine held
    sequences back; where the KV cache has room, by a limit that the record doesn't state.
    """
    if point.is_split:
        return None
    if point.prefill_load > 2 / 3:
        return f"prefill alone would take {point.prefill_load:.0%} of the peak"
    deployment = point.deployment()
    longest = point.concurrency * (point.input_tokens + point.output_tokens)
    has_room = longest < deployment.kv.tokens and point.concurrency <= deployment.limits.max_num_seqs
    if has_room and point.ttft > point.tpot * point.output_tokens * point.mean_share:
        return "requests waited longer than they decoded although the KV cache has room for all"
    return None


def by_group(points: Iterable[Point]) -> dict[Group, list[Point]]:
    """Points by group, groups sorted."""
    found: dict[Group, list[Point]] = {}
    for each in points:
        found.setdefault(each.group, []).append(each)
    return dict(sorted(found.items()))
