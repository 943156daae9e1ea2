"""Two scheduling policies and one of our own on the same requests, with a look at who pays."""

from dataclasses import dataclass
from typing import ClassVar

import hasten as hs


@dataclass
class ShortPromptFirst(hs.SchedulingPolicy):
    """Admit the shortest prompt first.

    Paper: none.
    Differs: nothing.
    Needs: nothing.
    """

    rank_changes: ClassVar[bool] = False

    def rank(self, request, view):
        return float(request.prompt_tokens)


placed = hs.Deployment.of("llama-3.1-8b", "l40s", max_num_seqs=32)
work = hs.Workload.from_trace("azure-conv", rate=2.5, limit=1500)

for policy in ("fcfs", "prefill_first", ShortPromptFirst()):
    report = hs.simulate(placed, work, schedule=policy)
    name = policy if isinstance(policy, str) else type(policy).__name__
    first, later = report.ttft, report.tpot
    print(
        f"{name:18s} TTFT p50 {first.p50:6.2f} s  p99 {first.p99:6.2f} s  TPOT p99 {later.p99 * 1e3:5.1f} ms"
    )
