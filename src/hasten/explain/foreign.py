"""What the metrics of somebody else's server say of where time goes: means over all requests, and no more.

Reads the histograms that vLLM and servers like it expose (`vllm:request_queue_time_seconds` and so on; our own server
has the same names): their sums over their counts are exact means, whatever the buckets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hasten.errors import InputError
from hasten.report.exposition import Lines, pages, samples

PHASES: Mapping[str, str] = {
    "request_queue_time_seconds": "queue",
    "request_prefill_time_seconds": "prefill",
    "request_decode_time_seconds": "decode",
}
E2E, TTFT = "e2e_request_latency_seconds", "time_to_first_token_seconds"
UNKNOWN = (
    "why requests queued: slots, KV memory and token budget are one figure",
    "what other requests' prefill adds: it is inside prefill and decode",
    "the parts of a decode step, and time lost to preemption, which counts as decode",
    "what sets the slowest requests apart: histograms of phases are not joined by request",
)
"""What such metrics can't tell."""


@dataclass(frozen=True)
class ServerMeans:
    """Mean seconds per request by phase; `rest` is what E2E holds beyond them (front end, streaming)."""

    requests: int
    e2e: float
    ttft: float
    phases: Mapping[str, float]
    rest: float

    @property
    def largest(self) -> str:
        """The phase that takes most."""
        return max(self.phases, key=lambda name: self.phases[name])


def server_means(text: str, *, before: str = "", where: str = "metrics") -> ServerMeans:
    """Means from a scrape of `/metrics`; `before` is an earlier scrape, whose requests are left out.

    Of several scrapes in one text it is the last, without the requests of the first. Raises InputError when a line is
    no metric, naming `where`, and when a histogram is missing or counts no request.
    """
    first, *later = [*pages(before), *pages(text)] or [()]
    totals = _totals(later[-1] if later else first, where)
    earlier = _totals(first, where) if later else {}

    def of(name: str) -> tuple[float, float]:
        if name not in totals:
            raise InputError(
                f"the metrics hold no histogram {name}: is this the /metrics page of vLLM or hasten?"
            )
        count, total = (
            new - old for new, old in zip(totals[name], earlier.get(name, (0.0, 0.0)), strict=True)
        )
        if count < 1:
            raise InputError(f"histogram {name} counts no request: scrape it after some were served")
        return count, total / count

    requests, e2e = of(E2E)
    phases = {phase: of(name)[1] for name, phase in PHASES.items()}
    return ServerMeans(int(requests), e2e, of(TTFT)[1], phases, e2e - sum(phases.values()))


def _totals(page: Lines, where: str) -> dict[str, tuple[float, float]]:
    """Histogram without its prefix -> (count, sum), over all label sets."""
    found: dict[str, list[float]] = {}
    for sample in samples(page, where):
        name = sample.name.rpartition(":")[2]
        for place, suffix in enumerate(("_count", "_sum")):
            if name.endswith(suffix):
                if not math.isfinite(sample.value):
                    raise InputError(
                        f"{where}: line {sample.line}: {name} is {sample.value:g}: no mean can be told"
                    )
                found.setdefault(name.removesuffix(suffix), [0.0, 0.0])[place] += sample.value
    return {name: (count, total) for name, (count, total) in found.items()}
