"""Who sends probes: HTTP to a live OpenAI-compatible server, or our own engine in this process."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from hasten.calibration.probing import Probe
from hasten.calibration.sample import Sample, Step
from hasten.calibration.traffic import lone_ttft, one_decode
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.workload import Workload

MOST_STEPS_APART = 40
"""Kinds of steps of a recording that become samples."""


def http_sender(target: Any, deployment: Deployment) -> Callable[[Probe, int], list[Sample]]:
    """Sends probes to a `hasten.engine.load.Target`; every probe has prompts of its own, so that nothing is cached."""
    from dataclasses import replace

    from hasten.engine.load import Load

    def send(probe: Probe, number: int) -> list[Sample]:
        ones = np.ones(probe.sequences, dtype=np.int32)
        work = Workload(
            arrival=np.zeros(probe.sequences),
            prompt_tokens=probe.prompt * ones,
            output_tokens=probe.output * ones,
            max_tokens=probe.output * ones,
            origin="probe",
        )
        load = Load(replace(target, seed=target.seed + 1 + number), work)
        records = asyncio.run(load.run())
        if not records.is_ok.all():
            reason = next(iter(load.errors), "no answer")
            raise InputError(
                f"{target.url}: probe {number + 1} failed ({reason}): is the model's context long enough?"
            )
        where = f"probe {number + 1} ({probe.sequences} x {probe.prompt} tokens)"
        found = []
        if probe.output > 1:
            found += one_decode(records, deployment, where)
        if probe.sequences == 1:
            found.append(lone_ttft(records, 0, deployment, where))
        return found

    return send


def engine_sender(engine: Any, vocab: int) -> Callable[[Probe, int], list[Sample]]:
    """Runs probes on an engine of this process that records its turns; what its steps took is what they took."""
    from hasten.core.request import Request
    from hasten.engine.sampling import Chooser, SamplingParams
    from hasten.engine.sequence import Sequence as Running

    params = SamplingParams(temperature=0.0, ignore_eos=True)

    def send(probe: Probe, number: int) -> list[Sample]:
        numbers = random.Random(f"probe {number}")
        turns = len(engine.recording.turns)
        for i in range(probe.sequences):
            prompt = [numbers.randrange(3, vocab) for _ in range(probe.prompt)]
            request = Request(1000 * number + i, 0.0, probe.prompt, probe.output)
            engine.submit(Running(request, prompt, Chooser(params, prompt, (), seed=i), lambda output: None))
        engine.run_until_idle()
        engine.turn()  # an empty turn: it ends the last step
        return turn_samples(engine.recording.turns[turns:], f"probe {number + 1}")

    return send


def build_prober(directory: Path, deployment: Deployment) -> Callable[[Probe, int], list[Sample]]:
    """Our engine over the checkpoint in ``directory``, under the deployment's limits, warmed up."""
    from hasten.engine.build import EngineOptions, build_engine
    from hasten.engine.config import load_config

    limits = deployment.limits
    engine = build_engine(
        EngineOptions(
            directory,
            max_model_len=limits.max_model_len,
            max_num_seqs=limits.max_num_seqs,
            max_num_batched_tokens=limits.max_num_batched_tokens,
            block_size=limits.block_size,
            prefix_caching=False,
        ),
        record=True,
    )
    send = engine_sender(engine, load_config(directory).vocab)
    for number in (900_000, 900_001):
        send(Probe(2, 32, 4), number)
    return send


def turn_samples(turns: Iterable[Any], where: str) -> list[Sample]:
    """Steps of recorded turns, the median of those that are alike; a step lasts until the next turn begins."""
    alike: dict[tuple[int, int, int], list[tuple[float, Step]]] = {}
    listed = list(turns)
    for turn, following in itertools.pairwise(listed):
        made = turn.decision
        if made is None or not following.now > turn.now:
            continue
        step = Step(
            tuple((tokens, context) for _, tokens, context in made.chunks),
            len(made.decodes),
            made.decode_context,
        )
        key = (_rounded(step.prefill_tokens), _rounded(step.decodes), _rounded(step.mean_context))
        alike.setdefault(key, []).append((following.now - turn.now, step))
    largest = sorted(alike.values(), key=len, reverse=True)[:MOST_STEPS_APART]
    return [_middle(group, f"{where}, {len(group)} steps") for group in largest]


def _rounded(value: float) -> int:
    """The power of two next to a count, so that like steps share a key."""
    return round(np.log2(value)) if value > 0 else -1


def _middle(group: Sequence[tuple[float, Step]], where: str) -> Sample:
    """The mean step of a group with its median duration, each step's share scaled by its part."""
    share = 1.0 / len(group)
    weights: dict[Step, float] = {}
    for _, step in group[:: max(1, len(group) // 4)]:
        weights[step] = weights.get(step, 0.0) + share
    total = sum(weights.values())
    steps = tuple((step, weight / total) for step, weight in weights.items())
    return Sample(where, median(seconds for seconds, _ in group), steps, count=len(group))


clock = time.perf_counter
