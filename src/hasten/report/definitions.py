"""The same word for different quantities: what TTFT, TPOT and ITL mean to each load generator, and how to convert.

t0 request sent, t1 first and tn last output token, n output tokens; the end of the response counts as tn. From the
sources of vllm bench serve, guidellm, AIPerf (successor of genai-perf) and inference-perf.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping

import numpy as np

from hasten.errors import InputError
from hasten.report import metrics
from hasten.report.metrics import Summary
from hasten.report.records import Floats, Ints, Records


class Quantity(enum.Enum):
    """What a metric really measures, in seconds."""

    FIRST_TOKEN = "t1 - t0"
    LATER_PACE = "(tn - t1) / (n - 1) per request"
    FULL_PACE = "(tn - t0) / n per request"
    GAPS = "every gap between tokens, pooled"
    END_TO_END = "tn - t0"


DEFINITIONS: Mapping[str, Mapping[str, Quantity]] = {
    "vllm": {
        "ttft": Quantity.FIRST_TOKEN,
        "tpot": Quantity.LATER_PACE,
        "itl": Quantity.GAPS,
        "e2el": Quantity.END_TO_END,
    },
    "guidellm": {
        "ttft": Quantity.FIRST_TOKEN,
        "tpot": Quantity.FULL_PACE,
        "itl": Quantity.LATER_PACE,
        "request_latency": Quantity.END_TO_END,
    },
    "aiperf": {
        "ttft": Quantity.FIRST_TOKEN,
        "itl": Quantity.LATER_PACE,
        "icl": Quantity.GAPS,
        "request_latency": Quantity.END_TO_END,
    },
    "inference-perf": {
        "ttft": Quantity.FIRST_TOKEN,
        "tpot": Quantity.LATER_PACE,
        "ntpot": Quantity.FULL_PACE,
        "itl": Quantity.GAPS,
        "request_latency": Quantity.END_TO_END,
    },
}


def quantity(definitions: str, metric: str) -> Quantity:
    """What `metric` measures under `definitions`; raise InputError for a name either does not know."""
    names = DEFINITIONS.get(definitions)
    if names is None:
        raise InputError(f"unknown definitions {definitions!r}: choose {', '.join(DEFINITIONS)}")
    if metric not in names:
        raise InputError(f"{definitions} defines no {metric!r}: it has {', '.join(names)}")
    return names[metric]


def translate(metric: str, *, source: str, target: str) -> str:
    """The name that `target` gives to what `source` calls `metric`; raise InputError when it has no such metric."""
    meaning = quantity(source, metric)
    for name in DEFINITIONS.get(target, {}):
        if quantity(target, name) is meaning:
            return name
    if target not in DEFINITIONS:
        raise InputError(f"unknown definitions {target!r}: choose {', '.join(DEFINITIONS)}")
    raise InputError(
        f"{source} {metric} is {meaning.value}: {target} has no such metric; convert per request (needs n) instead"
    )


def require_same(definitions: Collection[str], metric: str) -> None:
    """Raise InputError unless `metric` measures the same under all `definitions`: no silent mixing."""
    meanings = {name: quantity(name, metric) for name in sorted(set(definitions))}
    if len(set(meanings.values())) > 1:
        listed = "; ".join(f"{name}: {meaning.value}" for name, meaning in meanings.items())
        raise InputError(f"{metric} means different things ({listed}): convert one side with --definitions")


def convert(
    metric: str,
    values: Floats,
    *,
    source: str,
    target_metric: str,
    target: str,
    ttft: Floats,
    output_tokens: Ints,
) -> Floats:
    """Per-request `values` of `source`'s `metric` in seconds as `target`'s `target_metric`.

    ttft (seconds) and output_tokens are those of the same requests. NaN where the result is undefined (a pace after
    the first token for n = 1). Raises InputError for pooled gaps, which no per-request value contains.
    """
    before, after = quantity(source, metric), quantity(target, target_metric)
    if before is after:
        return values
    if Quantity.GAPS in (before, after) or before is Quantity.FIRST_TOKEN:
        raise InputError(
            f"{source} {metric} ({before.value}) does not determine {target} {target_metric} ({after.value})"
        )
    return _from_times(after, ttft, _end_to_end(before, values, ttft, output_tokens), output_tokens)


def measure(
    records: Records, definitions: str = "vllm", percentiles: Collection[float] = (50, 90, 95, 99)
) -> dict[str, Summary]:
    """Every metric of `definitions`, by its name there, of one set of records, in seconds."""
    if definitions not in DEFINITIONS:
        raise InputError(f"unknown definitions {definitions!r}: choose {', '.join(DEFINITIONS)}")
    ok = records.is_ok
    first, end = metrics.ttft(records), metrics.e2e(records)
    summaries = {}
    for name, meaning in DEFINITIONS[definitions].items():
        if meaning is Quantity.GAPS:
            summaries[name] = metrics.summarise_gaps(records.gaps, tuple(percentiles))
        else:
            values = _from_times(meaning, first, end, records.output_tokens[ok])
            summaries[name] = metrics.summarise(values[~np.isnan(values)], tuple(percentiles))
    return summaries


def _end_to_end(meaning: Quantity, values: Floats, ttft: Floats, output_tokens: Ints) -> Floats:
    if meaning is Quantity.LATER_PACE:
        return np.where(output_tokens > 1, ttft + values * (output_tokens - 1), ttft)
    return values * output_tokens if meaning is Quantity.FULL_PACE else values


def _from_times(meaning: Quantity, ttft: Floats, end_to_end: Floats, output_tokens: Ints) -> Floats:
    if meaning is Quantity.FIRST_TOKEN:
        return ttft
    if meaning is Quantity.END_TO_END:
        return end_to_end
    if meaning is Quantity.FULL_PACE:
        return np.where(output_tokens > 0, end_to_end / np.maximum(output_tokens, 1), np.nan)
    return np.where(output_tokens > 1, (end_to_end - ttft) / np.maximum(output_tokens - 1, 1), np.nan)
