"""The search: enumerate, bound, find the capacity of one replica, verify the cheapest on the whole workload."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field, replace

from hasten.plan.bisection import CapacityEstimate
from hasten.plan.bounds import Bounds
from hasten.plan.candidates import Rejected
from hasten.plan.pool import Pool
from hasten.plan.probe import Outcome, Setting
from hasten.plan.result import NearestMiss, Row, pareto_front
from hasten.plan.tasks import Weighed, bound, verify, weigh

TOO_DEAR = 4.0
"""Shapes that cost this many times the cheapest estimate even at their ceiling are not simulated."""

CLEARLY_FEWER = 0.85
"""Fewer replicas than estimated are tried when their capacity on the sample is at least this share of the rate."""

VERIFIED_ROWS = 3
"""Deployments on the Pareto front, the best included, that are simulated on the whole workload."""

TRIES = 4
"""Replicas beyond the estimate that are tried before a shape is given up."""


@dataclass
class Search:
    """Work under way: the shapes, what is known about each, and the pool that finds out more."""

    setting: Setting
    pool: Pool
    max_devices: int | None = None
    rejected: list[Rejected] = field(default_factory=list)
    misses: list[NearestMiss] = field(default_factory=list)
    bounds: dict[int, Bounds] = field(default_factory=dict)
    weighed: dict[int, Weighed] = field(default_factory=dict)
    verified: dict[tuple[int, int], Outcome] = field(default_factory=dict)

    def price(self, shape: int, replicas: int) -> float:
        return (self.setting.shapes[shape].price_per_hour or 0.0) * replicas

    def label(self, shape: int) -> str:
        one = self.setting.shapes[shape]
        kv = "" if one.kv_dtype == "auto" else f", {one.kv_dtype} KV"
        return f"[{one.device.name} {one.parallelism.label}]{kv}"

    def most_replicas(self, shape: int) -> float:
        devices = self.setting.shapes[shape].devices
        return math.inf if self.max_devices is None else self.max_devices // devices

    # -- bounds and capacities

    def bound_all(self) -> None:
        """Bounds of every shape; those that fail on an empty server are out."""
        every = range(len(self.setting.shapes))
        for shape in every:
            self.pool.expect((bound, (shape,)))
        for shape in every:
            bounds: Bounds = self.pool.result((bound, (shape,)))
            if bounds.failed is None:
                self.bounds[shape] = bounds
                continue
            reason = f"even on an empty server {bounds.failed.text}"
            self.rejected.append(Rejected(self.label(shape), reason))
            self.misses.append(
                NearestMiss(label=f"1 x {self.label(shape)}", check=bounds.failed, binds=bounds.failed.name)
            )

    def weigh_all(self) -> None:
        """Capacities, cheapest possible first; shapes that can't come near the cheapest are left out."""
        rate = self.setting.work.rate
        least = {
            shape: self.price(shape, math.ceil(rate / bounds.rate)) for shape, bounds in self.bounds.items()
        }
        order = sorted(least, key=lambda shape: (least[shape], shape))
        for shape in order:
            self.pool.expect((weigh, (shape, self.bounds[shape].rate)))
        cheapest = math.inf
        for shape in order:
            if least[shape] > TOO_DEAR * cheapest:
                self.rejected.append(
                    Rejected(
                        self.label(shape),
                        f"not simulated: needs at least ${least[shape]:.2f}/h by its ceiling of "
                        f"{self.bounds[shape].rate:.3g} req/s a replica, over {TOO_DEAR:g} times the cheapest",
                    )
                )
                continue
            found: Weighed = self.pool.result((weigh, (shape, self.bounds[shape].rate)))
            self.weighed[shape] = found
            if found.replicas and found.replicas <= self.most_replicas(shape):
                cheapest = min(cheapest, self.price(shape, found.replicas))
        self.pool.forget()

    # -- verification

    def verify(self, shape: int, replicas: int) -> Outcome:
        """The whole workload on `replicas` replicas of `shape`."""
        outcome: Outcome = self.pool.result((verify, (shape, replicas)))
        self.verified[shape, replicas] = outcome
        return outcome

    def cheapest(self) -> tuple[int, int] | None:
        """Shape and replicas of the cheapest deployment that holds the whole workload, None when none does.

        Cheapest first: a deployment that fails comes back with one replica more, one that holds is tried with one
        fewer, and the search ends when nothing cheaper than the best is left to try.
        """
        heap: list[tuple[float, int, int, int]] = []
        for shape, found in self.weighed.items():
            if found.replicas:
                self._push(heap, shape, self._first_try(found))
        best: tuple[float, int, int, int] | None = None
        while heap and (best is None or heap[0] < best):
            for _, _, shape, replicas in heapq.nsmallest(self.pool.jobs, heap):
                self.pool.expect((verify, (shape, replicas)))
            entry = heapq.heappop(heap)
            _, _, shape, replicas = entry
            if (shape, replicas) in self.verified:
                continue
            if self.verify(shape, replicas).holds:
                best = entry if best is None else min(best, entry)
                if replicas > 1:
                    self._push(heap, shape, replicas - 1)
            elif replicas < self.weighed[shape].replicas + TRIES:
                self._push(heap, shape, replicas + 1)
        return None if best is None else best[2:]

    def _first_try(self, found: Weighed) -> int:
        fewer = found.replicas - 1
        enough = fewer * found.capacity.holds >= CLEARLY_FEWER * self.setting.work.rate
        return fewer if fewer >= 1 and enough else found.replicas

    def _push(self, heap: list[tuple[float, int, int, int]], shape: int, replicas: int) -> None:
        one = self.setting.shapes[shape]
        if replicas <= self.most_replicas(shape) and (shape, replicas) not in self.verified:
            heapq.heappush(heap, (self.price(shape, replicas), one.devices * replicas, shape, replicas))

    # -- rows

    def row(self, shape: int) -> Row | None:
        """The row of a shape: the fewest replicas that hold when verified, else the estimate, else a miss."""
        found = self.weighed[shape]
        tried = {replicas: run for (at, replicas), run in self.verified.items() if at == shape}
        holding = [replicas for replicas, run in tried.items() if run.holds]
        if holding:
            return self._made(shape, min(holding), tried[min(holding)], is_verified=True)
        if tried and (max(tried) >= found.replicas or found.replicas > self.most_replicas(shape)):
            return self._made(shape, max(tried), tried[max(tried)], is_verified=True)
        if found.estimate is None or found.replicas > self.most_replicas(shape):
            return None
        return self._made(shape, found.replicas, found.estimate, is_verified=False)

    def _made(self, shape: int, replicas: int, outcome: Outcome, *, is_verified: bool) -> Row:
        capacity = self.weighed[shape].capacity
        failing = capacity.failing if outcome.holds and capacity.failing is not None else outcome
        return Row(
            deployment=self.setting.shapes[shape].with_replicas(replicas),
            outcome=outcome,
            is_verified=is_verified,
            capacity=capacity.likely * replicas,
            rate=self.setting.work.rate,
            shape=shape,
            binds=failing.binding,
            full=fullest(capacity, replicas, outcome),
            setting=self.setting,
        )

    def rows(self) -> tuple[Row, ...]:
        """All rows by cost."""
        found = [row for shape in self.weighed if (row := self.row(shape)) is not None]
        return tuple(sorted(found, key=lambda row: (row.cost, row.devices, row.label)))

    def verify_front(self) -> None:
        """Verify estimated deployments on the Pareto front, cheapest first, up to VERIFIED_ROWS verified rows."""
        for _ in range(VERIFIED_ROWS):
            front = pareto_front([row for row in self.rows() if row.holds])
            if sum(row.is_verified for row in front) >= VERIFIED_ROWS:
                return
            estimated = [row for row in front if not row.is_verified]
            if not estimated:
                return
            for row in estimated[: self.pool.jobs]:
                self.pool.expect((verify, (row.shape, row.deployment.replicas)))
            self.verify(estimated[0].shape, estimated[0].deployment.replicas)

    def nearest_miss(self) -> NearestMiss | None:
        """What came closest: first where only devices are lacking, then by how far a constraint is missed.

        Missed by an empty server, at the slowest rate tried, or on all the devices allowed.
        """
        misses = list(self.misses)
        for shape, found in self.weighed.items():
            replicas, outcome = found.replicas, found.capacity.failing
            if replicas:
                replicas = int(min(replicas, self.most_replicas(shape)))
                tried = [(at, run) for (one, at), run in self.verified.items() if one == shape]
                replicas, outcome = max(tried) if tried else (replicas, self.verify(shape, replicas))
            if outcome is None or outcome.holds:
                continue
            worst = max((each for each in outcome.checks if not each.holds), key=lambda each: each.strain)
            label = f"{max(1, replicas)} x {self.label(shape)}"
            needed = found.replicas if found.replicas > replicas else 0
            misses.append(
                NearestMiss(
                    label=label, check=worst, binds=outcome.binding, outcome=outcome, needs_replicas=needed
                )
            )
        return min(misses, key=lambda miss: (miss.needs_replicas == 0, miss.check.strain), default=None)


def fullest(capacity: CapacityEstimate, replicas: int, outcome: Outcome) -> Outcome | None:
    """The run that holds at the highest rate of all replicas: of the search for the capacity, or as planned."""
    held = [] if capacity.holding is None else [replace(capacity.holding, rate=capacity.holds * replicas)]
    held += [outcome] if outcome.holds else []
    return max(held, key=lambda each: each.rate, default=None)
