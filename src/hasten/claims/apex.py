"""KV that does not fit the GPU stays in host memory; the CPU computes its attention while the GPU decodes on.

Sequences of the CPU join the GPU's linear layers one layer at a time, so that they cost the GPU no stall; where linear
layers take long enough, two half batches take turns instead. The mode with more predicted tokens/s is chosen.

Use when: one small GPU, contexts or answers so long that few sequences fit its memory, and throughput counts.
Avoid when: the KV fits the GPU, or every request needs an even pace: those in host memory are several times slower.
Differs: steady decoding at a mean context by closed forms; the rule that chooses the mode is reconstructed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from hasten.claims.harness.claim import Claim, Curve, Falsifier, Findings, Paper, Progress, Region, gain
from hasten.claims.harness.estimate import Estimate
from hasten.deployment import Deployment
from hasten.latency.cpu_attention import Host, Load, Rate, best_rate, decode_rates

HOST = Host(bandwidth=60e9)
WAITING = 64  # sequences that the GPU has no room for
# Room for KV in tokens: 1.5 GB beside the weights on the T4, and the engine's own figure on the A10.
CASES = {
    "llama-2-7b on t4": ("llama-2-7b", "t4", 2860),
    "llama-2-7b on a10": ("llama-2-7b", "a10", None),
    "llama-3.1-8b on a10": ("llama-3.1-8b", "a10", None),
}


@cache
def served(case: str) -> tuple[Deployment, int]:
    """The deployment, and its room for KV in tokens."""
    model, device, room = CASES[case]
    deployed = Deployment.of(model, device, max_model_len=4096, memory_fraction=0.95)
    return deployed, room or deployed.kv.tokens


def rates(case: str, context: int, waiting: int = WAITING, host: Host = HOST) -> tuple[Rate, Rate]:
    """GPU alone, and the best mode."""
    deployed, room = served(case)
    model = deployed.model
    load = Load(
        gpu=max(1, room // context),
        cpu=waiting,
        context=context,
        kv_bytes=float(model.kv_bytes_per_token(2.0)),
        exchange=2 * 2.0 * model.hidden * model.num_layers,
    )
    return decode_rates(deployed.cost, load, host)[0], best_rate(deployed.cost, load, host)


def times(case: str, context: int, waiting: int = WAITING, host: Host = HOST) -> float:
    """Tokens/s of the best mode over those of the GPU alone."""
    alone, best = rates(case, context, waiting, host)
    return best.total / alone.total


def measure(seeds: Sequence[int], progress: Progress) -> Findings:
    """Throughput by device and context; the bound by the CPU's memory; how slow the CPU's sequences are."""
    small, middle, grouped = CASES
    alone, best = rates(small, 1000)
    read = best.cpu * 1000 * float(served(small)[0].model.kv_bytes_per_token(2.0)) / HOST.bandwidth
    return Findings(
        figures=[
            gain(
                "llama-2-7b on t4, 1,000 tokens: tokens/s over the GPU alone",
                Estimate.exact(times(small, 1000)),
                paper=1.84,
            ),
            gain("llama-2-7b on a10: the same", Estimate.exact(times(middle, 1000)), paper=1.11),
            gain(
                "llama-3.1-8b on a10, 3,000 tokens: the same",
                Estimate.exact(times(grouped, 3000)),
                paper=1.11,
            ),
        ],
        falsifiers=_falsifiers(middle, small, read),
        regions=[
            Region(
                where="pace of a sequence in host memory over one on the GPU (t4)",
                ours=Estimate.exact((best.cpu / WAITING) / (best.gpu / max(1, served(small)[1] // 1000))),
            ),
            Region(
                where="pace of a sequence on the GPU over that without the CPU (t4)",
                ours=Estimate.exact(best.gpu / alone.gpu),
            ),
            Region(
                where="30 GB/s of host memory (a10)",
                ours=Estimate.exact(times(middle, 1000, host=Host(bandwidth=30e9))),
            ),
        ],
        curves=[
            Curve(
                title="Tokens/s over the GPU alone",
                x="mean context, tokens",
                y="times",
                lines={
                    case: [(float(at), times(case, at)) for at in (250, 500, 1000, 2000, 3000)]
                    for case in CASES
                },
                is_log_x=True,
            )
        ],
        origin="closed form; step times analytical, error 25 %; host memory 60 GB/s, link 12 GB/s, stated",
        notes=(
            "the baseline leaves 64 sequences waiting that the GPU has no room for, as an engine that can not offload",
            "prompts are left out: they take the GPU's time on both sides",
        ),
    )


def _falsifiers(middle: str, small: str, read: float) -> list[Falsifier]:
    return [
        Falsifier(
            setting="all KV fits the GPU", ours=Estimate.exact(times(middle, 1000, waiting=0)), high=1.0
        ),
        Falsifier(
            setting="bytes that the CPU reads per second over its bandwidth",
            ours=Estimate.exact(read),
            high=1.0,
            unit="share",
        ),
        Falsifier(
            setting="a host without memory bandwidth",
            ours=Estimate.exact(times(small, 1000, host=Host(bandwidth=0.0))),
            high=1.0,
        ),
    ]


CLAIM = Claim(
    paper=Paper(
        cite="Parallel CPU-GPU Execution for LLM Inference on Constrained GPUs (APEX), 2025, arXiv:2506.03296",
        year=2025,
        evidence="abstract",
        headline="84 to 96 % more throughput than vLLM on a T4, 11 to 89 % on an A10, at equal latency",
    ),
    methods=("latency/apex",),
    setting="steady decoding of llama-2-7b and llama-3.1-8b on t4 and a10, host memory of 60 GB/s",
    baseline="the GPU alone with the same kernels and as many sequences as its KV holds",
    measure=measure,
    num_seeds=1,
)
