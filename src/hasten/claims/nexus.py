"""One device split by shares between prefill and decode, against chunked prefill; what the order alone brings."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from hasten.claims.harness.claim import Claim, Curve, Falsifier, Findings, Paper, Progress, Region, gain
from hasten.claims.harness.estimate import Estimate
from hasten.claims.harness.play import highest_rate
from hasten.latency.split_device import Demand, SplitDevice, best_share
from hasten.models import load_model
from hasten.policies.schedule.nexus import Nexus
from hasten.workload import stream

# An L20 as reached: 60 % of 119 TFLOP/s, 80 % of 864 GB/s; room for 200,000 tokens of KV beside the weights.
DEVICE = SplitDevice(compute=70e12, bandwidth=690e9)
PROPORTIONAL = replace(DEVICE, decode_saturation=1.0, memory_saturation=1.0, decay=1.0)
KV_TOKENS, BUDGET, REQUESTS = 200_000, 2048, 300
# Conversations and long documents: mean prompt and answer in tokens, share of requests.
MIXED = ((496, 97, 0.6), (5905, 180, 0.4))
SIGMA, CAP, RATE = 0.6, 0.2, 0.8  # of lengths; s per output token, mean; requests/s
MODEL = load_model("llama-3.1-8b")
LAYER_FLOPS = 4.0 * sum(each.count * each.attention.heads * each.attention.head_dim for each in MODEL.layers)
KV_BYTES = float(MODEL.kv_bytes_per_token(2.0))


@dataclass(slots=True)
class Job:
    """One request on its way."""

    arrival: float
    prompt: int
    output: int
    number: int = 0
    done: int = 0
    first: float = math.nan
    finish: float = math.nan


def prefill_demand(tokens: int, context: int) -> Demand:
    """A chunk behind `context` tokens."""
    parameters = float(MODEL.active_parameters)
    pairs = tokens * (context + tokens / 2)
    return Demand(2 * parameters * tokens, 2 * parameters, LAYER_FLOPS * pairs, KV_BYTES * (context + tokens))


def decode_demand(count: int, context: int) -> Demand:
    """A token of `count` sequences with `context` tokens in KV together."""
    parameters = float(MODEL.active_parameters)
    return Demand(2 * parameters * count, 2 * parameters, LAYER_FLOPS * context, KV_BYTES * context)


@dataclass
class Engine:
    """Queue, KV and decodes; `order` ranks the queue. Times in seconds."""

    order: Callable[[Job], float]
    jobs: list[Job]
    queue: list[tuple[float, int, Job]] = field(default_factory=list)
    under_way: Job | None = None
    decoding: list[tuple[int, int, Job]] = field(default_factory=list)  # by the step after which they end
    context: int = 0
    clock: int = 0
    used: int = 0
    at: int = 0

    def arrive(self, now: float) -> None:
        """Take in what has come."""
        while self.at < len(self.jobs) and self.jobs[self.at].arrival <= now:
            job = self.jobs[self.at]
            heapq.heappush(self.queue, (self.order(job), self.at, job))
            self.at += 1

    @property
    def next_arrival(self) -> float:
        """When the next request comes (s)."""
        return self.jobs[self.at].arrival if self.at < len(self.jobs) else math.inf

    def chunk(self, budget: int) -> tuple[Job, int] | None:
        """The next chunk of one prompt, and its tokens; None when nothing waits or fits."""
        if self.under_way is None:
            if not self.queue or self.used + self.queue[0][2].prompt + self.queue[0][2].output > KV_TOKENS:
                return None
            self.under_way = heapq.heappop(self.queue)[2]
            self.used += self.under_way.prompt + self.under_way.output
        return self.under_way, min(budget, self.under_way.prompt - self.under_way.done)

    def computed(self, job: Job, tokens: int, now: float, *, mid_step: bool = False) -> None:
        """A chunk is done; with the last one the request has its first token and decodes, from the next step on."""
        job.done += tokens
        if job.done < job.prompt:
            return
        self.under_way, job.first = None, now
        if job.output == 1:
            self._end(job, now)
        else:
            heapq.heappush(self.decoding, (self.clock + mid_step + job.output - 1, job.number, job))
            self.context += job.prompt + 1

    def decoded(self, count: int, now: float) -> None:
        """A decode step of `count` sequences is done."""
        self.clock += 1
        self.context += count
        while self.decoding and self.decoding[0][0] <= self.clock:
            job = heapq.heappop(self.decoding)[2]
            self.context -= job.prompt + job.output
            self._end(job, now)

    def _end(self, job: Job, now: float) -> None:
        job.finish = now
        self.used -= job.prompt + job.output


def chunked(engine: Engine, device: SplitDevice) -> None:
    """Steps of all decodes and chunks up to the budget, on the whole device."""
    now = 0.0
    while True:
        engine.arrive(now)
        count = len(engine.decoding)
        taken = engine.chunk(BUDGET - count)
        if not count and taken is None:
            if engine.next_arrival == math.inf:
                return
            now = engine.next_arrival
            continue
        decode = decode_demand(count, engine.context) if count else Demand(0.0, 0.0, 0.0, 0.0)
        prefill = prefill_demand(taken[1], taken[0].done) if taken else Demand(0.0, 0.0, 0.0, 0.0)
        now += device.mixed_seconds(prefill, decode)
        if count:
            engine.decoded(count, now)
        if taken:
            engine.computed(*taken, now)


def split(engine: Engine, device: SplitDevice, fixed: int | None = None) -> None:
    """Two streams at once; speeds change whenever a step of either starts or ends. `fixed`: percent for prefill."""
    now, percent = 0.0, fixed or 50
    chunk: tuple[Job, int] | None = None
    prefill = decode = None
    count, left_prefill, left_decode = 0, 0.0, 0.0
    while True:
        engine.arrive(now)
        if decode is None and engine.decoding:
            count, left_decode = len(engine.decoding), 1.0
            decode = decode_demand(count, engine.context)
        if prefill is None:
            chunk = engine.chunk(BUDGET)
            if chunk is not None:
                prefill, left_prefill = prefill_demand(chunk[1], chunk[0].done), 1.0
                if decode is not None and fixed is None:
                    usage = engine.used / KV_TOKENS
                    percent = best_share(device, prefill, decode, kv_usage=usage, current=percent)
        share = percent / 100
        first = device.prefill_seconds(prefill, share if decode else 1.0, decode) if prefill else math.inf
        second = device.decode_seconds(decode, 1 - share if prefill else 1.0, prefill) if decode else math.inf
        ends = (
            now + left_prefill * first if prefill else math.inf,
            now + left_decode * second if decode else math.inf,
        )
        then = min(*ends, engine.next_arrival)
        if then == math.inf:
            return
        left_prefill -= (then - now) / first if prefill else 0.0
        left_decode -= (then - now) / second if decode else 0.0
        now = then
        if prefill is not None and chunk is not None and ends[0] <= now:
            engine.computed(*chunk, now, mid_step=decode is not None)
            prefill = None
        if decode is not None and ends[1] <= now:
            engine.decoded(count, now)
            decode = None


def shortest(job: Job) -> float:
    """Nexus's order."""
    return job.prompt + Nexus().ageing * job.arrival


VARIANTS: dict[str, tuple[Callable[[Job], float], Callable[[Engine, SplitDevice], None]]] = {
    "chunked": (lambda job: job.arrival, chunked),
    "chunked, shortest first": (shortest, chunked),
    "split": (lambda job: job.arrival, split),
    "split in halves, shortest first": (shortest, lambda engine, device: split(engine, device, 50)),
    "nexus": (shortest, split),
}


def jobs(rate: float, seed: int) -> list[Job]:
    """Poisson arrivals of the mixture."""
    rng = stream(seed, "requests")
    which = rng.random(REQUESTS) < MIXED[0][2]
    spread = rng.lognormal(-SIGMA * SIGMA / 2, SIGMA, (REQUESTS, 2))
    arrival = np.cumsum(rng.exponential(1.0, REQUESTS)) / rate
    found = []
    for at, is_short in enumerate(which):
        prompt, output, _ = MIXED[0 if is_short else 1]
        lengths = max(1, round(prompt * spread[at, 0])), max(2, round(output * spread[at, 1]))
        found.append(Job(float(arrival[at]), min(lengths[0], 30_000), min(lengths[1], 2000), at))
    return found


@cache
def play(
    variant: str, rate: float, seed: int, device: SplitDevice = DEVICE
) -> tuple[float, float, float, float]:
    """Mean TTFT, its 95th percentile, mean gap between tokens, mean latency per output token (s)."""
    order, run = VARIANTS[variant]
    engine = Engine(order, jobs(rate, seed))
    run(engine, device)
    done = engine.jobs
    waits = np.array([job.first - job.arrival for job in done])
    gaps = [(job.finish - job.first) / (job.output - 1) for job in done]
    each = [(job.finish - job.arrival) / job.output for job in done]
    return float(waits.mean()), float(np.percentile(waits, 95)), float(np.mean(gaps)), float(np.mean(each))


def capacity(variant: str, seed: int, device: SplitDevice = DEVICE) -> float:
    """The highest rate at which the mean latency per output token stays below the cap."""
    return highest_rate(
        lambda rate: play(variant, rate, seed, device)[3] <= CAP, low=0.2, high=3.0, tolerance=0.04
    )


def less(
    seeds: Sequence[int], figure: int, variant: str, other: str = "chunked", rate: float = RATE
) -> Estimate:
    """How many times smaller a figure of `play` is than another variant's."""
    return Estimate.over(
        play(other, rate, seed)[figure] / play(variant, rate, seed)[figure] for seed in seeds
    )


def measure(seeds: Sequence[int], progress: Progress) -> Findings:
    """Rates within a mean latency per token, waits and gaps at one rate, and the order and the split apart."""
    found = {name: {seed: capacity(name, seed) for seed in seeds} for name in VARIANTS}
    progress(1, 2)
    even = Estimate.over(
        capacity("nexus", seed, PROPORTIONAL) / capacity("chunked", seed, PROPORTIONAL) for seed in seeds
    )

    def more(variant: str, other: str = "chunked") -> Estimate:
        return Estimate.over(found[variant][seed] / found[other][seed] for seed in seeds)

    return Findings(
        figures=[
            gain(
                "rate within 0.2 s per output token: over chunked prefill, first come first served",
                more("nexus"),
                paper=1.9,
            ),
            gain("mean TTFT at 0.8/s: times less", less(seeds, 0, "nexus"), paper=2.0),
            gain("mean gap between tokens at 0.8/s: times less", less(seeds, 2, "nexus"), paper=1.24),
            gain(
                "order alone (chunked, shortest first): mean TTFT, times less",
                less(seeds, 0, "chunked, shortest first"),
            ),
            gain("split alone (first come): mean gap, times less", less(seeds, 2, "split")),
        ],
        falsifiers=[
            Falsifier(
                setting="speed and bandwidth proportional to the share: rate over chunked prefill",
                ours=even,
                high=1.05,
            ),
            Falsifier(
                setting="mean gap of chunked prefill with the same order over that of the split",
                ours=less(seeds, 2, "nexus", "chunked, shortest first"),
                low=1.1,
            ),
        ],
        regions=_regions(seeds, more),
        curves=[
            Curve(
                title="Mean TTFT",
                x="requests/s",
                y="s",
                lines={
                    name: [(rate, play(name, rate, seeds[0])[0]) for rate in (0.3, 0.5, 0.8, 1.0)]
                    for name in VARIANTS
                },
            )
        ],
        origin="simulated; roofline at 70 TFLOP/s and 690 GB/s (60 and 80 % of an L20's), saturations assumed",
        notes=(
            "where arithmetic and bandwidth saturate (0.5 and 0.4 of the device for decodes, decay 0.1) is assumed: "
            "the gain depends on it",
            "two devices with a pool each are not among the baselines",
        ),
    )


def _regions(seeds: Sequence[int], more: Callable[[str, str], Estimate]) -> list[Region]:
    return [
        Region(
            where="rate over chunked prefill with the same order",
            ours=more("nexus", "chunked, shortest first"),
        ),
        Region(
            where="mean TTFT, times less than chunked with the same order",
            ours=less(seeds, 0, "nexus", "chunked, shortest first"),
        ),
        Region(where="95th percentile of TTFT, times less than chunked", ours=less(seeds, 1, "nexus")),
        Region(where="rate over a split in halves", ours=more("nexus", "split in halves, shortest first")),
        Region(
            where="1.2 requests/s: mean TTFT, times less than chunked", ours=less(seeds, 0, "nexus", rate=1.2)
        ),
    ]


CLAIM = Claim(
    paper=Paper(
        cite="Proactive Intra-GPU Disaggregation of Prefill and Decode in LLM Serving (Nexus), 2025, arXiv:2507.06608",
        year=2025,
        evidence="text",
        headline="on mixed lengths 1.9 times the throughput of vLLM, TTFT 2 to 20 times and gaps 1.24 to 1.48 times "
        "lower",
    ),
    methods=("schedule/nexus", "latency/split_device"),
    setting="llama-3.1-8b on one L20-like device; 60 % of 496/97 and 40 % of 5,905/180 tokens, Poisson",
    baseline="chunked prefill (2,048 tokens per step) with the same kernels, first come or shortest first",
    measure=measure,
    num_seeds=3,
)
