"""The console table of one report: the labels of `vllm bench serve`, then what a simulator knows besides."""

from __future__ import annotations

import math
import textwrap

from hasten.report.metrics import Summary, check_percentiles, summarise
from hasten.report.records import Status
from hasten.report.report import Report

WIDTH = 50
MISSING = "n/a"


def render(report: Report, *, slo_percentile: float = 99.0) -> str:
    """The report as text, times in milliseconds; percentile constraints of its SLO are checked at `slo_percentile`.

    The first blocks have the labels and layout of `vllm bench serve` (vllm/benchmarks/serve.py), so scripts that
    read those read these; `=` lines frame them. Origin and error of the numbers stand at the end.
    """
    lines = [_title(" Serving Benchmark Result ", "=")]
    lines += _counts(report)
    percentiles = [q for q in report.percentiles if q != 50]  # the median has its own line
    for heading, name, summary in (
        ("Time to First Token", "TTFT", report.ttft),
        ("Time per Output Token (excl. 1st token)", "TPOT", report.tpot),
        ("Inter-token Latency", "ITL", report.itl),
        ("End-to-end Latency", "E2EL", report.e2e),
    ):
        lines += _latency(heading, name, summary, percentiles)
    if report.engine_ttft.count:
        lines += _latency("Time to First Token in the Engine", "engine TTFT", report.engine_ttft, percentiles)
    if report.client_ttft.count:
        lines += _latency("Time to First Token at the Client", "client TTFT", report.client_ttft, percentiles)
    lines += _programs(report, percentiles)
    if report.stats is not None:
        lines += _use(report)
    if report.slo is not None:
        lines += _promises(report, slo_percentile)
    if report.price_per_hour is not None:
        lines += _cost(report)
    lines.append("=" * WIDTH)
    return "\n".join([*lines, *provenance(report)])


def provenance(report: Report) -> list[str]:
    """Where the numbers come from, how far they may be off, and what else a reader must know."""
    facts = [f"Origin: {report.origin}. Error: {report.error}", *(f"Note: {note}" for note in report.notes)]
    return [line for fact in facts for line in textwrap.wrap(fact, 110, subsequent_indent="  ")]


def _counts(report: Report) -> list[str]:
    completed = report.count(Status.OK)
    rows: list[tuple[str, int | float | None]] = [
        ("Successful requests:", completed),
        ("Failed requests:", len(report.records) - completed),
    ]
    if report.max_concurrency is not None:
        rows.append(("Maximum request concurrency:", report.max_concurrency))
    if report.request_rate is not None and math.isfinite(report.request_rate):
        rows.append(("Request rate configured (RPS):", float(report.request_rate)))
    rows += [
        ("Benchmark duration (s):", report.duration),
        ("Total input tokens:", report.prompt_tokens),
        ("Total generated tokens:", report.output_tokens),
        ("Request throughput (req/s):", report.throughput.requests),
    ]
    if report.slo is not None:
        rows.append(("Request goodput (req/s):", report.goodput))
    rows += [
        ("Output token throughput (tok/s):", report.throughput.output_tokens),
        ("Peak output token throughput (tok/s):", report.peak_output_throughput),
        ("Peak concurrent requests:", float(report.peak_concurrency)),
        ("Total token throughput (tok/s):", report.throughput.total_tokens),
    ]
    return [_row(label, value) for label, value in rows]


def _latency(heading: str, name: str, summary: Summary, percentiles: list[float]) -> list[str]:
    rows = [("Mean", summary.mean), ("Median", summary.median)]
    rows += [(f"P{q:g}", summary.percentile(q)) for q in percentiles]
    return [_title(heading, "-"), *(_row(f"{kind} {name} (ms):", seconds * 1e3) for kind, seconds in rows)]


def _use(report: Report) -> list[str]:
    busy = report.utilisation
    lines = [_title("Deployment", "-")]
    if report.label:
        lines.append(f"{'Deployment:':<12} {report.label}")
    if busy:
        lines.append(_row("Mean utilisation (%):", 100 * math.fsum(busy) / len(busy)))
    if len(busy) > 1:
        lines.append(_row("Least / most used replica (%):", f"{100 * min(busy):.2f} / {100 * max(busy):.2f}"))
    lines += [
        _row("Mean decode batch (sequences):", report.stats.mean_batch if report.stats else math.nan),
        _row("KV cache in use, mean (%):", 100 * report.kv_mean_share),
        _row("KV cache in use, peak (%):", 100 * report.kv_peak_share),
        _row("Preemptions:", report.preemptions),
        _row("Prompt tokens from prefix cache (%):", 100 * report.prefix_hit_share),
        *_host(report),
    ]
    for label, status in (
        ("Rejected requests:", Status.REJECTED),
        ("Unfinished requests:", Status.UNFINISHED),
    ):
        if report.count(status):
            lines.append(_row(label, report.count(status)))
    return lines


def _host(report: Report) -> list[str]:
    """Host memory as a second tier of KV."""
    host = report.host
    if host is None:
        return []
    wait = 1e3 * host.load_wait_seconds / host.loads if host.loads else math.nan
    return [
        _row("Prompt tokens from host memory (%):", 100 * report.host_hit_share),
        _row("Requests that loaded from host memory:", host.loads),
        _row("Mean wait for a load (ms):", wait),
        _row("Loaded / written (GB):", f"{host.loaded_bytes / 1e9:.2f} / {host.written_bytes / 1e9:.2f}"),
    ]


def _programs(report: Report, percentiles: list[float]) -> list[str]:
    """Conversations and agents, where some have more than one call."""
    whole = report.programs
    if not len(whole) or int(whole.calls.max()) < 2:
        return []
    completion = summarise(whole.completion, percentiles)
    away, total = float(whole.away.sum()), float(whole.completion.sum())
    return [
        _title("Programs (sessions of several calls)", "-"),
        _row("Completed programs:", len(whole)),
        _row("Mean calls per program:", float(whole.calls.mean())),
        _row("Mean completion (s):", completion.mean),
        _row("Median completion (s):", completion.median),
        *(_row(f"P{q:g} completion (s):", completion.percentile(q)) for q in percentiles),
        _row("Of it tools and users, no call running (%):", 100 * away / total if total > 0 else math.nan),
        _row("Mean time in calls per token (ms):", 1e3 * float(whole.token_latency.mean())),
    ]


def _promises(report: Report, percentile: float) -> list[str]:
    if report.slo is None:
        return []
    lines = [
        _title("Service Level", "-"),
        _row("Goodput share, all limits at once (%):", 100 * report.attainment),
    ]
    for check in check_percentiles(report.records, report.slo, percentile):
        name = "E2EL" if check.metric == "e2e" else check.metric.upper()
        label = f"P{percentile:g} {name} within {check.limit * 1e3:g} ms:"
        lines.append(_row(label, f"{'yes' if check.holds else 'NO'} ({check.value * 1e3:.2f} ms)"))
    return lines


def _cost(report: Report) -> list[str]:
    return [
        _title("Cost", "-"),
        _row("Price ($/h):", report.price_per_hour),
        _row("Cost ($ per million output tokens):", report.cost_per_million_output_tokens),
        _row("Cost ($ per million total tokens):", report.cost_per_million_total_tokens),
    ]


def _title(text: str, fill: str) -> str:
    return f"{text:{fill}^{WIDTH}}"


def _row(label: str, value: float | str | None) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        value = MISSING
    return f"{label:<40} {f'{value:.2f}' if isinstance(value, float) else value!s:<10}".rstrip()
