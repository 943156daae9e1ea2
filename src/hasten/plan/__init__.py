"""Plans: the cheapest deployment that meets the service levels of a workload, with its margin."""

from hasten.plan.bisection import Capacity
from hasten.plan.constraints import Check, Constraints
from hasten.plan.planner import capacity, plan
from hasten.plan.result import NearestMiss, Plan, Row, WhatIf

__all__ = ["Capacity", "Check", "Constraints", "NearestMiss", "Plan", "Row", "WhatIf", "capacity", "plan"]
