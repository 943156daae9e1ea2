"""A deployment of a plan explains itself: where the milliseconds go at the point it was planned for, and what binds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from hasten.deployment import Deployment
from hasten.explain.explanation import Explanation, explain
from hasten.explain.objective import tightest
from hasten.explain.setup import Setup
from hasten.plan.probe import Setting


def explain_planned(
    setting: Setting,
    deployment: Deployment,
    rate: float,
    *,
    only_causes: bool = False,
    whole: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Explanation:
    """`deployment` on the whole workload of `setting` at `rate` requests/s (NaN: as it is), explained.

    The objective is the limit of the plan that is closest to being missed. Step times are the likely ones: where the
    plan was made with slower ones, a note says so. Raises InputError as `explain` does.
    """
    work = setting.work if math.isnan(rate) else setting.work.scaled(rate=rate)
    constraints = setting.constraints
    setup = Setup(
        deployment=deployment,
        work=work,
        policies=dict(setting.policies),
        slo=constraints.slo,
        seed=setting.seed,
    )
    objective = tightest(
        setup.run().records, constraints.slo, constraints.percentile, attainment=constraints.attainment
    )
    found = explain(setup, objective, only_causes=only_causes, whole=whole, progress=progress)
    factors = setting.factors(deployment)
    if factors == (1.0, 1.0):
        return found
    words = f"the likely step times; the plan was made with decodes {factors[0]:.2f} times as long"
    return replace(found, notes=(*found.notes, f"explained with {words}"))
