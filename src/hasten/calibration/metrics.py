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

_LINE = re.compile(r"^(?:\w+_)?vllm:(?P<name>\w+?)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)(?:\s+\d+)?$")

Scrape = Mapping[str, float]
"""Value by name without prefix, summed over engines and labels."""


def is_scrape(text: str) -> bool:
    """Whether the text looks like the metrics page of a server with vLLM's names."""
    return "vllm:" in text and ("# TYPE" in text or "_sum" in text)


def read_scrape(text: str, name: str) -> dict[str, float]:
    """Sums, counts, counters and gauges of a page. Raises InputError for a value that is no number or a cut page."""
    found: dict[str, float] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#") or "vllm:" not in line:
            continue
        match = _LINE.match(line.strip())
        if match is None:
            raise InputError(f"{name}, line {number}: {line[:60]!r} is no metric: is the page cut?")
        key = match["name"]
        if key.endswith("_bucket") or key.endswith("_created"):
            continue
        try:
            value = float(match["value"])
        except ValueError:
            raise InputError(f"{name}, line {number}: {match['value']!r} is not a number") from None
        if not math.isfinite(value) or value < 0.0:
            raise InputError(f"{name}, line {number}: {key} is {value:g}: a number from 0 up is needed")
        found[key] = found.get(key, 0.0) + value
    return found


def difference(before: Scrape, after: Scrape, name: str) -> dict[str, float]:
    """What happened between two scrapes; gauges are averaged. Raises InputError when a counter went backwards."""
    found = {}
    for key, value in after.items():
        if key.endswith(("_sum", "_count", "_total")):
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
    pages: Sequence[tuple[str, str]], deployment: Deployment
) -> tuple[list[Sample], list[str]]:
    """Samples of (name, text) pages: of one what it sums up since the server started, of more what lies between."""
    read = [(name, read_scrape(text, name)) for name, text in pages]
    if len(read) == 1:
        name, only = read[0]
        note = f"{name}: one scrape sums up everything since the server started, warm-up included: two are better"
        return scrape_samples(only, deployment, name), [note]
    read.sort(key=lambda page: page[1].get("inter_token_latency_seconds_count", 0.0))
    found: list[Sample] = []
    for (first, before), (second, after) in itertools.pairwise(read):
        where = f"{first} to {second}"
        found += scrape_samples(difference(before, after, where), deployment, where)
    return found, []
