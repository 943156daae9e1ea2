"""Decoding with part of the KV in host memory, where the CPU computes attention while the GPU goes on.

Source: "Parallel CPU-GPU Execution for LLM Inference on Constrained GPUs" (APEX), 2025, arXiv:2506.03296, after its
abstract; the rule by which a mode is chosen is reconstructed.
"""

from __future__ import annotations

from dataclasses import dataclass

from hasten.errors import InputError
from hasten.latency.compiled import StepCost


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the host's side can do: memory `bandwidth` that attention reaches (B/s), `link` to the GPU (B/s)."""

    bandwidth: float
    link: float = 12e9

    def __post_init__(self) -> None:
        if not self.bandwidth >= 0.0 or not self.link > 0.0:
            raise InputError(
                f"bandwidth is {self.bandwidth} B/s and link {self.link} B/s: give 0 or more, and above 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Sequences that decode, `context` tokens long on average; the GPU's KV holds `gpu` of them, the host the rest.

    `kv_bytes` per token over all layers; `exchange` bytes per token and sequence cross the link (queries out, outputs
    back). Without a host in play the rest wait.
    """

    gpu: int
    cpu: int
    context: int
    kv_bytes: float
    exchange: float

    def __post_init__(self) -> None:
        if (
            self.gpu < 1
            or self.cpu < 0
            or self.context < 1
            or not self.kv_bytes > 0.0
            or not self.exchange >= 0.0
        ):
            raise InputError(f"{self}: give at least one sequence on the GPU, a context, and bytes above 0")


@dataclass(frozen=True, slots=True)
class Rate:
    """Tokens/s of one mode, by where the sequences are, and the GPU's step (s)."""

    mode: str
    gpu: float
    cpu: float
    step: float

    @property
    def total(self) -> float:
        """Tokens/s."""
        return self.gpu + self.cpu


def decode_rates(cost: StepCost, load: Load, host: Host) -> list[Rate]:
    """Three modes: GPU-resident sequences alone, two half batches in turn, sequences of the CPU that join by layers.

    gpu: G / t(G). pipelined: both half batches pass the linear layers, t_lin(G) + t_att(G) + t_lin(C), while the CPU
    computes the attention of C for C context kv / BW seconds, which may stall the GPU; the best C is taken. overlapped:
    the GPU's step carries e rows of the CPU's sequences, t(G + e) without their attention; the CPU delivers them at
    most as fast as it reads their KV, and the link as it carries queries and outputs.
    """
    linear, attention = _parts(cost, load.gpu, load.context)
    alone = linear + attention
    modes = [Rate("gpu", load.gpu / alone, 0.0, alone)]
    per_token = load.context * load.kv_bytes
    best = Rate("pipelined", modes[0].gpu, 0.0, alone)
    for count in range(1, load.cpu + 1 if host.bandwidth else 1):
        other, _ = _parts(cost, count, load.context)
        step = max(alone + other, count * max(per_token / host.bandwidth, load.exchange / host.link) + other)
        found = Rate("pipelined", load.gpu / step, count / step, step)
        if found.total > best.total:
            best = found
    modes.append(best)
    modes.append(_overlapped(cost, load, host, alone, attention))
    return modes


def best_rate(cost: StepCost, load: Load, host: Host, *, slowdown: float = 0.05) -> Rate:
    """The mode with the most tokens/s; overlapping may lengthen the GPU's step by at most `slowdown` (a share)."""
    modes = decode_rates(cost, load, host)
    alone = modes[0].step
    fit = [each for each in modes if each.mode != "overlapped" or each.step <= alone * (1 + slowdown)]
    return max(fit, key=lambda each: each.total)


def _overlapped(cost: StepCost, load: Load, host: Host, alone: float, attention: float) -> Rate:
    """Rows per step by fixed point: a longer step lets the CPU deliver more, up to its bandwidth."""
    if not load.cpu or not host.bandwidth:
        return Rate("overlapped", load.gpu / alone, 0.0, alone)
    most = min(host.bandwidth / (load.context * load.kv_bytes), host.link / max(load.exchange, 1e-9))
    step = alone
    for _ in range(50):
        rows = min(most * step, float(load.cpu))
        low, high = (_parts(cost, load.gpu + extra, load.context)[0] for extra in (int(rows), int(rows) + 1))
        step = low + (high - low) * (rows - int(rows)) + attention
    return Rate("overlapped", load.gpu / step, min(most * step, float(load.cpu)) / step, step)


def _parts(cost: StepCost, count: int, context: int) -> tuple[float, float]:
    """Seconds of a decode step of `count` sequences: without attention's reading of KV, and that."""
    fixed, slope, _ = cost.decode_line(count, count * context)
    return fixed, slope * count * context
