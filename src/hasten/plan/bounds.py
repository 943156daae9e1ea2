"""What no replica can beat, without simulating: the latency of an empty server and a ceiling on the rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hasten.core.batch import Chunk
from hasten.core.request import Request
from hasten.deployment import Deployment
from hasten.plan.constraints import GOODPUT, Check, Constraints
from hasten.workload import Workload

_ANYONE = Request(-1, 0.0, 1, 1)


@dataclass(frozen=True, slots=True)
class Bounds:
    """`rate`: requests/s that one replica can't exceed; `checks`: the constraints on an otherwise empty server.

    A check that fails here fails at every rate and with any number of replicas.
    """

    rate: float
    checks: tuple[Check, ...]

    @property
    def failed(self) -> Check | None:
        """The constraint that misses its limit by most even on an empty server, None when all may hold."""
        missed = [check for check in self.checks if not check.holds]
        return max(missed, key=lambda check: check.strain) if missed else None


def bounds_of(shape: Deployment, work: Workload, constraints: Constraints) -> Bounds:
    """Bounds of one replica on the mix of requests in `work`."""
    return Bounds(_rate_ceiling(shape, work), _empty_server(shape, work, constraints))


def _prefill(shape: Deployment, tokens: int, context: int = 0) -> float:
    return shape.cost.mixed([Chunk(_ANYONE, tokens, context, True)], 0, 0)


def _rate_ceiling(shape: Deployment, work: Workload) -> float:
    """The lower of two ceilings on requests/s.

    Arithmetic and KV traffic: prompts at the best time per token of any chunk (none with a prefix cache, which may
    spare any share of them) and the KV that decoding must read. Places: a request holds one for as many steps as it
    has output tokens, a step lasts at least as long as that of one sequence, and there are as many places as
    sequences may run or fit the KV cache.
    """
    prompt = work.prompt_tokens.astype(np.float64)
    output = work.output_tokens.astype(np.float64)
    fixed = shape.cost.decode_line(1, 1)[0]
    slope = shape.cost.decode_line(1, shape.limits.max_model_len)[1]  # the flattest: windows are full
    budget = shape.limits.max_num_batched_tokens
    sizes = [size for size in (256, 512, 1024, 2048, 4096, 8192, 16384) if size < budget] + [budget]
    per_token = min(_prefill(shape, size) / size for size in sizes)
    may_reuse = work.block_ids is not None and shape.limits.prefix_caching
    busy = 0.0 if may_reuse else per_token * float(prompt.mean())
    busy += slope * float((output * (prompt + output / 2)).mean())
    room = shape.kv.usable_blocks * shape.kv.block_size
    held = float(((prompt + output / 2) * output).sum() / output.sum())
    places = min(shape.limits.max_num_seqs, room if may_reuse else max(1.0, room / held))
    waiting = places / (float(output.mean()) * max(fixed, 1e-9))
    return min(waiting, 1.0 / busy if busy > 0 else math.inf)


def _empty_server(shape: Deployment, work: Workload, constraints: Constraints) -> tuple[Check, ...]:
    """Constraints with every request alone: TTFT is its prefill, TPOT a decode step of one sequence."""
    slo = constraints.slo
    prompt, output = work.prompt_tokens, work.output_tokens
    may_reuse = work.block_ids is not None and shape.limits.prefix_caching
    ladder = np.unique(np.percentile(prompt, np.linspace(0, 100, 65)).astype(np.int64).clip(1))
    least = [0.0 if may_reuse else _whole_prefill(shape, int(tokens)) for tokens in ladder]
    ttft = np.interp(prompt, ladder, least)
    steps = [shape.cost.decode_line(1, int(tokens)) for tokens in ladder]
    alone = [fixed + slope * tokens for tokens, (fixed, slope, _) in zip(ladder, steps, strict=True)]
    pace = np.interp(prompt, ladder, alone)
    values = {"ttft": ttft, "tpot": pace[output > 1], "e2e": ttft + pace * (output - 1)}
    limits = {name: limit for name in values if (limit := getattr(slo, name)) is not None}
    if constraints.attainment is not None:
        good = np.ones(len(work), dtype=bool)
        for name, limit in limits.items():
            reached = np.where(output > 1, pace, 0.0) if name == "tpot" else values[name]
            good &= reached <= limit
        return (Check(GOODPUT, float(good.mean()), constraints.attainment),)
    q = constraints.percentile
    return tuple(
        Check(f"{name.upper()} p{q:g}", float(np.percentile(values[name], q)), limit)
        for name, limit in limits.items()
        if values[name].size
    )


def _whole_prefill(shape: Deployment, tokens: int) -> float:
    """Seconds to prefill a prompt of `tokens` alone, in chunks as large as a step may be."""
    budget = shape.limits.max_num_batched_tokens
    spent, done = 0.0, 0
    while done < tokens:
        chunk = min(budget, tokens - done)
        spent += _prefill(shape, chunk, done)
        done += chunk
    return spent
