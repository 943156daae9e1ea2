"""Equal steps: throughput within limits on prompt and token latency, against whole prompts first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hasten.claims.harness.claim import Claim, Curve, Falsifier, Findings, Paper, Progress, Region, gain
from hasten.claims.harness.estimate import Estimate
from hasten.claims.harness.play import origin_of, ratio_over_seeds
from hasten.deployment import Deployment
from hasten.report.report import Report
from hasten.sim.run import simulate
from hasten.workload import ClosedLoop, Poisson, Workload, stream, synthesise
from hasten.workload.lengths import Empirical

BASELINE = "prefill_first"
CLIENTS = (1, 2, 4, 8, 12, 16, 24, 32)
REQUESTS = 256
PROMPT_RATE, TOKEN_RATE = 512.0, 4.0  # tokens/s: what a request has to see of its prompt, and of its answer
SHORT = 128  # tokens of a prompt that is never cut
SPREAD = 0.3  # of lengths, as a share of their mean

NOTES = (
    "the limit on tokens is on a request's mean rate, the paper's on a moving mean of it",
    "throughput comes from steps that prompts and answers share, not from cutting prompts: the shorter the "
    "prompts, the larger the factor over prompts first, and over whole prompts that share steps it is about 1",
)


def deployment(*, chunked: bool = True) -> Deployment:
    """The paper's: Llama-2 70B on four A100."""
    return Deployment.of("llama-2-70b", "a100-sxm-80g", tp=4, chunked_prefill=chunked)


def requests(seed: int, arrivals: ClosedLoop | Poisson, prompt: int = 2600, output: int = 60) -> Workload:
    """Normal lengths with a deviation of 30 %."""

    def lengths(mean: int, role: str) -> Empirical:
        drawn = stream(seed, role).normal(mean, SPREAD * mean, 4096)
        return Empirical(np.maximum(np.rint(drawn), 1).astype(np.int64))

    return synthesise(
        arrivals,
        prompt=lengths(prompt, "prompt lengths"),
        output=lengths(output, "output lengths"),
        num_requests=REQUESTS,
        seed=seed,
    )


def play(policy: str, work: Workload, seed: int) -> Report:
    """One run."""
    return simulate(deployment(), work, schedule=policy, seed=seed)


def effective(report: Report) -> float:
    """Requests/s that saw their first token within prompt/512 s and at least 4 tokens/s after it."""
    found = report.records
    after = (found.finish - found.first_token) * TOKEN_RATE <= np.maximum(found.output_tokens - 1, 0)
    good = found.is_ok & (found.first_token - found.arrival <= found.prompt_tokens / PROMPT_RATE) & after
    return float(good.sum()) / report.duration


def best(policy: str, seed: int, *, prompt: int = 2600) -> float:
    """The highest effective throughput over the numbers of clients."""
    return max(
        effective(play(policy, requests(seed, ClosedLoop(clients), prompt), seed)) for clients in CLIENTS
    )


def best_whole(seed: int, *, prompt: int = 2600) -> float:
    """The same with whole prompts that share their steps with answers."""
    whole = deployment(chunked=False)
    return max(
        effective(simulate(whole, requests(seed, ClosedLoop(clients), prompt), schedule="fcfs", seed=seed))
        for clients in CLIENTS
    )


def measure(seeds: Sequence[int], progress: Progress) -> Findings:
    """Effective throughput, tail of the gaps at an equal rate, and where both must vanish."""

    def times(prompt: int, *, over_whole: bool = False) -> Estimate:
        return ratio_over_seeds(
            seeds,
            lambda seed: best("dynamic_splitfuse", seed, prompt=prompt),
            lambda seed: (
                best_whole(seed, prompt=prompt) if over_whole else best(BASELINE, seed, prompt=prompt)
            ),
        )

    def over(policy: str, rate: float, metric: str) -> Estimate:
        """How much smaller a latency is than under `policy`."""

        def latency(name: str, seed: int) -> float:
            summary = getattr(play(name, requests(seed, Poisson(rate)), seed), metric)
            return float(summary.mean if metric in ("e2e", "ttft") else summary.p99)

        return ratio_over_seeds(
            seeds, lambda seed: latency(policy, seed), lambda seed: latency("dynamic_splitfuse", seed)
        )

    long, short = times(2600), times(SHORT)
    shared, cut = times(SHORT, over_whole=True), times(2600, over_whole=True)
    progress(1, 3)
    tail, mean = over(BASELINE, 1.0, "itl"), over(BASELINE, 1.0, "e2e")
    progress(2, 3)
    waits, engine = over(BASELINE, 0.1, "ttft"), over("fcfs", 1.0, "itl")
    return Findings(
        figures=[
            gain("effective throughput", long, paper=2.3),
            gain("p99 gap between tokens at 1 request/s, times less", tail, paper=3.7),
            gain("mean latency at 1 request/s, times less", mean, paper=2.0),
        ],
        falsifiers=[
            Falsifier(
                setting="prompts of 128 tokens, never cut, over whole ones that share steps: effective throughput",
                ours=shared,
                high=1.05,
            ),
            Falsifier(setting="low load (0.1 request/s): mean TTFT, times less", ours=waits, high=1.02),
        ],
        regions=[
            Region(
                where="prompts of 2,600, over whole ones that share steps: effective throughput", ours=cut
            ),
            Region(where="prompts of 128, over prompts first: effective throughput", ours=short),
            Region(where="low load (0.1 request/s): mean TTFT, times less", ours=waits),
            Region(where="p99 gap over chunks of the engine's own budget (fcfs), times less", ours=engine),
        ],
        curves=[_curve(seeds[0])],
        origin=origin_of(deployment(), play("fcfs", requests(0, Poisson(1.0)).head(1), 0)),
        notes=NOTES,
    )


def _curve(seed: int) -> Curve:
    lines = {
        policy: [
            (float(clients), effective(play(policy, requests(seed, ClosedLoop(clients)), seed)))
            for clients in CLIENTS
        ]
        for policy in ("dynamic_splitfuse", BASELINE)
    }
    return Curve(title="Effective throughput", x="clients", y="requests/s within limits", lines=lines)


CLAIM = Claim(
    paper=Paper(
        cite="DeepSpeed-FastGen: High-throughput Text Generation for LLMs via MII and DeepSpeed-Inference, 2024, "
        "arXiv:2401.08671",
        year=2024,
        evidence="text",
        headline="up to 2.3 times the effective throughput, half the mean latency and a 3.7 times lower token-level "
        "tail latency than vLLM",
    ),
    methods=("schedule/dynamic_splitfuse",),
    setting="llama-2-70b on four a100-sxm-80g; normal lengths of mean 2,600 and 60 tokens, 1 to 32 clients; first "
    "token within prompt/512 s, then 4 tokens/s",
    baseline="prompts first, alone and whole (schedule prefill_first), as vLLM did then; the subject is "
    "chunking itself",
    measure=measure,
    num_seeds=3,
)
