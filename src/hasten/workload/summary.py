"""What a workload looks like: rate, burstiness, lengths."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hasten.workload.workload import Workload

_LONGEST = 3.2e7  # seconds in a year: counts per second stay under 256 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthSummary:
    """Token counts of one column: mean, percentiles (linear interpolation, as numpy's) and maximum."""

    mean: float
    p50: float
    p90: float
    p99: float
    max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Figures of a workload; see the fields for definitions.

    requests            rows
    duration_s          first to last arrival
    rate_per_s          (requests - 1) / duration_s
    gap_cv              standard deviation over mean of the gaps between arrivals (1 = Poisson); nan under two gaps
    count_dispersion    variance over mean of the requests in each second from the first arrival (1 = Poisson)
    peak_per_s          most requests in one such second; None (and dispersion nan) over a year
    prompt, output      token counts
    block_hit_share     prompt blocks seen before (infinite cache) over all blocks; nan without blocks
    follow_up_share     requests that have a parent over all; nan without links
    dropped             rows of the source left out
    """

    requests: int
    duration_s: float
    rate_per_s: float
    gap_cv: float = math.nan
    count_dispersion: float = math.nan
    peak_per_s: int | None = None
    prompt: LengthSummary
    output: LengthSummary
    block_hit_share: float = math.nan
    follow_up_share: float = math.nan
    dropped: int = 0
    origin: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The fields for JSON: lengths as `prompt_tokens` and `output_tokens`, nan and inf as None."""
        flat = asdict(self)
        flat["prompt_tokens"], flat["output_tokens"] = flat.pop("prompt"), flat.pop("output")
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in flat.items()
        }


def summarise(workload: Workload) -> Summary:
    """Figures of a workload."""
    since = workload.arrival - workload.arrival[0]
    gaps = np.diff(since)
    counts = np.bincount(since.astype(np.int64)) if workload.duration < _LONGEST else None
    return Summary(
        requests=len(workload),
        duration_s=workload.duration,
        rate_per_s=workload.rate,
        gap_cv=float(gaps.std() / gaps.mean()) if workload.duration > 0 and len(gaps) > 1 else math.nan,
        count_dispersion=math.nan if counts is None else float(counts.var() / counts.mean()),
        peak_per_s=None if counts is None else int(counts.max()),
        prompt=_lengths(workload.prompt_tokens),
        output=_lengths(workload.output_tokens),
        block_hit_share=_hit_share(workload),
        follow_up_share=math.nan if workload.parent is None else float((workload.parent >= 0).mean()),
        dropped=sum(rows.count for rows in workload.dropped),
        origin=workload.origin,
    )


def _lengths(tokens: npt.NDArray[np.int32]) -> LengthSummary:
    p50, p90, p99 = np.percentile(tokens, [50, 90, 99])
    return LengthSummary(
        mean=float(tokens.mean()), p50=float(p50), p90=float(p90), p99=float(p99), max=int(tokens.max())
    )


def _hit_share(workload: Workload) -> float:
    """Blocks whose id came before over all blocks."""
    if workload.block_ids is None or not len(workload.block_ids):
        return math.nan
    _, first = np.unique(workload.block_ids, return_index=True)
    if workload.block_spans is None:
        return 1.0 - len(first) / len(workload.block_ids)
    return 1.0 - float(workload.block_spans[first].sum() / workload.block_spans.sum())
