"""Cases for `hasten explain`: deployments under load with one known fault each, and windows of real traces.

Random deployments and traffic, a case per seed; `benchmarks/explain.py` judges what is made of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from hasten.deployment import Deployment
from hasten.disaggregation import Disaggregated
from hasten.explain.explanation import Explanation, explain
from hasten.explain.objective import Objective
from hasten.explain.programs import PROGRAM
from hasten.explain.setup import PooledSetup, Setup
from hasten.workload import Workload
from hasten.workload.programs import Call, Program, workload_of

REQUESTS = 800
SHORT = 30_000
"""Prompt tokens that every model of a real case can take; above, only the first can."""

NEW = 3
"""Pieces of new traffic on which a gain is tried."""


@dataclass(frozen=True)
class Case:
    """One deployment under load: the setup, the objective, the cause to find ("" for none), and new traffic."""

    setup: Setup | PooledSetup
    objective: Objective
    cause: str
    fresh: tuple[Setup | PooledSetup, ...]


HALVES = {"first": 0.0, "second": 0.5}
"""Of a real trace: where the half begins."""

Draw = np.random.Generator


def traffic(
    draw: Draw, prompt: float, output: float, *, noisy: float = 0.0
) -> Callable[[int, float], Workload]:
    """Poisson arrivals, lognormal lengths around the means; `noisy` of the requests have prompts 20 times as long."""
    spread = draw.uniform(0.3, 0.7)

    def make(seed: int, rate: float) -> Workload:
        rng = np.random.default_rng(seed)
        lengths = rng.lognormal(0.0, spread, (2, REQUESTS))
        prompts = prompt * lengths[0] * np.where(rng.random(REQUESTS) < noisy, 20.0, 1.0)
        return Workload(
            arrival=np.cumsum(rng.exponential(1.0 / rate, REQUESTS)),
            prompt_tokens=np.clip(prompts, 8, 60_000).astype(np.int64),
            output_tokens=np.clip(output * lengths[1], 2, 2_000).astype(np.int64),
        )

    return make


def loaded(
    setup: Setup | PooledSetup,
    make: Callable[[int, float], Workload],
    load: float,
    seed: int,
    objective: Objective,
    cause: str,
) -> Case:
    """The case at `load` of its capacity."""
    crowd = setup.changed(work=make(seed, math.inf)).run()
    return at_rate(setup, make, load * crowd.throughput.requests, seed, objective, cause)


def at_rate(
    setup: Setup | PooledSetup,
    make: Callable[[int, float], Workload],
    rate: float,
    seed: int,
    objective: Objective,
    cause: str,
) -> Case:
    """The case at `rate` requests (or programs) per second."""
    return Case(
        setup.changed(work=make(seed, rate)),
        objective,
        cause,
        tuple(setup.changed(work=make(seed + 1_000_003 * (each + 1), rate)) for each in range(NEW)),
    )


def anything(draw: Draw, *metrics: str) -> Objective:
    """Some percentile of one of the metrics."""
    return Objective(metric=str(draw.choice(metrics)), percentile=float(draw.choice([90.0, 95.0, 99.0])))


def slow_link(seed: int) -> Case:
    """Tensor parallelism over a network instead of NVLink."""
    draw = np.random.default_rng(seed)
    tp = int(draw.choice([2, 4, 8]))
    base = Deployment.of(
        str(draw.choice(["llama-3.1-8b", "qwen2.5-14b", "mistral-7b"])), "h100-sxm", tp=min(tp, 8)
    )
    link = str(draw.choice(["ethernet-25", "ethernet-100", "ethernet-10", "roce-100"]))
    setup = _empty(replace(base, device=replace(base.device, link=link)))
    make = traffic(draw, draw.uniform(200, 1500), draw.uniform(50, 300))
    return loaded(setup, make, draw.uniform(0.3, 0.7), seed, anything(draw, "ttft", "tpot", "e2e"), "link")


def starved_kv(seed: int) -> Case:
    """A KV cache for a handful of requests."""
    draw = np.random.default_rng(seed)
    prompt, output = draw.uniform(300, 2000), draw.uniform(100, 400)
    tokens = int(draw.uniform(3, 8) * (prompt + output))
    model, device = (
        str(draw.choice(["llama-3.1-8b", "qwen2.5-7b", "mistral-7b"])),
        str(draw.choice(["h100-sxm", "a100-sxm-80g"])),
    )
    longest = max(tokens, 4 * int(prompt + output))
    base = Deployment.of(model, device, kv_cache_tokens=max(tokens, 2 * longest // 3))
    make = traffic(draw, prompt, output)
    return loaded(_empty(base), make, draw.uniform(0.75, 0.95), seed, anything(draw, "ttft"), "kv_memory")


def noisy_tenant(seed: int) -> Case:
    """A few prompts 20 times as long as the others."""
    draw = np.random.default_rng(seed)
    base = Deployment.of(
        str(draw.choice(["llama-3.1-8b", "qwen2.5-7b"])), str(draw.choice(["h100-sxm", "a100-sxm-80g"]))
    )
    make = traffic(draw, draw.uniform(300, 1000), draw.uniform(50, 200), noisy=draw.uniform(0.04, 0.1))
    return loaded(
        _empty(base), make, draw.uniform(0.3, 0.6), seed, anything(draw, "ttft", "tpot"), "long_prompts"
    )


def launch_bound(seed: int) -> Case:
    """A model so small that launching its kernels takes longer than running them."""
    draw = np.random.default_rng(seed)
    model = str(draw.choice(["qwen2.5-0.5b", "qwen3-0.6b", "gemma-3-1b"]))
    base = Deployment.of(
        model, str(draw.choice(["h100-sxm", "h200-sxm"])), max_num_seqs=int(draw.choice([8, 16, 32]))
    )
    make = traffic(draw, draw.uniform(50, 200), draw.uniform(100, 400))
    return loaded(_empty(base), make, draw.uniform(0.1, 0.5), seed, anything(draw, "tpot", "e2e"), "launches")


def straggler(seed: int) -> Case:
    """One of several replicas takes two to five times as long for every step."""
    draw = np.random.default_rng(seed)
    replicas = int(draw.integers(3, 7))
    base = Deployment.of(str(draw.choice(["llama-3.1-8b", "qwen2.5-7b"])), "h100-sxm", replicas=replicas)
    make = traffic(draw, draw.uniform(200, 1500), draw.uniform(50, 300))
    case = loaded(
        _empty(base), make, draw.uniform(0.2, 0.4), seed, anything(draw, "ttft", "tpot", "e2e"), "straggler"
    )
    speeds = [1.0] * replicas
    speeds[int(draw.integers(replicas))] = draw.uniform(0.2, 0.5)
    slowed = tuple(each.changed(speeds=tuple(speeds)) for each in (case.setup, *case.fresh))
    return replace(case, setup=slowed[0], fresh=slowed[1:])


def window(trace: str, half: str) -> Callable[[int], Case]:
    """Cases of half a trace: a window of it is explained, the windows that follow are the new traffic."""

    def make(seed: int) -> Case:
        draw = np.random.default_rng(seed)
        whole = _half(trace, half)
        size = int(draw.choice([each for each in SIZES if (NEW + 1) * each < len(whole)]))
        start = int(draw.integers(0, len(whole) - (NEW + 1) * size))
        parts = [whole.slice(start + k * size, start + (k + 1) * size) for k in range(NEW + 1)]
        models = ["llama-3.1-8b", "qwen2.5-7b", "mistral-7b"]
        if whole.prompt_tokens.max() > SHORT:
            models = models[:1]
        base = Deployment.of(
            str(draw.choice(models)),
            str(draw.choice(["h100-sxm", "l40s", "a100-sxm-80g"])),
            replicas=int(draw.choice([1, 1, 2, 3])),
        )
        setup = Setup(deployment=base, work=parts[0])
        crowd = setup.changed(work=parts[0].scaled(rate=math.inf)).run()
        stretch = parts[0].rate / (draw.uniform(0.3, 0.9) * crowd.throughput.requests)
        made = [setup.changed(work=part.replaced(arrival=part.arrival * stretch)) for part in parts]
        return Case(made[0], anything(draw, "ttft", "tpot", "e2e"), "", tuple(made[1:]))

    return make


@cache
def trace(name: str) -> Workload:
    return Workload.from_trace(name)


@cache
def _half(name: str, half: str) -> Workload:
    whole = trace(name)
    begin = round(HALVES[half] * len(whole))
    return whole.slice(begin, begin + len(whole) // 2)


SIZES = (500, 1000, 2000)
"""Requests of a window."""


def kv_link(seed: int) -> Case:
    """Prefill and decode pools with a network between them that their KV hardly gets through."""
    draw = np.random.default_rng(seed)
    each = Deployment.of(
        str(draw.choice(["llama-3.1-8b", "qwen2.5-14b", "mistral-7b"])),
        "h100-sxm",
        replicas=int(draw.integers(1, 4)),
    )
    served = Disaggregated.of(each, each, str(draw.choice(["ethernet-10", "ethernet-25"])))
    prompt = draw.uniform(600, 2500)
    make = traffic(draw, prompt, draw.uniform(20, 80))
    rate = draw.uniform(0.75, 0.95) * each.replicas / served.transfer_seconds(int(prompt))
    return at_rate(_pools(served), make, rate, seed, anything(draw, "tpot", "e2e"), "kv_link")


def decode_room(seed: int) -> Case:
    """A decode pool whose KV cache holds a handful of prompts with short answers, behind a fast link."""
    draw = np.random.default_rng(seed)
    prompt, output = draw.uniform(1000, 3000), draw.uniform(30, 120)
    model = str(draw.choice(["llama-3.1-8b", "qwen2.5-7b", "mistral-7b"]))
    tokens = int(draw.uniform(4, 7) * (prompt + output))
    prefill = Deployment.of(model, "h100-sxm", replicas=2)
    decode = Deployment.of(model, "h100-sxm", kv_cache_tokens=tokens)
    served = Disaggregated.of(prefill, decode, str(draw.choice(["nvlink4", "infiniband-ndr"])))
    make = traffic(draw, prompt, output)
    load = draw.uniform(0.92, 1.0)
    return loaded(_pools(served), make, load, seed, anything(draw, "tpot"), "decode_kv_memory")


def admission(seed: int) -> Case:
    """A router that keeps requests at the door although their replica could take them."""
    draw = np.random.default_rng(seed)
    replicas, slots = int(draw.integers(2, 5)), int(draw.integers(1, 4))
    base = Deployment.of(str(draw.choice(["llama-3.1-8b", "qwen2.5-7b"])), "h100-sxm", replicas=replicas)
    make = traffic(draw, draw.uniform(200, 1500), draw.uniform(50, 300))
    idle = _empty(base).changed(work=make(seed, 0.1).head(100)).run()
    rate = draw.uniform(0.7, 0.95) * replicas * slots / idle.e2e.mean
    setup = _empty(base).changed(policies={"route": f"pd_serve:slots={slots},wait=0.02"})
    return at_rate(setup, make, rate, seed, anything(draw, "ttft"), "admission")


def slow_tools(seed: int) -> Case:
    """Agents that call tools which take several times as long as the calls to the model."""
    draw = np.random.default_rng(seed)
    base = Deployment.of(str(draw.choice(["llama-3.1-8b", "qwen2.5-7b"])), "h100-sxm")
    prompt, output, rounds = draw.uniform(100, 800), draw.uniform(20, 80), draw.uniform(3, 8)
    wait = output * 0.01 * draw.uniform(3, 10)

    def make(seed: int, rate: float) -> Workload:
        rng = np.random.default_rng(seed)
        arrival = np.cumsum(rng.exponential(1.0 / rate, REQUESTS // 8))
        made = []
        for at in arrival.tolist():
            calls = [
                Call(int(prompt * rng.lognormal(0.0, 0.5)) + 1, int(output * rng.lognormal(0.0, 0.4)) + 1)
            ]
            for number in range(int(rng.poisson(rounds))):
                took = float(rng.exponential(wait))
                tokens = int(rng.exponential(prompt / 4)) + 1
                answer = int(output * rng.lognormal(0.0, 0.4)) + 1
                calls.append(Call(tokens, answer, (number,), wait_s=took, tool="search"))
            made.append(Program(at, tuple(calls)))
        return workload_of(made)

    rate = draw.uniform(0.5, 4.0)
    return at_rate(_empty(base), make, rate, seed, anything(draw, PROGRAM), "tools")


@dataclass(frozen=True)
class Kind:
    """Cases of one kind: what makes one of a seed, its name in a table, how many are reported, metrics asked for."""

    make: Callable[[int], Case]
    text: str
    cases: int
    asked: str = ""


FAULTS = {
    "slow_link": Kind(slow_link, "a network for a link", 40),
    "starved_kv": Kind(starved_kv, "a starved KV cache", 40),
    "noisy_tenant": Kind(noisy_tenant, "a tenant with long prompts", 40),
    "launch_bound": Kind(launch_bound, "a model bound by launches", 40),
    "straggler": Kind(straggler, "a straggling replica", 40),
}
BEYOND = {
    "kv_link": Kind(kv_link, "`kv_link`: a network that KV hardly gets through", 12, "TPOT, E2E"),
    "decode_room": Kind(
        decode_room, "`decode_room`: a decode pool with room for a handful of prompts", 12, "TPOT"
    ),
    "admission": Kind(admission, "`admission`: a router that keeps requests at the door", 12, "TTFT"),
    "slow_tools": Kind(slow_tools, "`slow_tools`: tools that outlast the calls", 12, "program"),
}


def real(half: str) -> dict[str, Kind]:
    """Windows of half of each real trace."""
    traces = {
        "azure-conv": "Azure conversation",
        "azure-code": "Azure code",
        "mooncake-conversation": "Mooncake conversation",
    }
    return {name: Kind(window(name, half), text, 20) for name, text in traces.items()}


NOBODY = Workload(
    arrival=np.zeros(1), prompt_tokens=np.ones(1, dtype=int), output_tokens=np.ones(1, dtype=int)
)


def _empty(deployment: Deployment) -> Setup:
    """A setup whose traffic is not known yet."""
    return Setup(deployment=deployment, work=NOBODY)


def _pools(deployment: Disaggregated) -> PooledSetup:
    """The same of two pools."""
    return PooledSetup(deployment=deployment, work=NOBODY)


def explained(case: Case) -> tuple[Explanation, bool]:
    """The explanation, and whether it names the planted cause first."""
    found = explain(case.setup, case.objective, only_causes=True)
    return found, found.cause is not None and found.cause.change.name == case.cause
