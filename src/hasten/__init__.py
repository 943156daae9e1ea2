"""Predict, simulate, explain, plan and cut the latency of AI inference, on one clock.

The names below are all that most programs need; each is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hasten.core.policy import (
        AdmitPolicy,
        CachePolicy,
        LengthPredictor,
        RoutePolicy,
        SchedulingPolicy,
    )
    from hasten.core.request import SLO
    from hasten.deployment import Deployment
    from hasten.errors import InputError
    from hasten.hardware import load_device
    from hasten.models import load_model
    from hasten.plan import plan
    from hasten.policies import load_policy
    from hasten.prediction import predict
    from hasten.profiles import load_profile
    from hasten.report.compare import compare
    from hasten.report.report import Report
    from hasten.sim.run import simulate
    from hasten.testing import check_policy
    from hasten.workload import Workload, parse_workload

    __version__: str

__all__ = [
    "SLO",
    "AdmitPolicy",
    "CachePolicy",
    "Deployment",
    "InputError",
    "LengthPredictor",
    "Report",
    "RoutePolicy",
    "SchedulingPolicy",
    "Workload",
    "__version__",
    "check_policy",
    "compare",
    "load_device",
    "load_model",
    "load_policy",
    "load_profile",
    "parse_workload",
    "plan",
    "predict",
    "simulate",
]

# Name -> module that defines it.
_HOMES = {
    "SLO": "hasten.core.request",
    "AdmitPolicy": "hasten.core.policy",
    "CachePolicy": "hasten.core.policy",
    "Deployment": "hasten.deployment",
    "InputError": "hasten.errors",
    "LengthPredictor": "hasten.core.policy",
    "Report": "hasten.report.report",
    "RoutePolicy": "hasten.core.policy",
    "SchedulingPolicy": "hasten.core.policy",
    "Workload": "hasten.workload",
    "check_policy": "hasten.testing",
    "compare": "hasten.report.compare",
    "load_device": "hasten.hardware",
    "load_model": "hasten.models",
    "load_policy": "hasten.policies",
    "load_profile": "hasten.profiles",
    "parse_workload": "hasten.workload",
    "plan": "hasten.plan",
    "predict": "hasten.prediction",
    "simulate": "hasten.sim.run",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name == "__version__":
        from importlib.metadata import version

        found: Any = version("hasten")
    elif name in _HOMES:
        from importlib import import_module

        home = import_module(_HOMES[name])
        # A package that is a function too stays what it is.
        found = home if _HOMES[name] == f"hasten.{name}" else getattr(home, name)
    else:
        raise AttributeError(f"module 'hasten' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
