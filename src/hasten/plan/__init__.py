"""Plans: the cheapest deployment that meets the service levels of a workload, with its margin.

The package is its main function as well: `hasten.plan(...)` and `from hasten.plan import plan` do the same.
"""

import sys
from types import ModuleType

from hasten.plan.bisection import Capacity
from hasten.plan.constraints import Check, Constraints
from hasten.plan.planner import capacity, plan
from hasten.plan.result import NearestMiss, Plan, Row, WhatIf

__all__ = ["Capacity", "Check", "Constraints", "NearestMiss", "Plan", "Row", "WhatIf", "capacity", "plan"]


class _CallablePackage(ModuleType):
    """A package that is called like the function of its name: `hasten.plan` can't be one without the other."""

    __call__ = __wrapped__ = staticmethod(plan)  # __wrapped__: help and signatures are those of the function


sys.modules[__name__].__class__ = _CallablePackage
