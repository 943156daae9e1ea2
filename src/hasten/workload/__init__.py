"""Workloads: what arrives when, how long it is, and which turns belong together."""

from hasten.workload.columns import ClosedLoop, Columns, DroppedRows
from hasten.workload.workload import Workload

__all__ = ["ClosedLoop", "Columns", "DroppedRows", "Workload"]
