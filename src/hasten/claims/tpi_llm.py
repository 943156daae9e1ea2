"""Large models on weak devices: tensor parallel over slow links, weights streamed from disk block by block.

All-reduce by a star takes two hops whatever the number of devices, which is what counts when a payload is small and a
hop takes milliseconds; the next blocks are read while the last one is computed and summed.

Use when: one user, devices whose memory does not hold the model together, links of milliseconds.
Avoid when: prompts are long (the star's master carries every payload: ring) or the model fits one device.
Differs: devices and links are equal; closed forms of the steady state; the operating system's cache is left out.
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
from hasten.latency.weak_devices import (
    Cluster,
    Network,
    Weights,
    peak_bytes,
    pipeline_seconds,
    step_seconds,
)
from hasten.models import load_model

DEVICES, WINDOW, CONTEXT = 8, 4, 1024
NETWORK = Network(latency=2e-3, bandwidth=125e6)  # a hop of Wi-Fi or wired home network, 1 Gb/s
CLUSTER = Cluster(devices=DEVICES, flops=50e9, memory=20e9, disk=1e9, network=NETWORK)
ALONE = Cluster(devices=1, flops=50e9, memory=20e9, disk=1e9, network=NETWORK)
ONE_AT_A_TIME = 1  # window of an engine that reads a block, computes it and drops it


def weights(name: str) -> Weights:
    """A model in fp32."""
    model = load_model(name)
    ends = model.vocab * model.hidden * (1 if model.tied_embeddings else 2)
    return Weights(
        layers=model.num_layers,
        block_bytes=4.0 * (model.parameters - ends) / (2 * model.num_layers),
        end_bytes=4.0 * ends,
        hidden=model.hidden,
        kv_bytes=float(model.kv_bytes_per_token(4.0)),
    )


LARGE = weights("llama-2-70b")


def token(
    cluster: Cluster = CLUSTER, *, tokens: int = 1, topology: str = "star", window: int = WINDOW
) -> float:
    """Seconds of a step of the large model."""
    return step_seconds(LARGE, cluster, tokens, window=window, topology=topology)


def measure(seeds: Sequence[int], progress: Progress) -> Findings:
    """Memory, token latency and first token against one device that swaps, a pipeline, and other all-reduces."""
    swapping = pipeline_seconds(LARGE, ALONE, 1, window=ONE_AT_A_TIME)
    whole = peak_bytes(LARGE, 1, window=LARGE.blocks, context=CONTEXT)
    ours = peak_bytes(LARGE, DEVICES, window=WINDOW, context=CONTEXT)
    return Findings(
        figures=[
            equal(
                "llama-2-70b, 8 devices, peak memory of one",
                _exact(ours / 1e9),
                3.1,
                unit="GB",
                tolerance=0.1,
            ),
            gain(
                "peak memory of one device, times less than the whole model", _exact(whole / ours), paper=10.0
            ),
            gain(
                "token, times sooner than one device that reads block by block",
                _exact(swapping / token()),
                paper=5.0,
            ),
            gain(
                "prompt of 64 tokens: the same",
                _exact(pipeline_seconds(LARGE, ALONE, 64, window=ONE_AT_A_TIME) / token(tokens=64)),
                paper=5.0,
            ),
            gain(
                "token, times sooner than a pipeline over the same devices",
                _exact(pipeline_seconds(LARGE, CLUSTER, 1, window=WINDOW) / token()),
            ),
        ],
        falsifiers=_falsifiers(),
        regions=[
            Region(
                where="prompt of 1,024 tokens: ring over star",
                ours=_exact(token(tokens=1024, topology="ring") / token(tokens=1024)),
            ),
            Region(where="disk of 8 GB/s: one device over eight, per token", ours=_exact(_fast_disk())),
        ],
        curves=[
            Curve(
                title="Step of llama-2-70b on eight devices",
                x="tokens in the step",
                y="s",
                lines={
                    name: [(float(n), token(tokens=n, topology=name)) for n in (1, 8, 64, 256, 1024)]
                    for name in ("star", "tree", "ring")
                },
                is_log_x=True,
            )
        ],
        origin="closed form on stated constants (50 GFLOP/s, memory 20 GB/s, disk 1 GB/s, links 2 ms and 1 Gb/s)",
        notes=(
            "published latencies come from devices whose disks and links are not stated: only ratios compare",
        ),
    )


def _falsifiers() -> list[Falsifier]:
    small = [NETWORK.all_reduce(name, DEVICES, 1.0) for name in ("ring", "star")]
    return [
        Falsifier(
            setting="tiny payload: ring over star, which is devices - 1",
            ours=_exact(small[0] / small[1]),
            low=DEVICES - 1.01,
            high=DEVICES - 0.99,
        ),
        Falsifier(
            setting="payload of bandwidth x latency x devices (a long prompt): ring over star",
            ours=_exact(_ring_over_star(NETWORK.bandwidth * NETWORK.latency * DEVICES)),
            high=1.0,
        ),
        Falsifier(
            setting="memory of blocks with a window of 8 over one of 4",
            ours=_exact(_blocks(8) / _blocks(4)),
            low=1.99,
            high=2.01,
        ),
    ]


def _exact(value: float) -> Estimate:
    return Estimate.exact(value)


def _ring_over_star(payload: float) -> float:
    ring, star = (NETWORK.all_reduce(name, DEVICES, payload) for name in ("ring", "star"))
    return ring / star


def _blocks(window: int) -> float:
    return peak_bytes(LARGE, DEVICES, window=window, context=0) - LARGE.end_bytes


def _fast_disk() -> float:
    alone, many = (
        Cluster(devices=n, flops=50e9, memory=20e9, disk=8e9, network=NETWORK) for n in (1, DEVICES)
    )
    return pipeline_seconds(LARGE, alone, 1, window=WINDOW) / token(many)


CLAIM = Claim(
    paper=Paper(
        cite="TPI-LLM: Serving 70B-scale LLMs Efficiently on Low-resource Edge Devices, 2024, arXiv:2410.00531",
        year=2024,
        evidence="code",
        headline="80 % less time to the first token and per token than Accelerate, 90 % less memory: 3.1 GB per device "
        "for Llama 2 70B on eight",
    ),
    methods=("latency/tpi_llm",),
    setting="llama-2-70b in fp32 on eight devices of 50 GFLOP/s, disks of 1 GB/s, hops of 2 ms",
    baseline="one device that reads each block, computes it and drops it; a pipeline with the same window; ring",
    measure=measure,
    num_seeds=1,
)
