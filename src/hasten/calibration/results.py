"""Result files of load generators, recognised by their keys and translated into one set of definitions.

| tool | TTFT | time per later token | unit |
|---|---|---|---|
| vllm bench serve, sglang bench_serving | ``ttft`` | ``tpot`` (first token not included) | ms; arrays s |
| guidellm | ``time_to_first_token_ms`` | ``inter_token_latency_ms`` (its TPOT includes the first token) | ms |
| AIPerf, genai-perf | ``time_to_first_token`` | ``inter_token_latency`` | as each metric says |

A summary whose figures don't fit together under these definitions is refused: it uses other ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hasten.errors import InputError
from hasten.jsontext import parse_json
from hasten.report.records import Records

_UNITS = {"ms": 1e-3, "s": 1.0, "sec": 1.0, "seconds": 1.0, "us": 1e-6, "ns": 1e-9, "milliseconds": 1e-3}

#: Relative difference by which a mean E2E may miss TTFT + TPOT (n - 1): means of products are no products of means.
_LOOSE = 0.2


@dataclass(frozen=True)
class Result:
    """One run of a load generator: mean lengths in tokens, typical TTFT and time per later token in seconds.

    ``users`` is the concurrency of a closed loop, ``rate`` requests per second; ``requests`` every request, if the
    file has them. NaN: not in the file.
    """

    where: str
    tool: str
    prompt_tokens: float
    output_tokens: float
    ttft: float
    tpot: float = math.nan
    users: float = math.nan
    rate: float = math.nan
    count: int = 1
    requests: Records | None = None


def read_results(text: str, name: str) -> list[Result]:
    """All runs in a result file. Raises InputError for one that is cut, of no known tool, or of other definitions."""
    found = [result for raw, where in _objects(text, name) for result in _results(raw, where)]
    if not found:
        raise InputError(f"{name}: no run in it: give the result file of a load generator")
    return found


def _objects(text: str, name: str) -> Iterator[tuple[dict[str, Any], str]]:
    """(object, where) of a JSON document, or of every line of JSON lines."""
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        found = [(parse_json(text), name)]
    except ValueError as error:
        try:
            found = [(parse_json(line), f"{name}, line {number}") for number, line in enumerate(lines, 1)]
        except ValueError:
            raise InputError(f"{name}: not JSON ({error}): is the file cut?") from None
    for raw, where in found:
        if not isinstance(raw, dict):
            raise InputError(f"{where}: no result of a load generator: a JSON object is needed")
        yield raw, where


def _results(raw: dict[str, Any], where: str) -> Iterator[Result]:
    if isinstance(raw.get("benchmarks"), list):
        for number, each in enumerate(raw["benchmarks"], 1):
            yield _guidellm(each, f"{where}, benchmark {number}")
    elif isinstance(raw.get("time_to_first_token"), dict):
        yield _aiperf(raw, where)
    elif "mean_ttft_ms" in raw and "mean_tpot_ms" in raw:
        yield _vllm(raw, where)
    elif "origin" in raw and "ttft_ms" in raw:
        raise InputError(
            f"{where}: a report of hasten: give the requests (`hasten bench --out requests.csv`)"
        )
    else:
        raise InputError(
            f"{where}: of no known tool: give a result of vllm bench serve, sglang bench_serving, guidellm or AIPerf, "
            "step timings, or a scrape of /metrics"
        )


# -- vllm bench serve, sglang bench_serving


def _vllm(raw: dict[str, Any], where: str) -> Result:
    tool = "sglang bench_serving" if "random_input_len" in raw or "server_info" in raw else "vllm bench serve"
    if "completed" not in raw:
        raise InputError(
            f"{where}: no `completed`: the keys are vllm's, the file is another tool's or was edited"
        )
    done = _positive(raw, "completed", where)
    if done < 1:
        raise InputError(f"{where}: no request was completed: nothing to calibrate from")
    prompt = _positive(raw, "total_input_tokens", where) / done
    output = _positive(raw, "total_output_tokens", where) / done
    ttft = _positive(raw, "median_ttft_ms" if "median_ttft_ms" in raw else "mean_ttft_ms", where) * 1e-3
    mean_ttft = _positive(raw, "mean_ttft_ms", where) * 1e-3
    tpot = _positive(raw, "mean_tpot_ms", where) * 1e-3 if output > 1 else math.nan
    end = raw.get("mean_e2el_ms", raw.get("mean_e2e_latency_ms"))
    if end is not None and output > 1:
        _check_definition(float(end) * 1e-3, mean_ttft, tpot, output, where)
    users, rate = raw.get("max_concurrency"), raw.get("request_throughput")
    return Result(
        where,
        tool,
        prompt,
        output,
        ttft,
        tpot,
        users=float(users) if users else math.nan,
        rate=float(rate) if rate else math.nan,
        count=int(done),
        requests=_detailed(raw, where),
    )


def _check_definition(end: float, ttft: float, tpot: float, output: float, where: str) -> None:
    """Refuse figures that fit another definition of time per token better than vllm's."""
    expected = ttft + tpot * (output - 1.0)
    if abs(expected / end - 1.0) <= _LOOSE:
        return
    if abs(tpot * output / end - 1.0) <= _LOOSE:
        raise InputError(
            f"{where}: mean_tpot_ms {tpot * 1e3:.4g} times {output:.0f} tokens is the whole latency: it includes the "
            "first token, as guidellm's does; vllm's does not. Translate it, or give the tool's own file"
        )
    raise InputError(
        f"{where}: TTFT {ttft * 1e3:.4g} ms and TPOT {tpot * 1e3:.4g} ms x {output - 1:.0f} make {expected:.4g} s, not "
        f"the E2E {end:.4g} s of the file: its definitions or units are not vllm's"
    )


def _detailed(raw: dict[str, Any], where: str) -> Records | None:
    """Every request of a file saved with --save-detailed: starts, TTFTs and gaps in seconds."""
    names = ("input_lens", "output_lens", "ttfts", "itls", "start_times")
    if not all(isinstance(raw.get(name), list) for name in names):
        return None
    columns = [raw[name] for name in names]
    sizes = {len(column) for column in columns}
    if len(sizes) > 1:
        raise InputError(
            f"{where}: {', '.join(names)} differ in length ({sorted(sizes)}): the file is cut or edited"
        )
    errors = raw.get("errors") or [""] * len(columns[0])
    rows = []
    for number, (prompt, output, ttft, gaps, start, error) in enumerate(
        zip(*columns, errors, strict=False), 1
    ):
        if error or not output:
            continue
        try:
            row = (float(start), float(start) + float(ttft), int(prompt), int(output))
            last = row[1] + math.fsum(gaps)
        except (TypeError, ValueError):
            raise InputError(
                f"{where}, request {number}: start, ttft, gaps or lengths are no numbers"
            ) from None
        if not (float(ttft) > 0.0 and math.isfinite(last) and last >= row[1]):
            raise InputError(f"{where}, request {number}: ttft {ttft} s or its gaps are not above 0")
        rows.append((*row, last))
    if not rows:
        return None
    start, first, prompts, outputs, lasts = (np.array(column) for column in zip(*rows, strict=True))
    begin = start.min()
    return Records(
        arrival=start - begin,
        first_token=first - begin,
        finish=lasts - begin,
        prompt_tokens=prompts,
        output_tokens=outputs,
    )


def _positive(raw: Mapping[str, Any], key: str, where: str) -> float:
    value = raw.get(key)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or value <= 0
    ):
        shown = "missing" if key not in raw else repr(value)
        raise InputError(f"{where}: {key} is {shown}: a number above 0 is needed")
    return float(value)


# -- guidellm


def _guidellm(raw: Any, where: str) -> Result:
    metrics = raw.get("metrics") if isinstance(raw, dict) else None
    if not isinstance(metrics, dict):
        raise InputError(f"{where}: no `metrics`: is it a guidellm report?")

    def figure(key: str, what: str = "mean") -> float:
        found = metrics.get(key)
        found = found.get("successful", found) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            raise InputError(f"{where}: metrics hold no {key}: is it a guidellm report?")
        return _positive(found, what, f"{where}, {key}")

    output = figure("output_token_count")
    return Result(
        where,
        "guidellm",
        figure("prompt_token_count"),
        output,
        figure("time_to_first_token_ms", "median") * 1e-3,
        figure("inter_token_latency_ms") * 1e-3 if output > 1 else math.nan,
        rate=figure("requests_per_second"),
    )


# -- AIPerf


def _aiperf(raw: dict[str, Any], where: str) -> Result:
    def seconds(key: str, what: str = "avg") -> float:
        metric = raw.get(key)
        if not isinstance(metric, dict):
            raise InputError(f"{where}: no {key}: record the run with --streaming")
        unit = str(metric.get("unit", ""))
        if unit not in _UNITS:
            raise InputError(f"{where}: {key} is in {unit!r}: known units are {', '.join(_UNITS)}")
        return _positive(metric, what, f"{where}, {key}") * _UNITS[unit]

    def plain(key: str) -> float:
        return _positive(raw[key], "avg", f"{where}, {key}") if isinstance(raw.get(key), dict) else math.nan

    done = plain("request_count")
    prompt, output = plain("input_sequence_length"), plain("output_sequence_length")
    if math.isnan(prompt):
        prompt = plain("total_isl") / done
    if math.isnan(output):
        output = plain("total_osl") / done
    if math.isnan(prompt + output):
        raise InputError(
            f"{where}: no input_sequence_length and output_sequence_length: the lengths are needed"
        )
    ttft = raw["time_to_first_token"]
    return Result(
        where,
        "AIPerf",
        prompt,
        output,
        seconds("time_to_first_token", "p50" if "p50" in ttft else "avg"),
        seconds("inter_token_latency") if output > 1 else math.nan,
        rate=plain("request_throughput"),
        count=1 if math.isnan(done) else int(done),
    )
