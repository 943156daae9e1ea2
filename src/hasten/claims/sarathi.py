"""Small steps against stalls: chunks of prompts beside the decodes, under a budget of tokens."""

from __future__ import annotations

from collections.abc import Sequence

from hasten.claims.harness.claim import Claim, Curve, Falsifier, Findings, Paper, Progress, Region, gain
from hasten.claims.harness.estimate import Estimate
from hasten.claims.harness.play import highest_rate, origin_of, ratio_over_seeds
from hasten.deployment import Deployment
from hasten.report.report import Report
from hasten.sim.run import simulate
from hasten.workload import Lognormal, Poisson, Workload, synthesise

BASELINE = "prefill_first"
BUDGETS = (128, 256, 512, 1024, 2048, 4096)
REQUESTS = 400
SHORT_REQUESTS = 2000  # with few, short ones never queue for long, whatever the rate
STRICT, RELAXED, DELAY = 5.0, 25.0, 2.0  # unloaded decode steps; the same; s of median wait


def deployment() -> Deployment:
    """The paper's smallest: Mistral-7B on one A100."""
    return Deployment.of("mistral-7b", "a100-sxm-80g")


def chats(seed: int, rate: float, prompt: float = 1730.0) -> Workload:
    """Conversations: prompts of median `prompt` and answers of median 415 tokens."""
    return synthesise(
        Poisson(rate),
        prompt=Lognormal(median=prompt, sigma=0.93, high=8192),
        output=Lognormal(median=415, sigma=0.545, high=2048),
        num_requests=REQUESTS,
        seed=seed,
    )


def short(seed: int, rate: float) -> Workload:
    """The same with prompts of at most half a budget of 512."""
    return synthesise(
        Poisson(rate),
        prompt=Lognormal(median=128, sigma=0.4, high=256),
        output=Lognormal(median=415, sigma=0.545, high=2048),
        num_requests=SHORT_REQUESTS,
        seed=seed,
    )


def play(policy: str, work: Workload, seed: int) -> Report:
    """One run."""
    return simulate(deployment(), work, schedule=policy, seed=seed)


def decode_step() -> float:
    """An unloaded decode step (s): 32 sequences of 2,048 tokens."""
    served = deployment()
    fixed, slope, _ = served.cost.decode_line(32, 32 * 2048)
    return fixed + slope * 32 * 2048


def capacity(policy: str, seed: int, *, steps: float, work: object = chats) -> float:
    """Highest rate with a p99 gap between tokens of `steps` unloaded steps and a median wait of 2 s."""
    limit = steps * decode_step()

    def holds(rate: float) -> bool:
        report = play(policy, work(seed, rate), seed)  # type: ignore[operator]
        return report.itl.p99 <= limit and report.queue.median <= DELAY

    return highest_rate(holds, low=0.02, high=60.0, tolerance=0.03)


def measure(seeds: Sequence[int], progress: Progress) -> Findings:
    """Capacity under limits on the gap between tokens, over prefill-first, over the engine's own chunks."""

    def over(policy: str, steps: float) -> Estimate:
        return ratio_over_seeds(
            seeds,
            lambda seed: capacity("sarathi", seed, steps=steps),
            lambda seed: capacity(policy, seed, steps=steps),
        )

    strict = over(BASELINE, STRICT)
    progress(1, 6)
    relaxed = over(BASELINE, RELAXED)
    progress(2, 6)
    engine = over("fcfs", STRICT)
    progress(3, 6)
    half = ratio_over_seeds(
        seeds,
        lambda seed: capacity("sarathi", seed, steps=STRICT, work=short),
        lambda seed: capacity(BASELINE, seed, steps=STRICT, work=short),
    )
    progress(4, 6)
    waits = ratio_over_seeds(
        seeds,
        lambda seed: play(BASELINE, chats(seed, 0.2), seed).ttft.mean,
        lambda seed: play("sarathi", chats(seed, 0.2), seed).ttft.mean,
    )
    progress(5, 6)
    swept = {budget: capacity(f"sarathi:tokens={budget}", seeds[0], steps=STRICT) for budget in BUDGETS}
    return Findings(
        figures=[
            gain("capacity under a strict limit (5 decode steps) on the p99 gap", strict, paper=2.6),
            gain("capacity under a relaxed limit (25 decode steps)", relaxed),
            gain("capacity over chunks of the engine's own budget (fcfs), strict limit", engine),
        ],
        falsifiers=[
            Falsifier(setting="prompts of half a budget: capacity", ours=half, high=1.1),
            Falsifier(setting="low load: mean TTFT, times less", ours=waits, high=1.02),
        ],
        regions=[
            Region(where="low load: mean TTFT, times less", ours=waits),
            Region(where="prompts of half a budget: capacity", ours=half),
        ],
        curves=[
            Curve(
                title="Capacity against the budget, strict limit",
                x="tokens in a step",
                y="requests/s",
                lines={"sarathi": list(swept.items())},
                is_log_x=True,
            )
        ],
        origin=origin_of(deployment(), play("fcfs", chats(0, 1.0).head(1), 0)),
        notes=("lengths follow the published medians and 90th percentiles of the paper's chat data set",),
    )


CLAIM = Claim(
    paper=Paper(
        cite="Taming Throughput-Latency Tradeoff in LLM Inference with Sarathi-Serve, OSDI 2024, arXiv:2403.02310",
        year=2024,
        evidence="code",
        headline="up to 2.6 times the capacity of vLLM for Mistral-7B on one A100 under limits on the gap between "
        "tokens",
    ),
    methods=("schedule/sarathi",),
    setting="mistral-7b on one a100-sxm-80g; chats with prompts of median 1,730 and answers of median 415 tokens; p99 "
    "gap and a median wait of 2 s as limits",
    baseline="prompts first, alone and whole (schedule prefill_first), as vLLM did then; the subject is "
    "chunking itself",
    measure=measure,
    num_seeds=3,
)
