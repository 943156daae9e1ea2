"""A short run with two replicas, its labels and its steps, shared by the tests of pages."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import numpy as np

from hasten.core.request import SLO
from hasten.deployment import Deployment
from hasten.disaggregation import Disaggregated
from hasten.explain.attribution import Attribution
from hasten.explain.labels import LABELS
from hasten.explain.programs import ProgramAttribution, programs_of
from hasten.explain.setup import PooledSetup, Setup
from hasten.page.run import Heading, run_data
from hasten.report.records import Records
from hasten.report.report import Report
from hasten.sim.steps import StepLog
from hasten.workload import Workload, parse_workload


def workload(requests: int = 300, *, rate: float = 8.0) -> Workload:
    """Random prompts and answers."""
    rng = np.random.default_rng(5)
    return Workload(
        arrival=np.cumsum(rng.exponential(1.0 / rate, requests)),
        prompt_tokens=rng.integers(50, 3000, requests),
        output_tokens=rng.integers(1, 200, requests),
    )


@cache
def played() -> tuple[Report, Attribution, StepLog]:
    """The run."""
    deployment = Deployment.of("llama-3.1-8b", "l40s", replicas=2)
    return Setup(deployment=deployment, work=workload(), slo=SLO(ttft=0.4, tpot=0.05)).attributed()


@cache
def split() -> tuple[Report, Attribution, StepLog]:
    """The same requests on a prefill and a decode replica, with a slow link between them."""
    each = Deployment.of("llama-3.1-8b", "l40s")
    deployment = Disaggregated.of(each, each, "ethernet-10")
    return PooledSetup(deployment=deployment, work=workload(60, rate=2.0)).attributed()


@cache
def agents() -> tuple[Report, Attribution, ProgramAttribution, StepLog]:
    """Some programs with tools on one replica."""
    work = parse_workload("agents:kind=swe,rate=1,n=8")
    setup = Setup(deployment=Deployment.of("llama-3.1-8b", "l40s"), work=work)
    report, found, log = setup.attributed()
    programs = programs_of(found, work)
    assert programs is not None
    return report, found, programs, log


def large(size: int = 100_000) -> dict[str, Any]:
    """The data of a page of very many requests, every column and label in use, drawn at random."""
    rng = np.random.default_rng(0)
    _, found, log = played()
    arrival = np.cumsum(rng.exponential(0.03, size))
    first = arrival + rng.exponential(0.5, size)
    records = Records(
        arrival=arrival,
        scheduled=(arrival + first) / 2,
        first_token=first,
        finish=first + rng.exponential(8.0, size),
        prompt_tokens=rng.integers(1, 100_000, size),
        output_tokens=rng.integers(1, 4_000, size),
        cached_tokens=rng.integers(0, 1_000, size),
        session=rng.integers(0, 20_000, size),
        replica=rng.integers(0, 8, size),
    )
    shown = (found.to_first.any(axis=0), found.after_first.any(axis=0))
    spent = [rng.random((size, len(LABELS))) * each for each in shown]
    many = type(found)(records, *spent)
    report = Report(records=records, origin="analytical", error="unknown", stats=played()[0].stats)
    rank = log.ranks[0]
    long = type(rank)(0, None)
    ends = np.cumsum(rng.exponential(0.01, 200_000)).tolist()
    long.rows = [(begin, end, 1, 20, 900, 20, 0, 3, 23, 70, begin) for begin, end in itertools.pairwise(ends)]
    kept = type(log)()
    kept.ranks = [long]
    heading = Heading(model="m", deployment="d", workload="w")
    return run_data(heading, report, found=many, log=kept)
