"""Random small workloads and deployments that hurt: what the laws are tried on."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from hasten.core.limits import Limits
from hasten.core.request import SLO
from hasten.latency.compiled import LinearCost


@dataclass(frozen=True)
class Call:
    """One request of a case, and the true length of its answer in tokens. `cap` is what the client allows."""

    id: int
    arrival: float  # s
    prompt: int
    output: int
    cap: int
    block_ids: tuple[int, ...] = ()
    block_tokens: int = 0
    session: int = -1
    tool: int = -1
    priority: int = 0
    slo: SLO | None = None


@dataclass(frozen=True)
class Case:
    """A workload and the deployment it meets. `companions` are the specs of the policies of every role."""

    name: str
    calls: tuple[Call, ...]
    limits: Limits
    cost: LinearCost
    companions: dict[str, str]
    replicas: int = 1
    depth: int = 1  # batches in flight: 1 synchronous, 2 asynchronous scheduling

    def __str__(self) -> str:
        limits = self.limits
        return (
            f"{self.name}: {len(self.calls)} requests, {self.replicas} replicas, depth {self.depth}, "
            f"{limits.num_blocks} KV blocks of {limits.block_size}, {limits.max_num_seqs} sequences, "
            f"{limits.max_num_batched_tokens} tokens per step"
        )

    def renamed(self) -> Case:
        """The same calls under other ids: same order, same remainder when divided by 12, otherwise scattered."""
        return replace(self, calls=tuple(replace(call, id=new_name(call.id)) for call in self.calls))

    def lengthened(self, ids: set[int]) -> Case:
        """The same calls, but the answers of `ids` are longer than they were."""
        calls = (
            replace(call, output=call.output + 3 + call.id % 5) if call.id in ids else call
            for call in self.calls
        )
        return replace(self, calls=tuple(calls))


def new_name(id: int) -> int:
    """The id of call number `id` in a renamed case."""
    return id + 12 * (1009 * id + 41 * id * id)


def random_case(role: str, number: int, seed: int) -> Case:
    """Case `number` of `seed` for policies of `role`. Case 0 is an overload on a tiny KV pool."""
    rng = random.Random(f"{seed}/{number}")
    overload = number == 0
    block_size = rng.choice((4, 4, 16))
    count = 24 if overload else rng.randint(1, 24)
    shares = role in ("cache", "route") or rng.random() < 0.5
    calls = _calls(
        rng, count, rng.choice((0.0002, 0.002, 0.01, 0.05)) if not overload else 1e-6, shares * block_size
    )
    need = max(call.prompt + min(call.output, call.cap) for call in calls) // block_size + 2
    limits = _limits(rng, block_size, need, prefix_caching=shares)
    if overload:
        limits = replace(limits, num_blocks=need, max_model_len=131072)
    cost = LinearCost(
        rng.choice((1e-3, 8e-3)),
        per_sequence=1e-4 * rng.random(),
        per_context=rng.choice((0.0, 1e-6, 1e-5)),
        per_prefill_token=1e-5 * rng.random(),
        per_prefill_context=1e-8 * rng.random(),
    )
    companions = {
        "schedule": "sjf" if role == "length" else rng.choice(("fcfs", "fcfs", "prefill_first", "sjf")),
        "route": rng.choice(("round_robin", "least_outstanding", "prefix_affinity")),
        "cache": rng.choice(("lru", "fifo")),
        "admit": "always",
        "length": rng.choice(("mean:prior=20", "quantile:prior=20", "noisy_oracle")),
    }
    replicas = rng.randint(2, 4) if role == "route" else rng.choice((1, 1, 2, 3))
    name = f"case {number} of seed {seed}"
    return Case(name, tuple(calls), limits, cost, companions, replicas=replicas, depth=rng.choice((1, 2)))


def _limits(rng: random.Random, block_size: int, need: int, *, prefix_caching: bool) -> Limits:
    """Limits of an engine whose pool holds a few of the largest requests, which need `need` blocks each."""
    return Limits(
        num_blocks=int(need * rng.choice((1.1, 1.4, 1.8, 2.5, 20))),
        block_size=block_size,
        max_num_seqs=rng.choice((2, 5, 8, 32)),
        max_num_batched_tokens=rng.choice((32, 64, 200, 2048)),
        max_model_len=rng.choice((131072, 131072, 131072, 150)),
        prefix_caching=prefix_caching or rng.random() < 0.5,
        chunked_prefill=rng.random() < 0.8,
        mixed_steps=rng.random() < 0.85,
        long_prefill_token_threshold=rng.choice((0, 0, 24)),
        reserve_full_sequence=rng.random() < 0.7,
        watermark_blocks=rng.choice((0, 0, 1)),
        admission=rng.choice(("fits_now", "fits_now", "fits_now", "expected_output", "max_output")),
        preemption=rng.choice(("newest", "newest", "fewest_generated")),
    )


def _calls(rng: random.Random, count: int, gap: float, block_size: int) -> list[Call]:
    """`count` calls, on average `gap` seconds apart; with a block size their prompts share prefixes."""
    longest_prompt, longest_output = rng.choice(((12, 3), (16, 60), (40, 60), (80, 40), (250, 20)))
    block_tokens = block_size * rng.choice((1, 1, 4)) if rng.random() < 0.8 else block_size // 4
    tight = rng.random() < 0.3
    together = rng.choice((0.0, 0.0, 0.5, 0.9))
    names: dict[tuple[int, ...], int] = {}
    calls: list[Call] = []
    now = 0.0
    for id in range(count):
        prompt = rng.randint(1, longest_prompt)
        output = rng.randint(1, longest_output)
        slo = SLO(ttft=gap * rng.choice((2, 20, 200)), tpot=0.05) if rng.random() < 0.7 else None
        calls.append(
            Call(
                id,
                now,
                prompt,
                output,
                output + rng.randint(0, 1) if tight else 4 * longest_output,
                block_ids=_blocks(rng, prompt, block_tokens, names) if block_tokens else (),
                block_tokens=block_tokens,
                session=rng.randint(0, 3),
                tool=id % 3 - 1,
                priority=rng.randint(0, 2),
                slo=slo,
            )
        )
        now += 0.0 if rng.random() < together else rng.expovariate(1.0 / gap)
    return calls


def _blocks(
    rng: random.Random, prompt: int, block_tokens: int, names: dict[tuple[int, ...], int]
) -> tuple[int, ...]:
    """Chained prefix ids of a prompt that branches off a common tree somewhere; a partial last block is unique."""
    node: tuple[int, ...] = ()
    ids: list[int] = []
    fresh = rng.random() < 0.15
    for number in range(-(-prompt // block_tokens)):
        fresh = fresh or rng.random() < 0.1
        branch = (
            rng.randint(2, 1 << 40) if fresh or (number + 1) * block_tokens > prompt else rng.randint(0, 1)
        )
        node = (*node, branch)
        ids.append(names.setdefault(node, len(names)))
    return tuple(ids)
