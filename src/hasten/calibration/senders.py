"""Who sends probes: HTTP to a live OpenAI-compatible server, or our own engine in this process."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hasten.calibration.probing import Probe
from hasten.calibration.sample import Sample
from hasten.calibration.traffic import lone_ttft, one_decode, probe_samples, turn_samples
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.workload import Workload

REPEATS = 3
"""Times that a probe of one sequence is sent, one after the other, for the median: one first token averages nothing."""


def http_sender(target: Any, deployment: Deployment) -> Callable[[Probe, int], list[Sample]]:
    """Sends probes to a `hasten.engine.load.Target`; every probe has prompts of its own, so that nothing is cached."""
    from dataclasses import replace

    from hasten.engine.load import Load

    def served(probe: Probe, number: int, turn: int) -> Load:
        ones = np.ones(probe.sequences, dtype=np.int32)
        work = Workload(
            arrival=np.zeros(probe.sequences),
            prompt_tokens=probe.prompt * ones,
            output_tokens=probe.output * ones,
            max_tokens=probe.output * ones,
            origin="probe",
        )
        load = Load(replace(target, seed=target.seed + 1 + number + 1000 * turn), work)
        records = asyncio.run(load.run())
        if not records.is_ok.all():
            reason = next(iter(load.errors), "no answer")
            raise InputError(
                f"{target.url}: probe {number + 1} failed ({reason}): is the model's context long enough?"
            )
        return load

    def decodes(load: Load, probe: Probe, where: str) -> list[Sample]:
        times = [each.token_times for each in load.outcomes]
        whole = all(len(each) == probe.output for each in times)  # no two tokens came as one
        if whole and not any(each.cached_tokens for each in load.outcomes):
            found = probe_samples(times, probe.prompt, deployment, where)
            if found:
                return found
        return one_decode(load.records(), deployment, where)

    def send(probe: Probe, number: int) -> list[Sample]:
        where = f"probe {number + 1} ({probe.sequences} x {probe.prompt} tokens)"
        runs = [served(probe, number, turn) for turn in range(REPEATS if probe.sequences == 1 else 1)]
        found = []
        if probe.output > 1:
            found.append(_middle([decodes(run, probe, where) for run in runs]))
        if probe.sequences == 1:
            found.append(_middle([[lone_ttft(run.records(), 0, deployment, where)] for run in runs]))
        return [sample for each in found for sample in each]

    return send


def _middle(runs: list[list[Sample]]) -> list[Sample]:
    """The run of median duration, of those that told anything."""
    told = sorted((each for each in runs if each), key=lambda each: each[0].seconds)
    return told[len(told) // 2] if told else []


def engine_sender(engine: Any, vocab: int) -> Callable[[Probe, int], list[Sample]]:
    """Runs probes on an engine of this process, whose turns say how long every step took."""
    from hasten.core.request import Request
    from hasten.engine.recording import Recorder
    from hasten.engine.sampling import Chooser, SamplingParams
    from hasten.engine.sequence import Sequence as Running

    params = SamplingParams(temperature=0.0, ignore_eos=True)
    turns: list[Any] = []
    engine.recorder = Recorder(turns.append)

    def send(probe: Probe, number: int) -> list[Sample]:
        numbers = random.Random(f"probe {number}")
        turns.clear()
        for i in range(probe.sequences):
            prompt = [numbers.randrange(3, vocab) for _ in range(probe.prompt)]
            request = Request(1000 * number + i, 0.0, probe.prompt, probe.output)
            engine.submit(Running(request, prompt, Chooser(params, prompt, (), seed=i), lambda output: None))
        engine.run_until_idle()
        engine.turn()  # an empty turn: it ends the last step
        return turn_samples(turns, f"probe {number + 1}")

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
        )
    )
    send = engine_sender(engine, load_config(directory).vocab)
    for number in (900_000, 900_001):
        send(Probe(2, 32, 4), number)
    return send


clock = time.perf_counter
