"""A run as the data of a page: figures, a row per request, what its time went on, and the steps of every replica."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hasten.explain.attribution import Attribution
from hasten.explain.programs import PROGRAM, ProgramAttribution
from hasten.page import causes, columns, steps
from hasten.report.records import Records
from hasten.report.report import Report
from hasten.sim.steps import StepLog


@dataclass(frozen=True, kw_only=True)
class Heading:
    """What was run, in words: `model` on `deployment`, which `workload`, with what; checks are (text, held)."""

    model: str
    deployment: str
    workload: str
    policies: str = ""
    checks: Sequence[tuple[str, bool]] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """The same as data of a page."""
        return {
            "model": self.model,
            "deployment": self.deployment,
            "workload": self.workload,
            "policies": self.policies,
            "checks": [{"text": text, "held": held} for text, held in self.checks],
        }


def run_data(
    heading: Heading,
    report: Report,
    *,
    found: Attribution | None = None,
    programs: ProgramAttribution | None = None,
    log: StepLog | None = None,
) -> dict[str, Any]:
    """Everything a page shows of a run. Without a log there is no timeline, without labels no composition, and without
    programs only that of requests."""
    records = _by_arrival(report)
    data = {
        "kind": "run",
        "heading": heading.to_dict(),
        "figures": report.to_dict(),
        "requests": {"count": len(records), "columns": _rows(records)},
        "labels": causes.labels(),
        "families": causes.families(),
    }
    return data | detail_data(report, found=found, programs=programs, log=log)


def detail_data(
    report: Report,
    *,
    found: Attribution | None = None,
    programs: ProgramAttribution | None = None,
    log: StepLog | None = None,
) -> dict[str, Any]:
    """Of `run_data`, what its labels and its log tell."""
    data: dict[str, Any] = {}
    if found is not None:
        records = _by_arrival(report)
        data |= {"composition": causes.composition(found), "lives": causes.lives(found, records)}
        if programs is not None:
            data["composition"] |= causes.composition(programs, (PROGRAM,))
    if log is not None and report.stats is not None:
        of_replica = [replica.num_blocks for replica in report.stats.replicas]
        ranks = [sum(rank.replica == each.replica for each in log.ranks) for rank in log.ranks]
        blocks = [of_replica[rank.replica] // count for rank, count in zip(log.ranks, ranks, strict=True)]
        data["timeline"] = steps.timeline(log, blocks)
    return data


def _by_arrival(report: Report) -> Records:
    return report.records.select(np.argsort(report.records.arrival, kind="stable"))


def _rows(records: Records) -> dict[str, Any]:
    """Columns of the table of requests, in the order of arrival."""
    found = {
        "id": columns.integers(records.id),
        "arrival_s": columns.evenly(records.arrival),
        "ttft_ms": columns.floats((records.first_token - records.arrival) * 1e3),
        "e2e_ms": columns.floats((records.finish - records.arrival) * 1e3),
        "queue_ms": columns.floats((records.scheduled - records.arrival) * 1e3),
        "status": columns.integers(records.status),
    }
    counts = ("prompt_tokens", "output_tokens", "cached_tokens", "preemptions", "replica", "session")
    return found | {name: columns.integers(getattr(records, name)) for name in counts}
