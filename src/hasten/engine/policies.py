"""The policies of one engine, and the core they make: the same for a live run and for its replay."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from hasten.core.cluster import Cluster
from hasten.core.limits import Limits
from hasten.core.policy import AdmitPolicy, CachePolicy, LengthPredictor, RoutePolicy, SchedulingPolicy
from hasten.core.scheduler import Scheduler
from hasten.policies import load_policy

DEFAULTS = {"schedule": "fcfs", "cache": "lru", "admit": "always", "length": None}


@dataclass
class Policies:
    """Policies by role; every one has a working default. `seed` feeds their random streams."""

    schedule: SchedulingPolicy = field(default_factory=SchedulingPolicy)
    cache: CachePolicy = field(default_factory=CachePolicy)
    admit: AdmitPolicy | None = None
    length: LengthPredictor | None = None
    seed: int = 0

    @classmethod
    def named(cls, specs: Mapping[str, str | None], seed: int = 0) -> Policies:
        """From specs as on the command line ("static:batch_size=8"). Raises InputError for what is wrong with one."""
        chosen = DEFAULTS | {role: spec for role, spec in specs.items() if spec is not None}
        made = {role: load_policy(role, spec) for role, spec in chosen.items() if spec is not None}
        return cls(**made, seed=seed)

    def core(self, limits: Limits) -> tuple[Scheduler, Cluster]:
        """A scheduler and the door before it, with policies of their own."""
        own = copy.deepcopy(self)
        scheduler = Scheduler(limits, own.schedule, cache=own.cache)
        seed = self.seed
        cluster = Cluster(
            [[scheduler]],
            RoutePolicy(),
            random=lambda role: random.Random(f"{seed}/{role}"),
            admit=own.admit,
            length=own.length,
        )
        return scheduler, cluster
