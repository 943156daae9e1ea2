"""Workloads: what arrives when, how long it is, and which turns belong together."""

from hasten.workload.arrivals import Burst, Constant, Gamma, Poisson, Ramp
from hasten.workload.columns import ClosedLoop, Columns, DroppedRows
from hasten.workload.lengths import Empirical, Fixed, Lognormal, Uniform
from hasten.workload.rows import BadRow, Row
from hasten.workload.spec import parse_workload
from hasten.workload.streams import stream
from hasten.workload.summary import LengthSummary, Summary
from hasten.workload.synthetic import SharedPrefix, synthesise
from hasten.workload.workload import Workload

__all__ = [
    "BadRow",
    "Burst",
    "ClosedLoop",
    "Columns",
    "Constant",
    "DroppedRows",
    "Empirical",
    "Fixed",
    "Gamma",
    "LengthSummary",
    "Lognormal",
    "Poisson",
    "Ramp",
    "Row",
    "SharedPrefix",
    "Summary",
    "Uniform",
    "Workload",
    "parse_workload",
    "stream",
    "synthesise",
]
