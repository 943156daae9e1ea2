"""Write the tables of docs/how-to/keep-kv-in-host-memory.md: Mooncake conversations with host memory behind the KV.

scripts/host_kv_table.py            a minute
scripts/host_kv_table.py --check    exit 1 when the page is not up to date
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pages import filled, table

from hasten.deployment import Deployment
from hasten.report.report import Report
from hasten.sim.run import simulate
from hasten.workload import Workload

PAGE = Path(__file__).resolve().parent.parent / "docs" / "how-to" / "keep-kv-in-host-memory.md"

REQUESTS, RATE = 3000, 0.6  # of the trace, in its order; requests/s
SIZES = (0, 16, 64, 256, 1024, 4096)  # GiB
LINKS = ("pcie5-x16", "pcie4-x16", "ethernet-100", "ethernet-25", "ethernet-10")
ENOUGH = 1024  # GiB


def play(work: Workload, **settings: Any) -> Report:
    """One replica of an 8B model on an H100."""
    return simulate(Deployment.of("llama-3.1-8b", "h100-sxm", **settings), work)


def by_size(work: Workload) -> str:
    """Hits and TTFT by size, for both ways to fill host memory."""
    rows = []
    for size in SIZES:
        copied, moved = (
            play(work, host_kv_bytes=size << 30, host_kv_writes=writes) for writes in ("computed", "evicted")
        )
        host = moved.host
        wait = 1e3 * host.load_wait_seconds / host.loads if host and host.loads else 0.0
        rows.append(
            [
                f"{size:,}" if size else "none",
                *(f"{each.prefix_hit_share:.1%}" for each in (copied, moved)),
                *(f"{1e3 * each.ttft.mean:,.0f}" for each in (copied, moved)),
                f"{1e3 * moved.ttft.median:,.0f}",
                f"{host.loads:,}" if host else "0",
                f"{wait:.0f}",
            ]
        )
    head = (
        "host memory (GiB)", "hits, copied", "hits, moved", "mean TTFT, copied (ms)", "moved", "median TTFT, moved",
        "loads, moved", "mean wait (ms)",
    )  # fmt: skip
    return table(head, rows)


def by_link(work: Workload) -> str:
    """The same memory over slower links, with both rules of reloading."""
    rows = []
    for link in LINKS:
        settings = {"host_kv_bytes": ENOUGH << 30, "host_kv_writes": "evicted", "host_kv_link": link}
        always, cheaper = (play(work, **settings, host_kv_reload=rule) for rule in ("always", "cheaper"))
        made = Deployment.of("llama-3.1-8b", "h100-sxm", **settings)
        bandwidth = made.host.bandwidth if made.host else 0.0
        rows.append(
            [
                f"{link}, {bandwidth / 1e9:.1f} GB/s",
                *(f"{each.host.loads:,}" if each.host else "0" for each in (always, cheaper)),
                *(f"{1e3 * each.ttft.mean:,.0f}" for each in (always, cheaper)),
                *(f"{1e3 * each.ttft.p99:,.0f}" for each in (always, cheaper)),
            ]
        )
    head = (
        "link", "loads, always", "loads, cheaper", "mean TTFT, always (ms)", "cheaper", "p99 TTFT, always (ms)",
        "cheaper",
    )  # fmt: skip
    return table(head, rows)


def main() -> int:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="exit 1 when the page is not up to date")
    args = parser.parse_args()
    work = Workload.from_trace("mooncake-conversation", limit=REQUESTS).scaled(rate=RATE)
    page = PAGE.read_text(encoding="utf-8")
    made = filled(filled(page, "by size", by_size(work)), "by link", by_link(work))
    if args.check:
        if made != page:
            print(f"{PAGE} is not up to date: run scripts/host_kv_table.py")
        return int(made != page)
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
