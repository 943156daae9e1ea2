"""Step-time models: from model shape, parallelism and step to seconds with a breakdown."""

from hasten.latency.analytical import AnalyticalModel
from hasten.latency.compiled import LinearCost, LockstepCost, StepCost, TableCost
from hasten.latency.parallelism import Parallelism
from hasten.latency.step_time import StepTime
from hasten.latency.work import Kernel, Message, Work

__all__ = [
    "AnalyticalModel",
    "Kernel",
    "LinearCost",
    "LockstepCost",
    "Message",
    "Parallelism",
    "StepCost",
    "StepTime",
    "TableCost",
    "Work",
]
