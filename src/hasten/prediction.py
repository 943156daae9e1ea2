"""What one step of a deployment takes and what its memory holds, without a simulation: `hasten predict`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.latency import StepTime
from hasten.latency.memory import GIB, KVCapacity

CONFIDENCE = 0.9
"""Probability with which a step's time lies in the interval shown."""

TESTED_BATCH, TESTED_CONTEXT = 256, 10_000
"""Most sequences of a step, and tokens of a sequence, in the points that the errors were estimated from."""

PARTS = ("weights", "kv", "compute", "communication", "launches", "host")
"""The parts of a StepTime, in the order in which they are shown."""


@dataclass(frozen=True)
class DecodeStep:
    """One step in which `batch` sequences with `context` tokens in KV each get one token more."""

    batch: int
    context: int
    time: StepTime


@dataclass(frozen=True)
class LonePrefill:
    """The `steps` steps, `time` in all, that compute a prompt of `prompt` tokens on an idle server, nothing cached."""

    prompt: int
    steps: int
    time: StepTime


@dataclass(frozen=True)
class Prediction:
    """One decode step and one lone prompt on one data-parallel rank of a replica. Seconds, tokens, bytes."""

    deployment: Deployment
    decode: DecodeStep
    prefill: LonePrefill

    @property
    def kv(self) -> KVCapacity:
        """Room for KV on one rank, with its formula."""
        return self.deployment.kv

    @property
    def tpot(self) -> float:
        """Seconds per output token of every sequence of the batch."""
        return self.decode.time.seconds

    @property
    def ttft(self) -> float:
        """Seconds from arrival to first token of the lone prompt: its prefill and the engine's front end."""
        fixed, per_token = self.deployment.front_end
        return self.prefill.time.seconds + fixed + per_token * self.prefill.prompt

    @property
    def output_tokens_per_second(self) -> float:
        """Tokens per second of all replicas while every rank decodes such a batch and nothing else."""
        ranks = self.deployment.replicas * self.deployment.parallelism.dp
        return ranks * self.decode.batch / self.tpot

    @property
    def prompt_tokens_per_second(self) -> float:
        """Prompt tokens per second of all replicas while every rank computes such prompts and nothing else."""
        ranks = self.deployment.replicas * self.deployment.parallelism.dp
        return ranks * self.prefill.prompt / self.prefill.time.seconds

    @property
    def room(self) -> int:
        """Sequences of `context` tokens that one rank's KV cache holds, each about to get one token more."""
        return self.kv.usable_blocks // -(-(self.decode.context + 1) // self.kv.block_size)

    @property
    def weight_bytes_per_device(self) -> float:
        """Bytes of weights on the fullest device."""
        sizes = self.deployment.parallelism
        return self.deployment.model.weight_bytes_per_device(sizes.tp, sizes.pp, sizes.ep)

    @property
    def notes(self) -> tuple[str, ...]:
        """What stands in the way of running the step as asked."""
        limit, batch, context = self.deployment.limits.max_num_seqs, self.decode.batch, self.decode.context
        found = list(self._doubts())
        if batch > limit:
            found.append(f"the engine runs at most max_num_seqs = {limit:,} sequences at once, not {batch:,}")
        if batch > self.room:
            found.append(
                f"the KV cache holds {self.room:,} sequences of {context:,} tokens, not {batch:,}: "
                "the others would wait"
            )
        return tuple(found)

    def _doubts(self) -> Iterator[str]:
        """Where the step times are stretched beyond what was measured."""
        calibration = self.deployment.calibration
        if calibration is None:
            yield from self._extrapolations()
            return
        if not calibration.is_of(self.deployment.model.name, self.deployment.parallelism.label):
            subject = calibration.subject
            yield f"calibrated with {subject.model} {subject.split}: the error is wider for another model"
        seen, batch, context = calibration.range, self.decode.batch, self.decode.context
        if seen.doublings_outside(0, batch, context) > 0.0:
            yield (
                f"extrapolated: the calibration saw decodes of {seen.decodes_low:,} to {seen.decodes_high:,} sequences "
                f"and contexts up to {seen.context_high:,} tokens"
            )
        budget = self.deployment.limits.max_num_batched_tokens
        if seen.doublings_outside(min(self.prefill.prompt, budget), 0, 0) > 0.0:
            yield f"extrapolated: the calibration saw at most {seen.prefill_high:,} prefill tokens in a step"

    def _extrapolations(self) -> Iterator[str]:
        """The same without a calibration: what published deployments say nothing about."""
        latency = self.deployment.latency
        if latency.is_extrapolated:
            yield (
                f"extrapolated: no published deployment {latency.extrapolation} stands behind its error, "
                f"which is widened by {latency.widening - 1.0:.0%}"
            )
        if self.decode.batch > TESTED_BATCH or self.decode.context > TESTED_CONTEXT:
            yield (
                f"extrapolated: the error comes from at most {TESTED_BATCH} sequences and contexts up to "
                f"{TESTED_CONTEXT:,} tokens"
            )

    def decode_interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Seconds between which the decode step lasts with probability ``confidence``."""
        factors = self.deployment.latency.step_error.decode.interval(confidence, single=True)
        return self.tpot * factors[0], self.tpot * factors[1]

    def prefill_interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Seconds between which the lone prompt's steps last with probability ``confidence``."""
        factors = self.deployment.latency.step_error.prefill.interval(confidence, single=True)
        return self.prefill.time.seconds * factors[0], self.prefill.time.seconds * factors[1]

    def to_dict(self) -> dict[str, Any]:
        """Every figure under a key with its unit."""
        deployment = self.deployment
        return {
            "model": deployment.model.name,
            "deployment": deployment.label,
            "engine": deployment.profile.name,
            "decode": {
                "batch": self.decode.batch,
                "context_tokens": self.decode.context,
                "tpot_ms": self.tpot * 1e3,
                **_parts_ms(self.decode.time),
                **_provenance(self.decode.time),
                **_interval_ms(self.decode_interval()),
                "output_tokens_per_s_per_user": 1.0 / self.tpot,
                "output_tokens_per_s": self.output_tokens_per_second,
            },
            "prefill": {
                "prompt_tokens": self.prefill.prompt,
                "steps": self.prefill.steps,
                "ttft_ms": self.ttft * 1e3,
                **_parts_ms(self.prefill.time),
                **_provenance(self.prefill.time),
                **_interval_ms(self.prefill_interval()),
                "prompt_tokens_per_s": self.prompt_tokens_per_second,
            },
            "memory": {
                "weights_per_device_gib": self.weight_bytes_per_device / GIB,
                "kv_per_device_gib": self.kv.kv_bytes / GIB,
                "kv_cache_tokens": self.kv.tokens,
                "kv_cache_blocks": self.kv.num_blocks,
                "kv_cache_origin": self.kv.origin,
                "kv_cache_relative_error": self.kv.error,
                "sequences_at_context": self.room,
                "formula": self.kv.formula,
                "host_kv_tokens": 0
                if deployment.host is None
                else deployment.host.num_blocks * self.kv.block_size,
            },
            "price_usd_per_hour": deployment.price_per_hour,
            "notes": list(self.notes),
        }


def predict(deployment: Deployment, *, batch: int = 1, context: int = 1024, prompt: int = 1024) -> Prediction:
    """Decode and prefill time with their breakdown, and the room for KV, of one deployment.

    `batch` sequences decode together on each data-parallel rank, with `context` tokens in KV each; one prompt of
    `prompt` tokens is computed alone, in chunks of the engine's token budget. Raises InputError when the model
    does not fit, or for counts below 1 or above the context window.
    """
    window = deployment.limits.max_model_len
    for name, value, most in (
        ("batch", batch, 1 << 20),
        ("context", context, window - 1),
        ("prompt", prompt, window),
    ):
        if not 1 <= value <= most:
            limit = f"{most:,}" + ("" if name == "batch" else f" (max_model_len {window:,})")
            raise InputError(f"{name} is {value:,}: give 1 to {limit}")
    sizes, latency = deployment.parallelism, deployment.latency
    chunks = list(_chunks(deployment, prompt))
    _ = deployment.kv  # raises when the model does not fit
    decode = latency.step_time(
        decodes=batch,
        decode_context=batch * context,
        group_tokens=batch * sizes.dp if sizes.is_lockstep else None,
    )
    prefill = _total([latency.step_time([chunk]) for chunk in chunks])
    return Prediction(
        deployment, DecodeStep(batch, context, decode), LonePrefill(prompt, len(chunks), prefill)
    )


def _chunks(deployment: Deployment, prompt: int) -> list[tuple[int, int]]:
    """(tokens, context) of the steps in which the engine computes a lone prompt."""
    limits = deployment.limits
    size = limits.max_num_batched_tokens if limits.chunked_prefill else prompt
    if limits.long_prefill_token_threshold:
        size = min(size, limits.long_prefill_token_threshold)
    return [(min(size, prompt - done), done) for done in range(0, prompt, size)]


def _total(steps: list[StepTime]) -> StepTime:
    """The sum of several steps, part by part; the least sure of them says where it comes from."""
    sums = {part: sum(getattr(step, part) for step in steps) for part in PARTS}
    doubtful = max(steps, key=lambda step: step.error)
    return StepTime(**sums, origin=doubtful.origin, error=doubtful.error)


def _parts_ms(step: StepTime) -> dict[str, float]:
    return {f"{part}_ms": getattr(step, part) * 1e3 for part in PARTS}


def _interval_ms(span: tuple[float, float]) -> dict[str, Any]:
    """Both ends of the interval of a step's own time, without front end."""
    return {
        "interval_confidence": CONFIDENCE,
        "interval_low_ms": span[0] * 1e3,
        "interval_high_ms": span[1] * 1e3,
    }


def _provenance(step: StepTime) -> dict[str, Any]:
    return {"origin": step.origin, "relative_error": step.error}
