"""A report: what a run means for its requests and its owner, computed when asked for."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hasten.errors import InputError
from hasten.report import bootstrap, files, metrics
from hasten.report.metrics import Limits, Summary, Throughput
from hasten.report.programs import Programs, programs
from hasten.report.records import Records, Status
from hasten.report.stats import HostStats, RunStats

VLLM_NAMES = {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2e": "e2el"}


@dataclass(frozen=True, kw_only=True)
class Report:
    """Latency, throughput, goodput, use and cost of one run. Seconds inside, milliseconds in `to_dict`.

    origin says where the numbers come from (measured, calibrated, table, analytical) and error how far they may
    be off; both appear wherever numbers are shown. slo adds goodput and attainment; price_per_hour is in dollars
    for the whole deployment and adds cost. duration is the time that rates refer to (default: first arrival to
    last finish). Percentile summaries name the percentiles they hold.
    """

    records: Records
    origin: str
    error: str
    stats: RunStats | None = None
    label: str = ""
    slo: Limits | None = None
    price_per_hour: float | None = None
    duration: float = math.nan
    percentiles: tuple[float, ...] = metrics.PERCENTILES
    request_rate: float | None = None  # asked for, requests per second
    max_concurrency: int | None = None  # closed loop: users
    client_seconds: float | None = None  # network and client, on top of what the server sees; None: not told
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if any(not 0 <= q <= 100 for q in self.percentiles):
            raise InputError(f"percentiles {list(self.percentiles)} must lie in [0, 100]")
        if math.isnan(self.duration):
            object.__setattr__(self, "duration", self.records.duration)

    # ---- latency ----------------------------------------------------------------------------------------

    @cached_property
    def ttft(self) -> Summary:
        """Arrival at the server to first output token, in seconds."""
        return metrics.summarise(metrics.ttft(self.records), self.percentiles)

    @cached_property
    def engine_ttft(self) -> Summary:
        """From being drained by the engine loop to first output token, in seconds; empty if not recorded."""
        return metrics.summarise(metrics.engine_ttft(self.records), self.percentiles)

    @cached_property
    def client_ttft(self) -> Summary:
        """Sent by the client to first output token there, in seconds; empty unless `client_seconds` is given."""
        if self.client_seconds is None:
            return Summary()
        return metrics.summarise(metrics.ttft(self.records) + self.client_seconds, self.percentiles)

    @cached_property
    def queue(self) -> Summary:
        """Arrival to the first step that computes for the request, in seconds; empty if not recorded."""
        return metrics.summarise(metrics.queue_time(self.records), self.percentiles)

    @cached_property
    def tpot(self) -> Summary:
        """Time per output token after the first, one sample per request, in seconds."""
        return metrics.summarise(metrics.tpot(self.records), self.percentiles)

    @cached_property
    def itl(self) -> Summary:
        """Every gap between output tokens, pooled over requests, in seconds; empty if not recorded."""
        return metrics.summarise_gaps(self.records.gaps, self.percentiles)

    @cached_property
    def e2e(self) -> Summary:
        """Arrival to last output token, in seconds."""
        return metrics.summarise(metrics.e2e(self.records), self.percentiles)

    @cached_property
    def programs(self) -> Programs:
        """Sessions and agent programs as wholes: completion, time away at tools and users, time per token."""
        return programs(self.records)

    def interval(self, metric: str, percentile: float, *, seed: int = 0) -> bootstrap.Interval:
        """95 % confidence interval of a percentile of ttft, engine_ttft, queue, tpot or e2e, in seconds."""
        if metric not in metrics.PER_REQUEST:
            raise InputError(f"no interval for {metric!r}: choose {', '.join(metrics.PER_REQUEST)}")
        order = np.argsort(self.records.arrival, kind="stable")
        values = metrics.PER_REQUEST[metric](self.records.select(order))
        return bootstrap.percentile_interval(values, percentile, seed=seed)

    # ---- rates and promises -----------------------------------------------------------------------------

    @cached_property
    def throughput(self) -> Throughput:
        """Requests, output tokens and total tokens per second, of served requests over `duration`."""
        return metrics.throughput(self.records, self.duration)

    @cached_property
    def peak_output_throughput(self) -> float:
        """Most output tokens within one second."""
        return metrics.peak_output_throughput(self.records)

    @cached_property
    def peak_concurrency(self) -> int:
        """Most requests in the server at one instant."""
        return metrics.peak_concurrency(self.records)

    @cached_property
    def attainment(self) -> float:
        """Goodput share: fraction of all requests that met every limit of `slo`; NaN without one."""
        return math.nan if self.slo is None else metrics.attainment(self.records, self.slo)

    @cached_property
    def goodput(self) -> float:
        """Requests per second that met every limit of `slo`; NaN without one."""
        return self.attainment * len(self.records) / self.duration if self.duration > 0 else math.nan

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens of the served requests."""
        return int(self.records.prompt_tokens[self.records.is_ok].sum(dtype=np.int64))

    @property
    def output_tokens(self) -> int:
        """Output tokens of the served requests."""
        return int(self.records.output_tokens[self.records.is_ok].sum(dtype=np.int64))

    def count(self, status: Status) -> int:
        """Requests that ended with `status`."""
        return int(np.count_nonzero(self.records.status == status))

    # ---- use and cost -----------------------------------------------------------------------------------

    @property
    def utilisation(self) -> list[float]:
        """Share of time with a step running, per replica, 0 to 1."""
        return [r.utilisation(self._run_seconds) for r in self.stats.replicas] if self.stats else []

    @property
    def kv_mean_share(self) -> float:
        """Share of the KV cache in use, averaged over time and replicas; NaN if not recorded."""
        return _mean([r.kv_mean_share(self._run_seconds) for r in self.stats.replicas] if self.stats else [])

    @property
    def kv_peak_share(self) -> float:
        """Largest share of its KV blocks that any replica held at once; NaN if not recorded."""
        return max((r.kv_peak_share for r in self.stats.replicas) if self.stats else (), default=math.nan)

    @property
    def preemptions(self) -> int:
        """How often a running request lost its KV."""
        return int(self.records.preemptions.sum(dtype=np.int64))

    @property
    def prefix_hit_share(self) -> float:
        """Share of the prompt tokens of served requests that came from the prefix cache; NaN without prompts."""
        cached = int(self.records.cached_tokens[self.records.is_ok].sum(dtype=np.int64))
        return cached / self.prompt_tokens if self.prompt_tokens else math.nan

    @property
    def host(self) -> HostStats | None:
        """What host memory did as a second tier of KV, over all replicas; None without any."""
        return self.stats.host if self.stats else None

    @property
    def host_hit_share(self) -> float:
        """Tokens loaded from host memory over the prompt tokens of served requests; NaN without either."""
        host = self.host
        return host.loaded_tokens / self.prompt_tokens if host and self.prompt_tokens else math.nan

    @property
    def cost_per_million_output_tokens(self) -> float:
        """Dollars per million output tokens at the reached throughput; NaN without a price."""
        return self._cost_per_million(self.throughput.output_tokens)

    @property
    def cost_per_million_total_tokens(self) -> float:
        """Dollars per million prompt and output tokens at the reached throughput; NaN without a price."""
        return self._cost_per_million(self.throughput.total_tokens)

    def _cost_per_million(self, rate: float) -> float:
        if self.price_per_hour is None or not rate > 0:
            return math.nan
        return self.price_per_hour / 3600 / rate * 1e6

    @property
    def _run_seconds(self) -> float:
        """Time that the replica counters refer to."""
        return (
            self.stats.simulated_seconds if self.stats and self.stats.simulated_seconds > 0 else self.duration
        )

    # ---- cutting and writing ----------------------------------------------------------------------------

    def steady(self, *, warm_up: float, drain: float) -> Report:
        """The report of the requests that arrived after `warm_up` and before the last `drain` seconds of arrivals.

        Rates refer to the window. Replica counters cover whole runs only and are left out.
        """
        begin, end = metrics.steady_window(self.records, warm_up=warm_up, drain=drain)
        records = self.records.between(begin, end)
        note = f"steady state: arrivals from {begin:g} to {end:g} s"
        if self.records.gaps is not None and records.gaps is None:
            note += "; ITL left out (gaps were recorded without times)"
        return dataclasses.replace(
            self, records=records, stats=None, duration=end - begin, notes=(*self.notes, note)
        )

    def to_dict(self) -> dict[str, Any]:
        """Every figure under its key: those of `vllm bench serve --save-result`, then ours with their unit.

        Undefined figures are None. The same run gives the same dictionary: the time a simulation took is not in it.
        """
        figures: dict[str, Any] = {
            "label": self.label,
            "origin": self.origin,
            "error": self.error,
            "definitions": "vllm",
            "notes": list(self.notes),
            "duration": self.duration,
            "completed": self.count(Status.OK),
            "failed": len(self.records) - self.count(Status.OK),
            "total_input_tokens": self.prompt_tokens,
            "total_output_tokens": self.output_tokens,
            "request_throughput": self.throughput.requests,
            "request_goodput": self.goodput,
            "output_throughput": self.throughput.output_tokens,
            "total_token_throughput": self.throughput.total_tokens,
            "max_output_tokens_per_s": self.peak_output_throughput,
            "max_concurrent_requests": self.peak_concurrency,
        }
        for own, name in VLLM_NAMES.items():
            figures |= _summary_figures(name, getattr(self, own))
        figures |= self._own_figures()
        return {key: _without_nan(value) for key, value in figures.items()}

    def _own_figures(self) -> dict[str, Any]:
        figures: dict[str, Any] = {
            "rejected": self.count(Status.REJECTED),
            "unfinished": self.count(Status.UNFINISHED),
            "request_rate_per_s": self.request_rate,
            "max_concurrency": self.max_concurrency,
            "attainment": self.attainment,
            "slo_ttft_ms": _milliseconds(self.slo.ttft if self.slo else None),
            "slo_tpot_ms": _milliseconds(self.slo.tpot if self.slo else None),
            "slo_e2el_ms": _milliseconds(self.slo.e2e if self.slo else None),
            "utilisation": self.utilisation,
            "mean_decode_batch": self.stats.mean_batch if self.stats else math.nan,
            "kv_mean_share": self.kv_mean_share,
            "kv_peak_share": self.kv_peak_share,
            "preemptions": self.preemptions,
            "prefix_hit_share": self.prefix_hit_share,
            "price_usd_per_hour": self.price_per_hour,
            "cost_usd_per_million_output_tokens": self.cost_per_million_output_tokens,
            "cost_usd_per_million_total_tokens": self.cost_per_million_total_tokens,
        }
        for name in ("engine_ttft", "client_ttft", "queue"):
            figures |= _summary_figures(name, getattr(self, name))
        return figures | self._host_figures() | self._program_figures()

    def _host_figures(self) -> dict[str, Any]:
        host = self.host
        if host is None:
            return {}
        return {
            "host_hit_share": self.host_hit_share,
            "host_loads": host.loads,
            "host_loaded_tokens": host.loaded_tokens,
            "host_loaded_bytes": host.loaded_bytes,
            "host_written_bytes": host.written_bytes,
            "host_write_share": host.write_share(self._run_seconds),
            "host_link_busy_s": host.link_busy_seconds,
            "mean_host_load_wait_ms": 1e3 * host.load_wait_seconds / host.loads if host.loads else math.nan,
        }

    def _program_figures(self) -> dict[str, Any]:
        whole = self.programs
        if not len(whole) or int(whole.calls.max()) < 2:
            return {}
        figures: dict[str, Any] = {"programs": len(whole), "unfinished_programs": whole.unfinished}
        for name in ("completion", "away", "token_latency"):
            values = metrics.summarise(getattr(whole, name), self.percentiles)
            figures |= _summary_figures(f"program_{name}", values)
        return figures

    def to_json(self) -> str:
        """`to_dict` as JSON text, keys in a fixed order."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def save_requests(self, path: str | os.PathLike[str]) -> None:
        """Write one row per request to a .csv or .parquet file, in full or not at all."""
        files.save_requests(self.records, path)

    def to_pandas(self) -> Any:
        """One row per request as a pandas DataFrame, times in seconds; raise InputError without pandas."""
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as error:
            raise InputError("to_pandas needs pandas: pip install pandas, or use save_requests") from error
        return pandas.DataFrame(files.file_columns(self.records))


def _summary_figures(name: str, summary: Summary) -> dict[str, Any]:
    figures = {f"{kind}_{name}_ms": getattr(summary, kind) * 1e3 for kind in ("mean", "median", "std")}
    return figures | {f"p{q:g}_{name}_ms": value * 1e3 for q, value in summary.percentiles}


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _without_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
