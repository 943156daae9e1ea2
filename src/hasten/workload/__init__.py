"""Workloads: what arrives when, how long it is, and which turns belong together."""

from hasten.workload.workload import ClosedLoop, DroppedRows, Workload

__all__ = ["ClosedLoop", "DroppedRows", "Workload"]
