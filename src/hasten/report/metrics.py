"""The definitions: what TTFT, TPOT, ITL, goodput, attainment and throughput mean in every report of hasten.

They are those of `vllm bench serve` (vllm/benchmarks/serve.py, `calculate_metrics`), with the server's clock: t0 is
the arrival, t1 the first and tn the last output token, n the number of output tokens.

    TTFT = t1 - t0                engine TTFT = t1 - (drained by the engine loop)
    TPOT = (tn - t1) / (n - 1)    per request, undefined for n = 1
    ITL  = every gap between output tokens, pooled over requests: long answers weigh more
    E2E  = tn - t0
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hasten.errors import InputError
from hasten.report.gaps import Gaps
from hasten.report.records import Floats, Mask, Records, Status

SPARSE = 1000  # seconds per request: above, a trace is mostly silence
PERCENTILES = (50.0, 90.0, 95.0, 99.0)


class Limits(Protocol):
    """Latency limits in seconds, None = no limit; `hasten.core.request.SLO` is one."""

    @property
    def ttft(self) -> float | None: ...
    @property
    def tpot(self) -> float | None: ...
    @property
    def e2e(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Summary:
    """A distribution in seconds: how many samples, mean, median, standard deviation and percentiles.

    Every figure is NaN when there was no sample. Percentiles interpolate linearly, as numpy's default.
    """

    count: int = 0
    mean: float = math.nan
    median: float = math.nan
    std: float = math.nan
    percentiles: tuple[tuple[float, float], ...] = ()

    def percentile(self, q: float) -> float:
        """Percentile `q` (0 to 100) in seconds; raise InputError when it was not computed."""
        for each, value in self.percentiles:
            if each == q:
                return value
        known = ", ".join(f"{each:g}" for each, _ in self.percentiles)
        raise InputError(
            f"percentile {q:g} was not computed (only {known}): name it when asking for the report"
        )

    @property
    def p50(self) -> float:
        """The median in seconds."""
        return self.median

    @property
    def p90(self) -> float:
        """90th percentile in seconds."""
        return self.percentile(90)

    @property
    def p95(self) -> float:
        """95th percentile in seconds."""
        return self.percentile(95)

    @property
    def p99(self) -> float:
        """99th percentile in seconds."""
        return self.percentile(99)


def ttft(records: Records) -> Floats:
    """Time to first token of every served request, from its arrival at the server, in seconds."""
    ok = records.is_ok
    return records.first_token[ok] - records.arrival[ok]


def engine_ttft(records: Records) -> Floats:
    """Time to first token from the moment the engine loop drained the request, in seconds, where recorded."""
    known = records.is_ok & ~np.isnan(records.queued)
    return records.first_token[known] - records.queued[known]


def queue_time(records: Records) -> Floats:
    """Time from arrival to the first step that computed for the request, in seconds, where recorded."""
    known = records.is_ok & ~np.isnan(records.scheduled)
    return records.scheduled[known] - records.arrival[known]


def tpot(records: Records) -> Floats:
    """Time per output token after the first, per served request with two tokens or more, in seconds."""
    several = records.is_ok & (records.output_tokens > 1)
    return (records.finish[several] - records.first_token[several]) / (records.output_tokens[several] - 1)


def e2e(records: Records) -> Floats:
    """Time from arrival to the last token of every served request, in seconds."""
    ok = records.is_ok
    return records.finish[ok] - records.arrival[ok]


PER_REQUEST = {"ttft": ttft, "engine_ttft": engine_ttft, "queue": queue_time, "tpot": tpot, "e2e": e2e}


def summarise(values: Floats, percentiles: Sequence[float] = PERCENTILES) -> Summary:
    """Summary of per-request values in seconds."""
    if not values.size:
        return Summary(percentiles=tuple((q, math.nan) for q in percentiles))
    cuts = np.percentile(values, [50.0, *percentiles])
    return Summary(
        count=int(values.size),
        mean=float(values.mean()),
        median=float(cuts[0]),
        std=float(values.std()),
        percentiles=tuple(zip(percentiles, map(float, cuts[1:]), strict=True)),
    )


def summarise_gaps(gaps: Gaps | None, percentiles: Sequence[float] = PERCENTILES) -> Summary:
    """Summary of pooled inter-token gaps in seconds: one sample per gap, exact; empty when not recorded."""
    if gaps is None or not gaps.total:
        return Summary(percentiles=tuple((q, math.nan) for q in percentiles))
    median, *cuts = gaps.percentiles([50.0, *percentiles])
    return Summary(gaps.total, gaps.mean(), median, gaps.std(), tuple(zip(percentiles, cuts, strict=True)))


def is_good(records: Records, slo: Limits) -> Mask:
    """Whether each request was served within every limit of `slo`.

    A limit is met at equality; one output token or none counts as TPOT 0; a request that was rejected or never
    finished is not good. (The rules of `vllm bench serve --goodput`.)
    """
    good = records.is_ok  # what did not happen is NaN, and NaN is within no limit
    if slo.ttft is not None:
        good = good & (records.first_token - records.arrival <= slo.ttft)
    if slo.tpot is not None:
        pace = (records.finish - records.first_token) / np.maximum(records.output_tokens - 1, 1)
        good = good & ((records.output_tokens <= 1) | (pace <= slo.tpot))
    if slo.e2e is not None:
        good = good & (records.finish - records.arrival <= slo.e2e)
    return good


def attainment(records: Records, slo: Limits) -> float:
    """Goodput share: the fraction of all requests that were good, 0 to 1; NaN without requests."""
    return float(is_good(records, slo).mean()) if len(records) else math.nan


@dataclass(frozen=True, slots=True)
class LimitCheck:
    """One percentile constraint, such as "p99 TTFT <= 0.5 s": the value reached, in seconds, and whether it holds."""

    metric: str
    percentile: float
    value: float
    limit: float

    @property
    def holds(self) -> bool:
        """Whether the value is within the limit; a percentile of nothing holds."""
        return math.isnan(self.value) or self.value <= self.limit

    def __str__(self) -> str:
        relation = "<=" if self.holds else ">"
        return (
            f"p{self.percentile:g} {self.metric} {self.value * 1e3:.1f} ms {relation} {self.limit * 1e3:g} ms"
        )


def check_percentiles(records: Records, slo: Limits, percentile: float = 99.0) -> list[LimitCheck]:
    """Percentile constraints: does `percentile` of each limited metric stay within its limit, one by one?

    That is not the goodput share: there one request must meet all limits at once. A request that was rejected or
    never finished counts as infinitely late, so turning work away can't make a deployment look fast.
    """
    lost = int(np.count_nonzero(~records.is_ok))
    checks = []
    for metric, limit in (("ttft", slo.ttft), ("tpot", slo.tpot), ("e2e", slo.e2e)):
        if limit is not None:
            value = percentile_with_losses(PER_REQUEST[metric](records), lost, percentile)
            checks.append(LimitCheck(metric, percentile, value, limit))
    return checks


def percentile_with_losses(values: Floats, lost: int, percentile: float) -> float:
    """Linear percentile in seconds of `values` and `lost` infinite ones; NaN when there is neither."""
    total = values.size + lost
    if total == 0:
        return math.nan
    position = (total - 1) * (percentile / 100)
    if math.ceil(position) >= values.size:
        # also exactly on the last finite value: there numpy needs no neighbour
        return float(values.max()) if values.size and position == values.size - 1 else math.inf
    if not lost:
        return float(np.percentile(values, percentile))
    low, high = math.floor(position), math.ceil(position)
    cut = np.partition(values, (low, high))
    return float(cut[low] + (cut[high] - cut[low]) * (position - low))


@dataclass(frozen=True, slots=True)
class Throughput:
    """Rates over `duration` seconds: requests per second and tokens per second, of served requests only."""

    duration: float
    requests: float
    output_tokens: float
    total_tokens: float


def throughput(records: Records, duration: float) -> Throughput:
    """Rates of served requests and their tokens over `duration` seconds; NaN for no time."""
    ok = records.is_ok
    output = int(records.output_tokens[ok].sum(dtype=np.int64))
    prompt = int(records.prompt_tokens[ok].sum(dtype=np.int64))
    rates = (int(ok.sum()), output, output + prompt)
    return Throughput(duration, *(rate / duration if duration > 0 else math.nan for rate in rates))


def peak_output_throughput(records: Records) -> float:
    """Most output tokens in one second, over the seconds [0, 1), [1, 2), ... after the first arrival, in tokens/s.

    Tokens after the first are taken as evenly spread between first token and finish of their request; `vllm bench
    serve` counts each token's own stamp, so single seconds differ by a few tokens.
    """
    ok = records.is_ok & (records.output_tokens > 0)
    if not ok.any():
        return 0.0
    origin = records.arrival.min()
    first, finish = records.first_token[ok] - origin, records.finish[ok] - origin
    rest = (records.output_tokens[ok] - 1).astype(np.float64)
    begin, end = first.astype(np.int64), finish.astype(np.int64)
    spans = begin < end
    rate = np.divide(rest, finish - first, out=np.zeros_like(rest), where=spans)
    # First token and what falls into its second; what falls into the last second; full seconds in between,
    # entered as changes of the rate at the first full second and at the last second.
    early, late = 1 + np.where(spans, rate * (begin + 1 - first), rest), rate * (finish - end)
    full = np.minimum(begin + 1, end)
    if end.max() > SPARSE * (end.size + SPARSE):  # mostly silence: only seconds where something changes count
        busy = np.unique(np.concatenate([begin, full, end]))
        begin, full, end = (np.searchsorted(busy, each) for each in (begin, full, end))
    seconds = int(end.max()) + 1
    tokens = np.bincount(begin, early, seconds) + np.bincount(end, late, seconds)
    change = np.bincount(full, rate, seconds) - np.bincount(end, rate, seconds)
    return float((tokens + np.cumsum(change)).max())


def peak_concurrency(records: Records) -> int:
    """Most requests in the server at one instant, from arrival to finish; rejected ones never entered.

    Where one leaves as another comes, the leaving counts first.
    """
    inside = records.status != Status.REJECTED
    end = np.where(records.is_ok, records.finish, np.inf)[inside]
    times = np.concatenate([end, records.arrival[inside]])
    steps = np.concatenate([np.full(end.size, -1), np.ones(end.size, dtype=np.int64)])
    order = np.argsort(times, kind="stable")  # stable: leavings stand first
    return int(np.cumsum(steps[order]).max(initial=0))


def steady_window(records: Records, *, warm_up: float, drain: float) -> tuple[float, float]:
    """The seconds [begin, end) that leave out `warm_up` after the first and `drain` before the last arrival.

    Raises InputError when nothing is left.
    """
    if not len(records):
        raise InputError("a run without requests has no steady state")
    begin, end = float(records.arrival.min()) + warm_up, float(records.arrival.max()) - drain
    if not (warm_up >= 0 and drain >= 0 and begin < end):
        span = float(np.ptp(records.arrival))
        raise InputError(
            f"warm-up {warm_up:g} s and drain {drain:g} s leave nothing of {span:g} s of arrivals: shorten them"
        )
    return begin, end
