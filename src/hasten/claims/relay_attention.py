"""A system prompt's KV read once per step for the whole batch, not once per sequence.

Attention over the shared prefix runs for all queries together, attention over each own context apart, and both are
merged exactly. Sharing blocks of a prefix saves memory; this saves bandwidth on top of it.

Use when: many sequences with a long common prefix decode together, on a model with a KV head per query head.
Avoid when: batches are small, prefixes short, or few KV heads serve many query heads: two more kernels per layer cost
then what the bytes save.
Differs: a cost model of the decode step; the engine does not run it.
"""

from __future__ import annotations

from collections.abc import Sequence

from hasten.claims.harness.claim import (
    Claim,
    Curve,
    Falsifier,
    Findings,
    Paper,
    Progress,
    Region,
    equal,
    gain,
)
from hasten.claims.harness.estimate import Estimate
from hasten.deployment import Deployment
from hasten.latency.relay import decode_step, tokens_read

MODEL, GROUPED, DEVICE = "llama-2-7b", "llama-3.1-8b", "a100-sxm-80g"
TABLE = {  # (batch, prefix, own) -> attention bytes over relayed ones
    (8, 512, 256): 2.40,
    (8, 2048, 256): 4.50,
    (8, 4096, 512): 4.50,
    (32, 512, 256): 2.82,
    (32, 2048, 256): 7.20,
    (32, 4096, 512): 7.20,
}
PREFIXES = (0, 256, 512, 1024, 2048, 3072)


def faster(model: str, batch: int, prefix: int, own: int = 256) -> float:
    """A decode step with every sequence reading the prefix, over one that relays it."""
    cost = Deployment.of(model, DEVICE).latency
    plain, relayed = (decode_step(cost, batch, prefix, own, relay=relay).seconds for relay in (False, True))
    return plain / relayed


def measure(seeds: Sequence[int], progress: Progress) -> Findings:
    """The table of bytes, and decode steps."""

    def exact(model: str, batch: int, prefix: int) -> Estimate:
        return Estimate.exact(faster(model, batch, prefix))

    table = [
        equal(
            f"KV read, batch {batch}, prefix {prefix:,}, own {own}",
            Estimate.exact(
                tokens_read(batch, prefix, own, relay=False) / tokens_read(batch, prefix, own, relay=True)
            ),
            published,
            unit="x",
            tolerance=0.003,
        )
        for (batch, prefix, own), published in TABLE.items()
    ]
    lines = {
        f"{model}, batch {batch}": [(float(prefix), faster(model, batch, prefix)) for prefix in PREFIXES]
        for model in (MODEL, GROUPED)
        for batch in (8, 32)
    }
    return Findings(
        figures=[*table, gain("decode step, batch 32, prefix 2,048", exact(MODEL, 32, 2048), paper=2.2)],
        falsifiers=[
            Falsifier(setting="batch of 1", ours=exact(MODEL, 1, 2048), high=1.02),
            Falsifier(setting="no common prefix", ours=exact(MODEL, 32, 0), high=1.0),
        ],
        regions=[
            Region(where="batch of 1, prefix of 2,048", ours=exact(MODEL, 1, 2048)),
            Region(where="8 KV heads for 32 query heads, batch 8, prefix 512", ours=exact(GROUPED, 8, 512)),
            Region(
                where="8 KV heads for 32 query heads, batch 32, prefix 2,048", ours=exact(GROUPED, 32, 2048)
            ),
        ],
        curves=[Curve(title="Decode step, times faster", x="tokens of common prefix", y="x", lines=lines)],
        origin="closed form; step times analytical, error 25 % (device time, without the engine's host side)",
        notes=(
            "the table of bytes is arithmetic on the published cost model; 2.2 is a throughput on chat traffic",
        ),
    )


CLAIM = Claim(
    paper=Paper(
        cite="RelayAttention for Efficient Large Language Model Serving with Long System Prompts, ACL 2024, "
        "arXiv:2402.14808",
        year=2024,
        evidence="code",
        headline="exact attention that reads a system prompt once per batch; up to 2.2 times the throughput",
    ),
    methods=("kv/relay_attention",),
    setting="decode steps of llama-2-7b on one a100-sxm-80g, 256 own tokens",
    baseline="the same kernels over paged KV with the prefix's blocks shared: one copy, read by every sequence",
    measure=measure,
    num_seeds=1,
)
