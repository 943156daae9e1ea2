"""Devices taken to be unknown: steps put together from their measured kernels, predicted from a few of them.

A step here is the products and the attention of one pass, from the operator tables: no host, no small kernels, no
messages. Its data sheet seconds use the same efficiencies for every device, so nothing of the left-out
device's own tables reaches its prediction but the samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hasten.deployment import Deployment
from hasten.fewshot.learning import Observed
from hasten.fewshot.parts import Floats, Parts, decode, prefill, product, uncorrected
from hasten.latency import AnalyticalModel
from hasten.latency.tables import TableModel, find_operators
from hasten.latency.tables.operators import BoundOperators

#: Models (bf16) and how many devices share them.
MODELS = (
    ("llama-3.1-8b", 1),
    ("qwen3-14b", 1),
    ("qwen3-32b", 1),
    ("llama-3.1-70b", 4),
    ("llama-3.1-70b", 8),
    ("qwen3-32b", 4),
    ("llama-3.2-3b", 1),
    ("qwen3-8b", 1),
)

DECODES = tuple(
    (n, context)
    for n in (1, 2, 4, 8, 16, 32, 64, 128, 256)
    for context in (128, 512, 1024, 2048, 4096, 8192, 32768)
    if n * context <= 400_000
)
PREFILLS = (16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


@dataclass(frozen=True)
class MeasuredSteps:
    """Steps of one model on one device: kernels to be corrected, and measured seconds; decodes first."""

    steps: tuple[Observed, ...]
    seconds: Floats


def _models(device: str, model: str, tp: int) -> tuple[TableModel, AnalyticalModel]:
    """The model from measured operators, and from the data sheet alone."""
    found = Deployment.of(model, device, tp=tp, step_times="table").latency
    tables = find_operators(device)
    if not isinstance(found, TableModel) or tables is None:
        raise LookupError(f"{device} has no operator tables")
    found.__dict__["table"] = BoundOperators(tables, found)  # also where layers of the model were profiled
    sheet = AnalyticalModel(
        found.model, uncorrected(found.device), found.parallelism, found.profile, limits=found.limits
    )
    return found, sheet


@lru_cache(maxsize=128)
def measured_kernels(device: str, model: str, tp: int) -> tuple[tuple[Parts, Floats], ...]:
    """Kernels of a model measured on a device, each kind on all step sizes, with their seconds."""
    table, sheet = _models(device, model, tp)
    units = np.unique([n for n, _ in DECODES] + list(PREFILLS)).astype(np.float64)
    found = []
    for name in dict.fromkeys(operator.name for operator, _ in table.products()):
        operator = next(each for each in table.forward.operators if each.name == name)
        if table.table.has(name):
            found.append(
                (product(sheet, operator, units), np.asarray(table.operator_seconds(operator, units)))
            )
    measured = table.measured_attention(max(n for n, _ in DECODES), max(PREFILLS))
    if measured is None:
        raise LookupError(f"no attention of {model} was timed on {device}")
    n, context = np.array(DECODES, dtype=np.float64).T
    times = [measured.seconds_of((), int(a), int(a * b)) for a, b in DECODES]
    found.append((decode(sheet, n, context), np.array(times)))
    chunks = [prefill(sheet, tokens, 0) for tokens in PREFILLS]
    rows = [each.at(0) for each in chunks]
    joined = (
        np.concatenate([getattr(each, name) for each in rows]) for name in ("seconds", "features", "bound")
    )
    every = Parts(rows[0].kind, *joined)
    found.append((every, np.array([measured.seconds_of([(tokens, 0)], 0, 0) for tokens in PREFILLS])))
    return tuple(found)


@lru_cache(maxsize=128)
def measured_steps(device: str, model: str, tp: int) -> MeasuredSteps:
    """Decode steps and prefill steps of a model on a device."""
    table, sheet = _models(device, model, tp)
    *products, (decodes, decode_seconds), (prefills, prefill_seconds) = measured_kernels(device, model, tp)
    units = np.unique([n for n, _ in DECODES] + list(PREFILLS)).tolist()
    names = [
        name
        for name in dict.fromkeys(operator.name for operator, _ in table.products())
        if table.table.has(name)
    ]
    rows = {each.name: each.unit == "row" for each in sheet.forward.operators}
    steps, seconds = [], []
    for tokens, sequences, attention, place in _steps():
        parts, total = [], 0.0
        for name, (found, times) in zip(names, products, strict=True):
            at = units.index(sequences if rows[name] else tokens)
            parts.append(found.at(at))
            total += float(times[at])
        found, times = (prefills, prefill_seconds) if attention else (decodes, decode_seconds)
        steps.append(Observed([*parts, found.at(place)], has_prefill=attention))
        seconds.append(total + float(times[place]))
    return MeasuredSteps(tuple(steps), np.array(seconds))


def _steps() -> Iterator[tuple[int, int, bool, int]]:
    """Tokens and sequences of every step, whether it prefills, and its place among its kind."""
    for place, (n, _) in enumerate(DECODES):
        yield n, n, False, place
    for place, tokens in enumerate(PREFILLS):
        yield tokens, 1, True, place
