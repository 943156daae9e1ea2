"""Samples from traffic: what ran beside a request follows from who was in the system at the same time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Any

import numpy as np

from hasten.calibration.results import Result
from hasten.calibration.sample import Sample, Step
from hasten.deployment import Deployment
from hasten.report.records import Floats, Records

MOST_REQUESTS = 24
"""Requests of one run that become samples: more of them see the same steps."""

LONE = 4
"""Requests into an idle server, at most, whose TTFT becomes a sample."""

FEWEST_STEPS = 16
"""Output tokens of a request below which its decode time says little."""

BUSY = 0.3
"""Share of steps with a prefill above which a TTFT is mostly queueing, which is not a step time."""

FEWEST_COMMON = 6
"""Steps that all requests of a probe must share before they become a sample."""

SAME_STEP = 0.4
"""Share of a step within which tokens at the client come from one step."""

MOST_STEPS_APART = 40
"""Kinds of steps of a recording that become samples."""

_PARTS = 3
"""Points in a request's life at which the batch around it is taken."""


def samples_of(result: Result, deployment: Deployment) -> tuple[list[Sample], list[str]]:
    """Samples of one run, and remarks."""
    if result.requests is not None:
        found = list(request_samples(result.requests, deployment, result.where))
        if found:
            return found, []
    return _summary_samples(result, deployment)


def _summary_samples(result: Result, deployment: Deployment) -> tuple[list[Sample], list[str]]:
    """Mean step and TTFT of a run of which only means are known (Little's law gives the batch)."""
    remarks = []
    budget = deployment.limits.max_num_batched_tokens
    later = max(result.output_tokens - 1.0, 0.0)
    decoding = _decoding(result, later)
    n = max(1, round(decoding))
    context = round(result.prompt_tokens + 0.5 * result.output_tokens)
    chunk = max(1, round(min(result.prompt_tokens, max(1, budget - n))))
    share = decoding / later * result.prompt_tokens / chunk if later else 0.0  # prefill steps per step
    found = []
    decode = Step((), n, n * context)
    if later and math.isfinite(result.tpot):
        if share < 1.0:
            mixed = Step(((chunk, 0),), n, n * context)
            steps: tuple[tuple[Step, float], ...] = ((decode, 1.0 - share), (mixed, share))
        else:
            tokens = min(round(share * chunk), max(1, budget - n))
            steps = ((Step(((tokens, 0),), n, n * context), 1.0),)
        found.append(Sample(f"{result.where}, TPOT", result.tpot, steps, count=result.count))
    if share <= BUSY:
        found.append(_ttft(result, deployment, decode if decoding >= 0.5 else None))
    else:
        remarks.append(
            f"{result.where}: TTFT left out: {share:.0%} of the steps prefill, so it is mostly queueing"
        )
    return found, remarks


def _decoding(result: Result, later: float) -> float:
    """Mean number of sequences that decode."""
    if math.isnan(result.tpot):
        return 0.0
    if math.isfinite(result.rate):
        return result.rate * result.tpot * later
    if math.isfinite(result.users):
        return result.users * result.tpot * later / (result.ttft + result.tpot * later)
    return 1.0


def _ttft(result: Result, deployment: Deployment, beside: Step | None) -> Sample:
    """TTFT in a batch that is seldom disturbed: half a step of waiting, as many more as the loop looks ahead."""
    prompt = max(1, round(result.prompt_tokens))
    steps = list(_prefill_steps(prompt, deployment, beside))
    if beside is not None:
        steps.append((beside, 0.5 + (deployment.profile.loop_depth - 1)))
    return Sample(f"{result.where}, TTFT", result.ttft, tuple(steps), front_tokens=prompt, count=result.count)


def _prefill_steps(
    prompt: int, deployment: Deployment, beside: Step | None = None
) -> Iterator[tuple[Step, float]]:
    """The steps that compute one prompt, with or without a decode batch beside."""
    n, context = (0, 0) if beside is None else (beside.decodes, beside.decode_context)
    budget = max(1, deployment.limits.max_num_batched_tokens - n)
    for done in range(0, prompt, budget):
        yield Step(((min(budget, prompt - done), done),), n, context), 1.0


# -- requests one by one


def request_samples(records: Records, deployment: Deployment, where: str) -> Iterator[Sample]:
    """Decode times of single requests, whose number of steps is known, and TTFTs into an idle server.

    A request of n tokens decodes in n - 1 steps. Those in which another one's first token came out are taken to
    hold its prefill; the batch at each point of its life is everyone between first and last token.
    """
    kept = records.select(np.flatnonzero(records.is_ok))
    life = _Lives(kept)
    long = [i for i in range(len(kept)) if kept.output_tokens[i] > FEWEST_STEPS]
    batches = {i: life.batch(0.5 * (kept.first_token[i] + kept.finish[i]))[0] for i in long}
    spread = sorted(long, key=lambda i: (batches[i], i))
    for i in _evenly(spread, MOST_REQUESTS):
        sample = life.decode_sample(i, deployment, where)
        if sample is not None:
            yield sample
    alone = sorted(
        (i for i in range(len(kept)) if life.is_alone(i)), key=lambda i: int(kept.prompt_tokens[i])
    )
    for i in _evenly(alone, LONE):
        if kept.prompt_tokens[i] > kept.cached_tokens[i]:
            yield lone_ttft(kept, i, deployment, f"{where}, request {kept.id[i] + 1}")


def lone_ttft(records: Records, i: int, deployment: Deployment, where: str) -> Sample:
    """TTFT of a request that was alone in the system."""
    prompt = int(records.prompt_tokens[i]) - int(records.cached_tokens[i])
    ttft = float(records.first_token[i] - records.arrival[i])
    return Sample(f"{where}, TTFT", ttft, tuple(_prefill_steps(prompt, deployment)), front_tokens=prompt)


def one_decode(records: Records, deployment: Deployment, where: str) -> list[Sample]:
    """Decode time of the request whose first token came last: the others decode beside it."""
    sample = _Lives(records).decode_sample(int(np.argmax(records.first_token)), deployment, where)
    return [] if sample is None else [sample]


def probe_samples(times: Sequence[Floats], prompt: int, deployment: Deployment, where: str) -> list[Sample]:
    """Steps of a probe of equal prompts sent at once, from ``times``: every request's tokens at the client (s).

    While all of them decode, every step brings a token to each; while the last are prefilled, the first decode beside,
    in steps that the budget fills. A stretch whose steps can't be told is left out.
    """
    order = sorted(times, key=lambda each: float(each[0]))
    first, last, n = order[0], order[-1], len(order)
    begin, found = float(last[0]), list[Sample]()
    late = SAME_STEP * float(np.median(np.diff(last)))  # a step's tokens reach the client one after the other
    early = [int((each < begin - late).sum()) for each in order]  # tokens before all of them decode
    common = min(len(each) - had for each, had in zip(order, early, strict=True)) - 1
    if common >= FEWEST_COMMON:
        step = Step((), n, round(n * prompt + sum(early) + 0.5 * n * common))
        name = f"{where}, {common} steps of {n}"
        found.append(Sample(name, float(last[common]) - begin, ((step, float(common)),), count=common))
    together = sum(float(each[0]) < float(first[0]) + late for each in order)
    mixed = list(_filled_steps(n, prompt, together, deployment.limits.max_num_batched_tokens))
    if mixed and len(mixed) == early[0]:
        name = f"{where}, {len(mixed)} mixed steps"
        steps = tuple((step, 1.0) for step in mixed)
        found.append(Sample(name, begin - float(first[0]), steps, count=len(mixed)))
    return found


def _filled_steps(n: int, prompt: int, together: int, budget: int) -> Iterator[Step]:
    """Steps from the first token of the first ``together`` of n prompts to that of the last: decodes, then prefills.

    A step that ``together`` prompts almost fill holds the beginning of the next one.
    """
    rest = budget - (prompt * together if prompt * together <= budget else (prompt - 1) % budget + 1)
    # tokens of the prompt under way; with more room the others had not come
    done = rest if rest < prompt else 0
    ready, emitted = together, 0
    while ready < n:
        room, chunks, before = budget - ready, list[tuple[int, int]](), ready
        while room > 0 and ready < n:
            new = min(prompt - done, room)
            chunks.append((new, done))
            room, done = room - new, done + new
            if done == prompt:
                ready, done = ready + 1, 0
        if not chunks:
            return
        yield Step(tuple(chunks), before, before * prompt + emitted)
        emitted += before


def _evenly(places: Sequence[int], most: int) -> list[int]:
    """At most so many of the places, evenly spaced."""
    if len(places) <= most:
        return list(places)
    return [places[round(i * (len(places) - 1) / (most - 1))] for i in range(most)]


class _Lives:
    """Who decodes when, from the first and last tokens of all requests."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.order = np.argsort(records.first_token, kind="stable")
        self.first = records.first_token[self.order]

    def batch(self, at: float) -> tuple[int, int]:
        """(sequences that decode, sum of their contexts) at a moment."""
        records = self.records
        inside = (records.first_token <= at) & (records.finish > at)
        lasting = np.maximum(records.finish[inside] - records.first_token[inside], 1e-9)
        share = (at - records.first_token[inside]) / lasting
        tokens = records.prompt_tokens[inside] + share * records.output_tokens[inside]
        return int(inside.sum()), round(float(tokens.sum()))

    def is_alone(self, i: int) -> bool:
        """Whether nobody else was in the system while request ``i`` waited for its first token."""
        records = self.records
        others = (records.arrival < records.first_token[i]) & (records.finish > records.arrival[i])
        return int(others.sum()) == 1

    def decode_sample(self, i: int, deployment: Deployment, where: str) -> Sample | None:
        """The decode time of one request as a sum of steps; None where these can't be told."""
        records = self.records
        begin, end = float(records.first_token[i]), float(records.finish[i])
        steps = int(records.output_tokens[i]) - 1
        budget = deployment.limits.max_num_batched_tokens
        low, high = np.searchsorted(self.first, [begin, end], side="right")
        groups = _groups(self.first[low:high], 0.3 * (end - begin) / steps)
        prompts = (records.prompt_tokens - records.cached_tokens)[self.order][low:high]
        sums = [int(prompts[a:b].sum()) for a, b in groups]
        mixed = sum(-(-tokens // budget) for tokens in sums)
        if not end > begin or mixed > steps:
            return None
        parts: dict[Step, float] = {}
        for part in range(_PARTS):
            n, context = self.batch(begin + (part + 0.5) / _PARTS * (end - begin))
            step = Step((), max(n, 1), max(context, 1))
            parts[step] = parts.get(step, 0.0) + (steps - mixed) / _PARTS
        if mixed:
            n, context = self.batch(0.5 * (begin + end))
            tokens = max(1, round(sum(sums) / mixed))
            parts[Step(((tokens, 0),), max(n, 1), max(context, 1))] = float(mixed)
        name = f"{where}, request {records.id[i] + 1}, {steps} steps"
        return Sample(name, end - begin, tuple(parts.items()), count=steps)


def _groups(times: Floats, apart: float) -> list[tuple[int, int]]:
    """Ranges of times that lie closer together than ``apart``: first tokens of one step."""
    if not len(times):
        return []
    cuts = [0, *(np.flatnonzero(np.diff(times) > apart) + 1).tolist(), len(times)]
    return list(itertools.pairwise(cuts))


# -- recorded turns of our own engine


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
