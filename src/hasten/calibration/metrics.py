"""A scrape of a server's /metrics (the ``vllm:`` names) as samples: mean steps out of sums and counts of histograms.

Sums and counts are exact, buckets are not used. `iteration_tokens_total` counts the steps; the mean batch is the
number of gaps between tokens per step. Servers without it say how many requests run (`num_requests_running`).
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence

from hasten.calibration.sample import Sample, Step
from hasten.deployment import Deployment
from hasten.errors import InputError
from hasten.report.exposition import Lines, pages, samples

_NAME = re.compile(r"^(?:\w+_)?vllm:(?P<name>\w+)$")

Scrape = Mapping[str, float]
"""Value by name without prefix, summed over engines and labels."""


COUNTED = ("_sum", "_count", "_total")
"""Endings of what only ever rises."""


def is_scrape(text: str) -> bool:
    """Whether the text looks like the metrics page of a server with vLLM's names."""
    return "vllm:" in text and ("# TYPE" in text or "_sum" in text)


def read_scrapes(text: str, name: str) -> list[dict[str, float]]:
    """Sums, counts, counters and gauges of every page of a text, one after the other.

    Raises InputError for a value that is no number, a sum or count that can't be, or a cut page.
    """
    return [_read_page(page, name) for page in pages(text)]


def _read_page(page: Lines, where: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for sample in samples(page, where):
        match = _NAME.match(sample.name)
        if match is None or match["name"].endswith(("_bucket", "_created")):
            continue
        key, value = match["name"], sample.value
        is_counted = key.endswith(COUNTED)
        if math.isnan(value) and not is_counted:
            continue  # a gauge that nobody has set
        if not math.isfinite(value) or value < 0.0:
            raise InputError(f"{where}: line {sample.line}: {key} is {value:g}: a number from 0 up is needed")
        found[key] = found.get(key, 0.0) + value
    return found


def difference(before: Scrape, after: Scrape, name: str) -> dict[str, float]:
    """What happened between two scrapes; gauges are averaged. Raises InputError when a counter went backwards."""
    found = {}
    for key, value in after.items():
        if key.endswith(COUNTED):
            found[key] = value - before.get(key, 0.0)
            if found[key] < 0.0:
                raise InputError(
                    f"{name}: {key} fell from {before[key]:g} to {value:g}: the server was restarted in between, or "
                    "the scrapes are in the wrong order"
                )
        else:
            found[key] = 0.5 * (value + before.get(key, value))
    return found


def scrape_samples(scrape: Scrape, deployment: Deployment, where: str) -> list[Sample]:
    """The mean step, and the mean prefill, of what a scrape sums up. Raises InputError when nothing was served."""
    gaps, gap = _mean(scrape, "inter_token_latency_seconds")
    if not gaps:
        gaps, gap = _mean(scrape, "time_per_output_token_seconds")
    requests, _ = _mean(scrape, "time_to_first_token_seconds")
    if not gaps or not requests:
        raise InputError(f"{where}: no tokens between the scrapes: serve something, then scrape again")
    _, prompt = _mean(scrape, "request_prompt_tokens")
    _, output = _mean(scrape, "request_generation_tokens")
    prompt = prompt or scrape.get("prompt_tokens_total", 0.0) / requests
    output = output or (gaps + requests) / requests
    if not prompt:
        raise InputError(
            f"{where}: neither request_prompt_tokens nor prompt_tokens: prompt lengths are needed"
        )
    cached = min(0.9, scrape.get("prompt_tokens_cached_total", 0.0) / max(prompt * requests, 1.0))
    n, share, chunk = _batch(
        scrape, deployment, where, gaps=gaps, requests=requests, prompt=prompt * (1 - cached)
    )
    context = round(prompt + 0.5 * output)
    past = round(prompt * cached)
    decode, mixed = Step((), n, n * context), Step(((chunk, past),), n, n * context)
    found = [
        Sample(
            f"{where}, gap between tokens", gap, ((decode, 1.0 - share), (mixed, share)), count=round(gaps)
        )
    ]
    count, prefill = _mean(scrape, "request_prefill_time_seconds")
    if count and prefill > 0.0:
        left = max(1, round(prompt) - past)
        steps = [
            (Step(((min(chunk, left - done), past + done),), n - 1, (n - 1) * context), 1.0)
            for done in range(0, left, chunk)
        ]
        found.append(Sample(f"{where}, prefill time", prefill, tuple(steps), count=round(count)))
    return found


def _batch(
    scrape: Scrape, deployment: Deployment, where: str, *, gaps: float, requests: float, prompt: float
) -> tuple[int, float, int]:
    """(mean sequences that decode, share of steps that prefill, prefill tokens of such a step)."""
    steps = scrape.get("iteration_tokens_total_count", 0.0)
    n = gaps / steps if steps else scrape.get("num_requests_running", 0.0)
    if not n:
        raise InputError(
            f"{where}: neither iteration_tokens_total nor a positive num_requests_running: the batch is not known. "
            "Scrape twice under load"
        )
    whole = max(1, round(n))
    chunk = max(1, round(min(prompt, max(1, deployment.limits.max_num_batched_tokens - whole))))
    prefills = requests * max(1.0, prompt / chunk)
    return whole, min(1.0, prefills / (steps or gaps / n)), chunk


def _mean(scrape: Scrape, name: str) -> tuple[float, float]:
    """(count, mean) of a histogram; (0, 0) when it is not there or empty."""
    count = scrape.get(f"{name}_count", 0.0)
    return (count, scrape.get(f"{name}_sum", 0.0) / count) if count else (0.0, 0.0)


def scrapes_samples(
    files: Sequence[tuple[str, str]], deployment: Deployment
) -> tuple[list[Sample], list[str]]:
    """Samples of (name, text) of files: of one page all since the server started, of more what lies between.

    A file may hold several pages, one after the other.
    """
    read = [(name, each) for name, text in files for each in read_scrapes(text, name)]
    if not read:
        raise InputError(f"{files[0][0]}: holds no metric")
    if len(read) == 1:
        name, only = read[0]
        note = f"{name}: one scrape sums up everything since the server started, warm-up included: two are better"
        return scrape_samples(only, deployment, name), [note]
    read.sort(key=lambda page: page[1].get("inter_token_latency_seconds_count", 0.0))
    found: list[Sample] = []
    served = [page[1].get("inter_token_latency_seconds_count", 0.0) for page in read]
    if served[0] < served[-1]:  # nothing is told by pages between which nothing was served
        read = [page for place, page in enumerate(read) if not place or served[place] > served[place - 1]]
    for (first, before), (second, after) in itertools.pairwise(read):
        where = f"{first} to {second}"
        found += scrape_samples(difference(before, after, where), deployment, where)
    return found, []
