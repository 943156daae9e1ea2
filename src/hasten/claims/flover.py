"""Prompts one by one, answers fused: against request-level batches, and against running prompts together."""

from __future__ import annotations

from collections.abc import Sequence

from hasten.claims.harness.claim import Claim, Falsifier, Findings, Paper, Progress, Region, gain
from hasten.claims.harness.estimate import Estimate
from hasten.claims.harness.play import origin_of, ratio_over_seeds
from hasten.claims.orca import SLOTS, STATIC, burst, capacity, deployment, throughput
from hasten.sim.run import simulate


def measure(seeds: Sequence[int], progress: Progress) -> Findings:
    """Capacity at equal latency per token over batches of 8, over prompts run together, and with chunked prefill."""
    found = {}
    for number, policy in enumerate(("flover", STATIC, "prefill_first", "fcfs")):
        found[policy] = {seed: capacity(policy, seed) for seed in seeds}
        progress(number + 1, 5)

    def over(other: str) -> Estimate:
        return Estimate.over(found["flover"][seed] / found[other][seed] for seed in seeds)

    def refill(sigma: float) -> Estimate:
        return ratio_over_seeds(
            seeds,
            lambda seed: throughput("flover", seed, sigma, SLOTS),
            lambda seed: throughput(STATIC, seed, sigma, SLOTS),
        )

    return Findings(
        figures=[
            gain(
                "rate at equal latency per token over batches of 8; published for GPT",
                over(STATIC),
                paper=11.0,
            ),
            gain("the same; published for LLaMA", over(STATIC), paper=16.0),
        ],
        falsifiers=[
            Falsifier(
                setting="equal lengths, 8 slots on both sides: throughput of a burst",
                ours=refill(0.0),
                high=1.2,
            ),
            Falsifier(
                setting="the same at sigma 0.9, where refill alone can bring 2.8", ours=refill(0.9), high=2.8
            ),
        ],
        regions=[
            Region(where="over prompts run together (prefill_first)", ours=over("prefill_first")),
            Region(where="over chunked prefill (fcfs)", ours=over("fcfs")),
        ],
        origin=origin_of(deployment(), simulate(deployment(), burst(0, 0.0).head(1))),
        notes=(
            "the abstract compares with dynamic batching and concurrent instances of another engine and names no "
            "latency limit; concurrent instances, which read the weights once each, are not re-run",
        ),
    )


CLAIM = Claim(
    paper=Paper(
        cite="Flover: A Temporal Fusion Framework for Efficient Autoregressive Model Parallel Inference, HiPC 2023, "
        "arXiv:2305.13484",
        year=2023,
        evidence="abstract",
        headline="over 11 times faster inference for GPT and 16 times for LLaMA than FasterTransformer",
    ),
    methods=("schedule/flover",),
    setting="llama-2-13b on one a100-sxm-80g; prompts and answers of mean 256 tokens, sigma 0.7 and 0.9; median "
    "latency per token at most twice that of an idle server",
    baseline="request-level batches of up to 8 (schedule static), equal kernels, no padding of prompts",
    measure=measure,
)
